#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <utility>
#include <vector>

#include "bindings/bind.h"
#include "bindings/numpy_views.h"
#include "ops/philox.h"
#include "ops/sampling.h"
#include "ops/table.h"

namespace kvtape::bindings {
namespace {

namespace py = pybind11;
using namespace pybind11::literals;
using ops::SamplingParams;

py::ssize_t n_runs(const Array<float>& x, std::size_t run_len) {
  return static_cast<py::ssize_t>((view(x).size() + run_len - 1) / run_len);
}

py::object sample(const Array<float>& logits, const SamplingParams& params, const Array<std::int32_t>& recent,
                  const Array<std::uint64_t>& mask, std::uint64_t draw, bool logit_gap, std::size_t vocab_size,
                  std::string_view isa) {
  require_shape(logits, "logits", {-1});
  require_shape(recent, "recent", {-1});
  require_shape(mask, "mask", {-1});
  const ops::SamplingContext context{view(recent), view(mask), draw, logit_gap, vocab_size};
  const kernels::KernelTable& table = ops::table(isa);
  ops::SamplingScratch scratch;
  std::optional<ops::SampleResult> result;
  {
    py::gil_scoped_release unlocked;
    result = ops::sample(table, view(logits), params, context, scratch);
  }
  if (!result) return py::none();
  py::list top;
  for (const ops::TokenLogprob& entry : result->top) top.append(py::make_tuple(entry.token, entry.logprob));
  return py::make_tuple(result->token, result->logprob, top, result->logit_gap);
}

void log_softmax(const Array<float>& logits, Array<float>& out, std::string_view isa) {
  require_shape(logits, "logits", {-1});
  require_shape(out, "out", {logits.shape(0)});
  const auto from = view(logits);
  const auto to = mutable_view(out);
  ops::SamplingScratch scratch;
  const ops::LogSoftmax log_softmax(ops::table(isa), from, scratch);
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = log_softmax(from[i]);
}

Array<float> run_max(const Array<float>& x, std::string_view isa) {
  require_shape(x, "x", {-1});
  Array<float> y(n_runs(x, kernels::kMaxRun));
  ops::table(isa).run_max(x.data(), view(x).size(), y.mutable_data());
  return y;
}

std::pair<Array<float>, Array<float>> exp_weights(const Array<float>& x, float m, float s, std::string_view isa) {
  require_shape(x, "x", {-1});
  Array<float> w(x.size()), sums(n_runs(x, kernels::kSumRun));
  ops::table(isa).exp_weights(x.data(), view(x).size(), m, s, w.mutable_data(), sums.mutable_data());
  return {std::move(w), std::move(sums)};
}

Array<std::int32_t> select_at_least(const Array<float>& x, float least, std::string_view isa) {
  require_shape(x, "x", {-1});
  std::vector<std::int32_t> ids(view(x).size());
  const std::size_t n = ops::table(isa).select_at_least(x.data(), ids.size(), least, ids.data());
  return Array<std::int32_t>(static_cast<py::ssize_t>(n), ids.data());
}

}  // namespace

void bind_sampling(py::module_& m) {
  py::class_<SamplingParams>(m, "SamplingParams")
      .def(py::init([](float temperature, std::size_t top_k, float top_p, float min_p, float repeat_penalty,
                       std::size_t repeat_last_n, float frequency_penalty, float presence_penalty,
                       const std::vector<std::pair<std::int32_t, float>>& logit_bias,
                       std::vector<std::int32_t> allowed_tokens, std::uint64_t seed, std::uint64_t choice,
                       bool logprobs, std::size_t top_logprobs, std::vector<std::int32_t> logprob_ids) {
             SamplingParams params{temperature,
                                   top_k,
                                   top_p,
                                   min_p,
                                   repeat_penalty,
                                   repeat_last_n,
                                   frequency_penalty,
                                   presence_penalty,
                                   {},
                                   std::move(allowed_tokens),
                                   seed,
                                   choice,
                                   logprobs,
                                   top_logprobs,
                                   std::move(logprob_ids)};
             for (const auto& [token, bias] : logit_bias) params.logit_bias.push_back({token, bias});
             return params;
           }),
           py::kw_only(), "temperature"_a, "top_k"_a, "top_p"_a, "min_p"_a, "repeat_penalty"_a, "repeat_last_n"_a,
           "frequency_penalty"_a, "presence_penalty"_a, "logit_bias"_a, "allowed_tokens"_a, "seed"_a, "choice"_a,
           "logprobs"_a, "top_logprobs"_a, "logprob_ids"_a);
  m.def("sample", sample, "logits"_a.noconvert(), "params"_a, py::kw_only(), "recent"_a.noconvert(),
        "mask"_a.noconvert(), "draw"_a, "logit_gap"_a, "vocab_size"_a, "isa"_a);
  m.def("log_softmax", log_softmax, "logits"_a.noconvert(), "out"_a.noconvert(), py::kw_only(), "isa"_a);
  m.def("uniform", ops::uniform, "seed"_a, "choice"_a, "draw"_a);
  m.def("run_max", run_max, "x"_a.noconvert(), py::kw_only(), "isa"_a);
  m.def("exp_weights", exp_weights, "x"_a.noconvert(), py::kw_only(), "m"_a, "s"_a, "isa"_a);
  m.def("select_at_least", select_at_least, "x"_a.noconvert(), py::kw_only(), "least"_a, "isa"_a);
}

}  // namespace kvtape::bindings
