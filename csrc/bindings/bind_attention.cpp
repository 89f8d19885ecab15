#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vector>

#include "bindings/bind.h"
#include "bindings/numpy_views.h"
#include "ops/attention.h"
#include "ops/table.h"

namespace kvtape::bindings {
namespace {

namespace py = pybind11;
using namespace pybind11::literals;
using ops::AttentionSpan;
using Blocks = Array<std::int32_t>;

struct Span {  // owns the block table that its AttentionSpan looks at
  Span(std::size_t first_row, std::size_t n_rows, std::int32_t first_position, const Blocks& table, std::size_t group,
       std::size_t shared_len, std::int32_t hole_begin, std::int32_t hole_end)
      : blocks(table.data(), table.data() + table.size()),
        view{first_row, n_rows, first_position, blocks, group, shared_len, {hole_begin, hole_end}} {}

  std::vector<std::int32_t> blocks;
  AttentionSpan view;
};

// pool: [n_blocks, n_layers, 2, n_kv_heads, bytes of a tile]
ops::KvPool kv_pool(Array<std::uint8_t>& pool, std::size_t head_dim, std::string_view kv_type) {
  require_shape(pool, "pool", {-1, -1, 2, -1, -1});
  const auto size = [&](int axis) { return static_cast<std::size_t>(pool.shape(axis)); };
  const kernels::KvType type = ops::kv_type(kv_type);
  const std::size_t position_bytes = kernels::kv_tile_bytes(type, head_dim, 1);
  if (position_bytes == 0 || size(4) % position_bytes != 0) {
    throw base::Error(base::ErrorCode::invalid_argument,
                      "pool: tiles of " + std::to_string(size(4)) + " bytes, wanted a multiple of " +
                          std::to_string(position_bytes) + " for head_dim " + std::to_string(head_dim));
  }
  return {{size(1), size(3), head_dim, size(4) / position_bytes, type},
          reinterpret_cast<std::byte*>(pool.mutable_data()),
          size(0)};
}

std::vector<AttentionSpan> checked_spans(const std::vector<const Span*>& spans, py::ssize_t n_rows) {
  std::vector<AttentionSpan> views;
  for (const Span* span : spans) {
    const AttentionSpan& view = span->view;
    const auto available = static_cast<std::size_t>(n_rows);
    if (view.first_row > available || view.n_rows > available - view.first_row) {
      throw base::Error(base::ErrorCode::invalid_argument, "spans: " + std::to_string(view.n_rows) + " rows from row " +
                                                               std::to_string(view.first_row) + " on, wanted at most " +
                                                               std::to_string(n_rows));
    }
    views.push_back(view);
  }
  return views;
}

}  // namespace

void bind_attention(py::module_& m) {
  py::class_<Span>(m, "AttentionSpan")
      .def(py::init<std::size_t, std::size_t, std::int32_t, const Blocks&, std::size_t, std::size_t, std::int32_t,
                    std::int32_t>(),
           py::kw_only(), "first_row"_a, "n_rows"_a, "first_position"_a, "blocks"_a.noconvert(), "group"_a = 0,
           "shared_len"_a = 0, "hole_begin"_a = 0, "hole_end"_a = 0);

  m.def(
      "attention",
      [](const Array<float>& q, Array<std::uint8_t>& pool, const std::vector<const Span*>& spans, Array<float>& out,
         std::string_view kv_type, std::size_t layer, float scale, std::size_t window, std::size_t n_threads,
         std::string_view isa) {
        require_shape(q, "q", {-1, -1, -1});
        require_shape(out, "out", {q.shape(0), q.shape(1), q.shape(2)});
        const auto kv = kv_pool(pool, static_cast<std::size_t>(q.shape(2)), kv_type);
        const auto views = checked_spans(spans, q.shape(0));
        const auto stride = static_cast<std::size_t>(q.shape(1) * q.shape(2));
        const ops::AttentionQueries queries{.q = q.data(),
                                            .q_stride = stride,
                                            .n_heads = static_cast<std::size_t>(q.shape(1)),
                                            .scale = scale,
                                            .out = mutable_view(out).data(),
                                            .out_stride = stride,
                                            .window = window};
        const kernels::KernelTable& table = ops::table(isa);
        py::gil_scoped_release unlocked;
        ops::AttentionScratch scratch;
        base::ThreadPool::Lease lease(base::ThreadPool::shared(), n_threads);
        ops::attention(lease, table, kv, layer, queries, views, scratch);
      },
      "q"_a.noconvert(), "pool"_a.noconvert(), "spans"_a, "out"_a.noconvert(), py::kw_only(), "kv_type"_a, "layer"_a,
      "scale"_a, "window"_a, "n_threads"_a, "isa"_a);

  m.def(
      "write_kv",
      [](const Array<float>& k, const Array<float>& v, Array<std::uint8_t>& pool, const std::vector<const Span*>& spans,
         std::string_view kv_type, std::size_t layer, std::size_t n_threads, std::string_view isa) {
        require_shape(k, "k", {-1, -1, -1});
        require_shape(v, "v", {k.shape(0), k.shape(1), k.shape(2)});
        const auto kv = kv_pool(pool, static_cast<std::size_t>(k.shape(2)), kv_type);
        require_shape(pool, "pool", {-1, -1, 2, k.shape(1), -1});
        const auto views = checked_spans(spans, k.shape(0));
        const auto stride = static_cast<std::size_t>(k.shape(1) * k.shape(2));
        const kernels::KernelTable& table = ops::table(isa);
        const float *k_rows = k.data(), *v_rows = v.data();
        py::gil_scoped_release unlocked;
        base::ThreadPool::Lease lease(base::ThreadPool::shared(), n_threads);
        ops::write_kv(lease, table, kv, layer, k_rows, stride, v_rows, stride, views);
      },
      "k"_a.noconvert(), "v"_a.noconvert(), "pool"_a.noconvert(), "spans"_a, py::kw_only(), "kv_type"_a, "layer"_a,
      "n_threads"_a, "isa"_a);
}

}  // namespace kvtape::bindings
