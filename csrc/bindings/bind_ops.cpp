#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/thread_pool.h"
#include "bindings/bind.h"
#include "bindings/numpy_views.h"
#include "ops/activation.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/packing.h"
#include "ops/rope.h"
#include "ops/table.h"
#include "tensor/dtype.h"

namespace kvtape::bindings {
namespace {

namespace py = pybind11;
using namespace py::literals;
using base::ThreadPool;

// A lease of the shared pool and a table, for one call from Python. Made after the GIL is released: it may wait.
struct Run {
  Run(std::string_view isa, std::size_t n_threads) : kernel(ops::table(isa)), lease(ThreadPool::shared(), n_threads) {}
  const kernels::KernelTable& kernel;
  ThreadPool::Lease lease;
};

tensor::DType dtype_named(std::string_view name) {
  for (std::uint32_t number = 0; number <= 30; ++number) {
    const auto info = tensor::dtype_info(number);
    if (info && info->name == name) return static_cast<tensor::DType>(number);
  }
  throw base::Error(base::ErrorCode::invalid_argument,
                    "dtype: '" + std::string(name) + "', wanted one of " + std::string(tensor::kSupportedDTypes));
}

void rms_norm(const Array<float>& x, const Array<float>& weight, Array<float>& out, float eps, std::string_view isa,
              std::size_t n_threads) {
  require_shape(weight, "weight", {-1});
  require_shape(x, "x", {-1, weight.shape(0)});
  require_shape(out, "out", {x.shape(0), x.shape(1)});
  const auto x_view = view(x), weight_view = view(weight);
  const auto out_view = mutable_view(out);
  py::gil_scoped_release unlocked;
  Run run(isa, n_threads);
  ops::rms_norm(run.lease, run.kernel, x_view, weight_view, out_view, eps);
}

void rope(Array<float>& x, const Array<std::int32_t>& positions, const Array<float>& cos, const Array<float>& sin,
          std::string_view style, std::string_view isa, std::size_t n_threads) {
  require_shape(x, "x", {-1, -1, -1});
  require_shape(positions, "positions", {x.shape(0)});
  require_shape(cos, "cos", {-1, x.shape(2) / 2});
  require_shape(sin, "sin", {cos.shape(0), cos.shape(1)});
  if (style != "pairs" && style != "halves") {
    throw base::Error(base::ErrorCode::invalid_argument, "style: '" + std::string(style) + "', wanted pairs or halves");
  }
  const auto n_heads = static_cast<std::size_t>(x.shape(1)), head_dim = static_cast<std::size_t>(x.shape(2));
  const kernels::RopeArgs args{.x = mutable_view(x).data(),
                               .x_stride = n_heads * head_dim,
                               .positions = positions.data(),
                               .cos = cos.data(),
                               .sin = sin.data(),
                               .n_rows = static_cast<std::size_t>(x.shape(0)),
                               .n_heads = n_heads,
                               .head_dim = head_dim};
  const auto n_ctx = static_cast<std::size_t>(cos.shape(0));
  py::gil_scoped_release unlocked;
  Run run(isa, n_threads);
  ops::rope(run.lease, run.kernel, style == "pairs" ? ops::RopeStyle::pairs : ops::RopeStyle::halves, args, n_ctx);
}

template <auto kGatedMul>  // ops::silu_mul or ops::gelu_mul
void gated_mul(const Array<float>& gate, const Array<float>& up, Array<float>& out, std::string_view isa,
               std::size_t n_threads) {
  const auto gate_view = view(gate), up_view = view(up);
  const auto out_view = mutable_view(out);
  py::gil_scoped_release unlocked;
  Run run(isa, n_threads);
  kGatedMul(run.lease, run.kernel, gate_view, up_view, out_view);
}

void softcap(Array<float>& x, float cap, std::string_view isa, std::size_t n_threads) {
  const auto x_view = mutable_view(x);
  py::gil_scoped_release unlocked;
  Run run(isa, n_threads);
  ops::softcap(run.lease, run.kernel, x_view, cap);
}

void quantize_rows(const Array<float>& x, Array<std::int8_t>& q, Array<float>& d, Array<float>& s,
                   Array<std::int32_t>& sum, Array<std::int16_t>& half, std::string_view isa) {
  require_shape(x, "x", {-1, -1});
  const py::ssize_t n_rows = x.shape(0), n_blocks = x.shape(1) / 32;
  if (x.shape(1) % 32 != 0) {
    throw base::Error(base::ErrorCode::invalid_argument,
                      "x: " + std::to_string(x.shape(1)) + " columns, wanted a multiple of 32");
  }
  require_shape(q, "q", {n_rows, x.shape(1)});
  require_shape(d, "d", {n_rows, n_blocks});
  require_shape(s, "s", {n_rows, n_blocks});
  require_shape(sum, "sum", {n_rows, n_blocks});
  require_shape(half, "half", {n_rows, 2 * n_blocks});
  const auto dim = static_cast<std::size_t>(x.shape(1));
  const kernels::QuantizedRows out{mutable_view(q).data(), mutable_view(d).data(), mutable_view(s).data(),
                                   mutable_view(sum).data(), mutable_view(half).data()};
  const float* from = x.data();
  py::gil_scoped_release unlocked;
  ops::table(isa).quantize_rows(from, dim, static_cast<std::size_t>(n_rows), dim, out);
}

ops::PackedWeights pack(const Array<std::uint8_t>& rows, std::string_view dtype, std::size_t n_rows, std::size_t n_cols,
                        std::size_t n_threads) {
  require_shape(rows, "rows", {-1});
  const auto bytes = std::as_bytes(view(rows));
  const tensor::DType type = dtype_named(dtype);
  py::gil_scoped_release unlocked;
  ThreadPool::Lease lease(ThreadPool::shared(), n_threads);
  base::Arena arena;
  return ops::pack(lease, arena, type, n_rows, n_cols, bytes);
}

void matmul(const ops::PackedWeights& w, const Array<float>& x, Array<float>& out, std::string_view isa,
            std::size_t n_threads) {
  require_shape(x, "x", {-1, static_cast<py::ssize_t>(w.n_cols())});
  require_shape(out, "out", {x.shape(0), static_cast<py::ssize_t>(w.n_rows())});
  const float* from = x.data();
  float* to = mutable_view(out).data();
  const auto n_tokens = static_cast<std::size_t>(x.shape(0));
  py::gil_scoped_release unlocked;
  Run run(isa, n_threads);
  ops::ActivationBuffer activations;
  activations.set(run.lease, run.kernel, from, w.n_cols(), n_tokens, w.n_cols(),
                  w.quantized() ? ops::Int8Form::once : ops::Int8Form::none);
  ops::matmul(run.lease, run.kernel, w, activations, to, w.n_rows());
}

}  // namespace

void bind_ops(py::module_& m) {
  m.def("available_isas", [] {
    py::list names;
    for (const kernels::KernelTable* table : kernels::available()) names.append(py::str(table->isa));
    return names;
  });
  m.def("active_isa", [] { return ops::table().isa; });

  m.def("rms_norm", rms_norm, "x"_a.noconvert(), "weight"_a.noconvert(), "out"_a.noconvert(), py::kw_only(), "eps"_a,
        "isa"_a, "n_threads"_a);
  m.def("rope", rope, "x"_a.noconvert(), "positions"_a.noconvert(), "cos"_a.noconvert(), "sin"_a.noconvert(),
        py::kw_only(), "style"_a, "isa"_a, "n_threads"_a);
  m.def("silu_mul", gated_mul<ops::silu_mul>, "gate"_a.noconvert(), "up"_a.noconvert(), "out"_a.noconvert(),
        py::kw_only(), "isa"_a, "n_threads"_a);
  m.def("gelu_mul", gated_mul<ops::gelu_mul>, "gate"_a.noconvert(), "up"_a.noconvert(), "out"_a.noconvert(),
        py::kw_only(), "isa"_a, "n_threads"_a);
  m.def("softcap", softcap, "x"_a.noconvert(), py::kw_only(), "cap"_a, "isa"_a, "n_threads"_a);
  m.def("quantize_rows", quantize_rows, "x"_a.noconvert(), "q"_a.noconvert(), "d"_a.noconvert(), "s"_a.noconvert(),
        "sum"_a.noconvert(), "half"_a.noconvert(), py::kw_only(), "isa"_a);

  py::class_<ops::PackedWeights>(m, "PackedWeights")
      .def_property_readonly("dtype", [](const ops::PackedWeights& w) { return tensor::info(w.dtype()).name; })
      .def_property_readonly("shape",
                             [](const ops::PackedWeights& w) { return py::make_tuple(w.n_rows(), w.n_cols()); })
      .def_property_readonly("n_bytes", &ops::PackedWeights::n_bytes)
      .def(
          "dequantize_row",
          [](const ops::PackedWeights& w, std::size_t row, Array<float>& out) {
            require_shape(out, "out", {-1});
            ops::dequantize_row(w, row, mutable_view(out));
          },
          "row"_a, "out"_a.noconvert());
  m.def("pack", pack, "rows"_a.noconvert(), py::kw_only(), "dtype"_a, "n_rows"_a, "n_cols"_a, "n_threads"_a);
  m.def("matmul", matmul, "w"_a, "x"_a.noconvert(), "out"_a.noconvert(), py::kw_only(), "isa"_a, "n_threads"_a);
}

}  // namespace kvtape::bindings
