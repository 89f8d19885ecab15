#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "bindings/bind.h"
#include "bindings/numpy_views.h"
#include "gguf/reader.h"
#include "model/cpu_runner.h"
#include "ops/table.h"

namespace kvtape::bindings {
namespace {

namespace py = pybind11;
using namespace py::literals;
using ModelPtr = std::shared_ptr<model::Model>;

// Logits of every position of one sequence computed on its own, `chunk` tokens a step. For tests and measurements.
py::array_t<float> forward_logits(const ModelPtr& self, const Array<std::int32_t>& ids, std::size_t chunk,
                                  std::string_view kv_type, std::string_view isa, std::size_t n_threads) {
  require_shape(ids, "ids", {-1});
  const auto tokens = view(ids);
  if (tokens.empty() || chunk == 0)
    throw base::Error(base::ErrorCode::invalid_argument, "forward_logits: ids and chunk must not be empty");
  for (const auto id : tokens) {
    if (id < 0 || id >= self->config.vocab_size) {
      throw base::Error(base::ErrorCode::invalid_argument, "ids: token id " + std::to_string(id) + ", wanted 0 to " +
                                                               std::to_string(self->config.vocab_size - 1));
    }
  }
  const auto vocab_size = static_cast<std::size_t>(self->config.vocab_size);
  py::array_t<float> logits({tokens.size(), vocab_size});
  float* out = logits.mutable_data();
  py::gil_scoped_release unlocked;
  const auto n_ctx = static_cast<std::int32_t>(tokens.size());
  const kernels::KvType type = ops::kv_type(kv_type);
  model::CpuRunner runner(self, ops::table(isa),
                          {.n_ctx = n_ctx,
                           .kv_bytes = model::CpuRunner::kv_bytes_for(self->config, type, n_ctx),
                           .kv_type = type,
                           .n_threads = n_threads});
  std::vector<std::int32_t> blocks(static_cast<std::size_t>(runner.n_blocks()));
  std::iota(blocks.begin(), blocks.end(), 0);
  for (std::size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const std::size_t n = std::min(chunk, tokens.size() - begin);
    std::vector<model::Want> wants(n);
    for (std::size_t i = 0; i < n; ++i) wants[i].token = static_cast<std::int32_t>(i);
    const model::RowSpan span{.first = 0,
                              .n_tokens = static_cast<std::int32_t>(n),
                              .position = static_cast<std::int32_t>(begin),
                              .blocks = blocks,
                              .group = 0,
                              .shared_len = 0};
    for (const std::span<const float> row : runner.forward({tokens.subspan(begin, n), {&span, 1}, wants})) {
      out = std::ranges::copy(row, out).out;
    }
  }
  return logits;
}

}  // namespace

void bind_model(py::module_& m) {
  py::class_<model::Model, ModelPtr>(m, "Model",
                                     "Weights of one model file, repacked for the CPU; shared by its engines.")
      .def(py::init([](const gguf::GgufFile& file, std::size_t n_threads) {
             return std::const_pointer_cast<model::Model>(model::load_model(file, n_threads));
           }),
           "file"_a, py::kw_only(), "n_threads"_a, py::call_guard<py::gil_scoped_release>())
      .def("forward_logits", &forward_logits, "ids"_a.noconvert(), py::kw_only(), "chunk"_a, "kv_type"_a, "isa"_a,
           "n_threads"_a, "[n, vocab_size] float32: logits of every position of ids, [n] int32.")
      .def_property_readonly("architecture", [](const model::Model& self) { return self.config.architecture; })
      .def_property_readonly("n_layers", [](const model::Model& self) { return self.config.n_layers; })
      .def_property_readonly("n_heads", [](const model::Model& self) { return self.config.n_heads; })
      .def_property_readonly("n_kv_heads", [](const model::Model& self) { return self.config.n_kv_heads; })
      .def_property_readonly("head_dim", [](const model::Model& self) { return self.config.head_dim; })
      .def_property_readonly("dim", [](const model::Model& self) { return self.config.dim; })
      .def_property_readonly("ffn_dim", [](const model::Model& self) { return self.config.ffn_dim; })
      .def_property_readonly("vocab_size", [](const model::Model& self) { return self.config.vocab_size; })
      .def_property_readonly("n_ctx_train", [](const model::Model& self) { return self.config.n_ctx_train; })
      .def_property_readonly("n_params", [](const model::Model& self) { return self.n_params; })
      .def_property_readonly("n_bytes", [](const model::Model& self) { return self.n_bytes; })
      .def(
          "block_bytes",
          [](const model::Model& self, std::string_view kv_type) {
            return model::CpuRunner::block_bytes(self.config, ops::kv_type(kv_type));
          },
          "kv_type"_a, "Memory of one block of KV, in bytes.")
      .def(
          "kv_bytes_for",
          [](const model::Model& self, std::string_view kv_type, std::int32_t n_ctx) {
            return model::CpuRunner::kv_bytes_for(self.config, ops::kv_type(kv_type), n_ctx);
          },
          "kv_type"_a, "n_ctx"_a, "Least KV memory for a context of n_ctx tokens, in bytes.");
  m.attr("BLOCK_SIZE") = model::kBlockSize;
}

}  // namespace kvtape::bindings
