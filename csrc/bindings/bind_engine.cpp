#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "bindings/bind.h"
#include "bindings/numpy_views.h"
#include "engine/engine.h"
#include "model/cpu_runner.h"
#include "ops/table.h"

namespace kvtape::bindings {
namespace {

namespace py = pybind11;
using namespace py::literals;
using engine::Engine;
using engine::GenerationParams;
using engine::TokenEvent;

std::unique_ptr<Engine> make_engine(std::shared_ptr<model::Model> model, const std::vector<py::bytes>& token_bytes,
                                    std::vector<std::int32_t> eos, std::int32_t n_ctx, std::size_t kv_bytes,
                                    std::string_view kv_type, std::size_t n_threads, const std::string& isa) {
  std::vector<std::string_view> pieces(token_bytes.begin(), token_bytes.end());
  engine::Vocabulary vocabulary{std::make_shared<text::TokenBytes>(pieces), std::move(eos)};
  const kernels::KvType type = ops::kv_type(kv_type);
  py::gil_scoped_release unlocked;
  const auto& kernel = ops::table(isa);
  auto runner = std::make_unique<model::CpuRunner>(
      std::move(model), kernel,
      model::CpuRunner::Options{.n_ctx = n_ctx, .kv_bytes = kv_bytes, .kv_type = type, .n_threads = n_threads});
  return std::make_unique<Engine>(std::move(runner), std::move(vocabulary), kernel);
}

py::object step(Engine& self) {
  engine::Events events;
  {
    py::gil_scoped_release unlocked;
    if (!self.step(events)) return py::none();
  }
  return py::make_tuple(std::move(events.tokens), std::move(events.resident));
}

void bind_values(py::module_& m) {
  py::enum_<engine::WorkClass>(m, "WorkClass")
      .value("interactive", engine::WorkClass::interactive)
      .value("ingest", engine::WorkClass::ingest)
      .value("flash", engine::WorkClass::flash)
      .value("background", engine::WorkClass::background);
  py::enum_<engine::FinishReason>(m, "FinishReason")
      .value("none", engine::FinishReason::none)
      .value("stop", engine::FinishReason::stop)
      .value("length", engine::FinishReason::length)
      .value("error", engine::FinishReason::error)
      .value("lost", engine::FinishReason::lost);
  py::class_<engine::Usage>(m, "Usage")
      .def_readonly("prompt_tokens", &engine::Usage::prompt_tokens)
      .def_readonly("completion_tokens", &engine::Usage::completion_tokens)
      .def_readonly("cached_tokens", &engine::Usage::cached_tokens);
  py::class_<TokenEvent>(m, "TokenEvent")
      .def_readonly("generation", &TokenEvent::generation)
      .def_readonly("token", &TokenEvent::token)
      .def_readonly("text", &TokenEvent::text)
      .def_readonly("guided", &TokenEvent::guided)
      .def_readonly("in_reasoning", &TokenEvent::in_reasoning)
      .def_readonly("logprob", &TokenEvent::logprob)
      .def_readonly("logit_gap", &TokenEvent::logit_gap)
      .def_readonly("finish", &TokenEvent::finish)
      .def_readonly("stop_string", &TokenEvent::stop_string)
      .def_readonly("error", &TokenEvent::error)
      .def_readonly("usage", &TokenEvent::usage)
      .def_property_readonly("top", [](const TokenEvent& self) {
        std::vector<std::pair<std::int32_t, float>> top;
        for (const auto& [token, logprob] : self.top) top.emplace_back(token, logprob);
        return top;
      });
  py::class_<GenerationParams>(m, "GenerationParams", "A generation: how to draw tokens, when to stop, who goes first.")
      .def(py::init([](const ops::SamplingParams& sampling, std::optional<std::int32_t> max_tokens,
                       const text::TextRules& text, bool ignore_eos, bool guided, engine::WorkClass work,
                       bool speculate) {
             return GenerationParams{sampling, max_tokens, text, ignore_eos, guided, work, speculate};
           }),
           py::kw_only(), "sampling"_a, "max_tokens"_a, "text"_a, "ignore_eos"_a, "guided"_a, "work"_a, "speculate"_a);
}

}  // namespace

void bind_engine(py::module_& m) {
  m.attr("MAX_SEQUENCES") = engine::kMaxSequences;
  m.attr("STEP_TOKENS") = engine::kStepTokens;

  bind_values(m);
  const auto unlocked = py::call_guard<py::gil_scoped_release>();
  py::class_<Engine>(m, "Engine", "The native engine: verbs from any thread, step() from one.")
      .def(py::init(&make_engine), "model"_a, py::kw_only(), "token_bytes"_a, "eos"_a, "n_ctx"_a, "kv_bytes"_a,
           "kv_type"_a, "n_threads"_a, "isa"_a)
      .def("open", &Engine::open, unlocked)
      .def("fork", &Engine::fork, "sequence"_a, unlocked)
      .def(
          "append",
          [](Engine& self, engine::SequenceId sequence, const Array<std::int32_t>& ids, engine::WorkClass work) {
            require_shape(ids, "ids", {-1});
            const auto tokens = view(ids);
            py::gil_scoped_release released;
            self.append(sequence, tokens, work);
          },
          "sequence"_a, "ids"_a.noconvert(), "work"_a)
      .def("generate", &Engine::generate, "sequence"_a, "params"_a, unlocked)
      .def(
          "set_mask",
          [](Engine& self, engine::GenerationId generation, const Array<std::uint64_t>& words) {
            require_shape(words, "words", {-1});
            const auto mask = view(words);
            py::gil_scoped_release released;
            self.set_mask(generation, mask);
          },
          "generation"_a, "words"_a.noconvert(),
          "Say which tokens the next one of a guided generation may be; no error where it has ended.")
      .def("cancel", &Engine::cancel, "generation"_a, unlocked)
      .def("truncate", &Engine::truncate, "sequence"_a, "n_tokens"_a, unlocked)
      .def("evict", &Engine::evict, "sequence"_a, "begin"_a, "end"_a, unlocked)
      .def("close", &Engine::close, "sequence"_a, unlocked)
      .def("freeze", &Engine::freeze, "sequence"_a, "n_tokens"_a, unlocked)
      .def("request_resident", &Engine::request_resident, "sequence"_a, unlocked,
           "True where all tokens but the last have KV; else step() will report the sequence.")
      .def("n_tokens", &Engine::n_tokens, "sequence"_a, unlocked)
      .def("n_cached", &Engine::n_cached, "sequence"_a, unlocked)
      .def(
          "hole",
          [](Engine& self, engine::SequenceId sequence) {
            const auto [begin, end] = self.hole(sequence);
            return std::pair(begin, end);
          },
          "sequence"_a, unlocked)
      .def("is_lost", &Engine::is_lost, "sequence"_a, unlocked)
      .def(
          "token_ids",
          [](Engine& self, engine::SequenceId sequence) {
            const auto ids = self.tokens(sequence);
            return py::array_t<std::int32_t>(static_cast<py::ssize_t>(ids.size()), ids.data());
          },
          "sequence"_a)
      .def("step", &step, "One step: (token events, ids of sequences now resident or lost), or None after stop().")
      .def("stop", &Engine::stop, unlocked)
      .def("hold", &Engine::hold, unlocked)
      .def("release", &Engine::release, unlocked)
      .def("stats",
           [](Engine& self) {
             const engine::Stats s = self.stats();
             py::dict d;
             d["steps"] = s.steps;
             d["preemptions"] = s.preemptions;
             d["sequences_dropped"] = s.sequences_dropped;
             d["sequences_lost"] = s.sequences_lost;
             d["dropped_results"] = s.dropped_results;
             d["late_masks"] = s.late_masks;
             d["prompt_tokens"] = s.prompt_tokens;
             d["cached_tokens"] = s.cached_tokens;
             d["computed_tokens"] = s.computed_tokens;
             d["recomputed_tokens"] = s.recomputed_tokens;
             d["generated_tokens"] = s.generated_tokens;
             d["drafted_tokens"] = s.drafted_tokens;
             d["accepted_tokens"] = s.accepted_tokens;
             d["n_sequences"] = s.n_sequences;
             d["n_running"] = s.n_running;
             d["n_pending"] = s.n_pending;
             d["n_blocks"] = s.n_blocks;
             d["n_blocks_free"] = s.n_blocks_free;
             d["n_blocks_indexed"] = s.n_blocks_indexed;
             return d;
           })
      .def("check_integrity", &Engine::check_integrity, unlocked, "Raise RuntimeError where a block leaked; for tests.")
      .def_property_readonly("n_ctx", [](const Engine& self) { return self.runner().n_ctx(); })
      .def_property_readonly("n_blocks", [](const Engine& self) { return self.runner().n_blocks(); });
}

}  // namespace kvtape::bindings
