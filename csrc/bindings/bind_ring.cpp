#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>

#include "base/error.h"
#include "bindings/bind.h"
#include "ring/spsc_ring.h"

namespace kvtape::bindings {
namespace {

namespace py = pybind11;
using namespace py::literals;
using ring::Overflow;
using ring::SpscRing;

Overflow overflow_named(const std::string& name) {
  if (name == "drop_newest") return Overflow::drop_newest;
  if (name == "drop_oldest") return Overflow::drop_oldest;
  throw base::Error(base::ErrorCode::invalid_argument,
                    "ring: overflow must be 'drop_newest' or 'drop_oldest', found '" + name + "'");
}

std::span<const std::byte> whole_items(const SpscRing& ring, const void* data, py::ssize_t n_bytes) {
  const auto size = static_cast<std::size_t>(n_bytes);
  if (size % ring.item_bytes() != 0) {
    throw base::Error(base::ErrorCode::invalid_argument, "ring: " + std::to_string(size) +
                                                             " bytes are not a whole number of items of " +
                                                             std::to_string(ring.item_bytes()) + " bytes");
  }
  return {static_cast<const std::byte*>(data), size};
}

}  // namespace

void bind_ring(py::module_& m) {
  // The GIL is held throughout: a batch takes microseconds, and it is what makes Python threads of one side take turns.
  py::class_<SpscRing>(m, "RingBuffer")
      .def(py::init([](std::size_t capacity, std::size_t item_bytes, const std::string& overflow) {
             return std::make_unique<SpscRing>(capacity, item_bytes, overflow_named(overflow));
           }),
           "capacity"_a, "item_bytes"_a, "overflow"_a)
      .def(
          "push",
          [](SpscRing& self, const py::array& items) {
            if ((items.flags() & py::array::c_style) == 0) throw py::type_error("ring: items must be C-contiguous");
            return self.try_push(whole_items(self, items.data(), items.nbytes()));
          },
          "items"_a.noconvert())
      .def(
          "push",
          [](SpscRing& self, const py::buffer& items) {
            const py::buffer_info info = items.request();
            if (!PyBuffer_IsContiguous(info.view(), 'C')) throw py::type_error("ring: items must be C-contiguous");
            return self.try_push(whole_items(self, info.ptr, info.size * info.itemsize));
          },
          "items"_a)
      .def(
          "pop",
          [](SpscRing& self, std::size_t max_items) {
            const std::size_t n_wanted = std::min(max_items, self.size());
            py::array_t<std::uint8_t> bytes(static_cast<py::ssize_t>(n_wanted * self.item_bytes()));
            const std::size_t n =
                self.try_pop(std::as_writable_bytes(std::span(bytes.mutable_data(), n_wanted * self.item_bytes())));
            if (n < n_wanted) bytes.resize({static_cast<py::ssize_t>(n * self.item_bytes())});
            return bytes;
          },
          "max_items"_a)
      .def("__len__", &SpscRing::size)
      .def("counters",
           [](const SpscRing& self) {
             const ring::Counters counters = self.counters();
             return py::make_tuple(counters.pushed, counters.popped, counters.dropped, counters.refused);
           })
      .def_property_readonly("capacity", &SpscRing::capacity)
      .def_property_readonly("item_bytes", &SpscRing::item_bytes);
}

}  // namespace kvtape::bindings
