#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "bindings/bind.h"
#include "ring/shared_ring.h"
#include "ring/spsc_ring.h"

namespace kvtape::bindings {
namespace {

namespace py = pybind11;
using namespace py::literals;
using ring::Overflow;
using ring::SharedRing;
using ring::SharedRingWriter;
using ring::SpscRing;

Overflow overflow_named(const std::string& name) {
  if (name == "drop_newest") return Overflow::drop_newest;
  if (name == "drop_oldest") return Overflow::drop_oldest;
  throw base::Error(base::ErrorCode::invalid_argument,
                    "ring: overflow must be 'drop_newest' or 'drop_oldest', found '" + name + "'");
}

ring::Wait wait_named(const std::string& name) {
  if (name == "spin") return ring::Wait::spin;
  if (name == "yield") return ring::Wait::yield;
  if (name == "park") return ring::Wait::park;
  throw base::Error(base::ErrorCode::invalid_argument,
                    "ring: policy must be 'spin', 'yield' or 'park', found '" + name + "'");
}

std::span<const std::byte> whole_items(std::size_t item_bytes, const void* data, py::ssize_t n_bytes) {
  const auto size = static_cast<std::size_t>(n_bytes);
  if (size % item_bytes != 0) {
    throw base::Error(base::ErrorCode::invalid_argument, "ring: " + std::to_string(size) +
                                                             " bytes are not a whole number of items of " +
                                                             std::to_string(item_bytes) + " bytes");
  }
  return {static_cast<const std::byte*>(data), size};
}

// A shared ring belongs to one process, and ends before the object does.
template <class Side>
void check_usable(const Side& side) {
  if constexpr (requires { side.check_process(); }) side.check_process();
}

template <class Writer>
void def_push(py::class_<Writer>& writer) {
  writer
      .def(
          "push",
          [](Writer& self, const py::array& items) {
            if ((items.flags() & py::array::c_style) == 0) throw py::type_error("ring: items must be C-contiguous");
            check_usable(self);
            return self.try_push(whole_items(self.item_bytes(), items.data(), items.nbytes()));
          },
          "items"_a.noconvert())
      .def(
          "push",
          [](Writer& self, const py::buffer& items) {
            const py::buffer_info info = items.request();
            if (!PyBuffer_IsContiguous(info.view(), 'C')) throw py::type_error("ring: items must be C-contiguous");
            check_usable(self);
            return self.try_push(whole_items(self.item_bytes(), info.ptr, info.size * info.itemsize));
          },
          "items"_a);
}

template <class Reader>
void def_pop(py::class_<Reader>& reader) {
  reader
      .def(
          "pop",
          [](Reader& self, std::size_t max_items) {
            check_usable(self);
            const std::size_t n_wanted = std::min(max_items, self.size());
            py::array_t<std::uint8_t> bytes(static_cast<py::ssize_t>(n_wanted * self.item_bytes()));
            const std::size_t n =
                self.try_pop(std::as_writable_bytes(std::span(bytes.mutable_data(), n_wanted * self.item_bytes())));
            if (n < n_wanted) bytes.resize({static_cast<py::ssize_t>(n * self.item_bytes())});
            return bytes;
          },
          "max_items"_a)
      .def("__len__", &Reader::size)
      .def("counters", [](const Reader& self) {
        const ring::Counters counters = self.counters();
        return py::make_tuple(counters.pushed, counters.popped, counters.dropped, counters.refused);
      });
}

// Waits in slices, so that Ctrl-C is heard; without a timeout for ever.
bool wait_for_rows(SharedRing& self, const std::string& policy, std::optional<double> timeout) {
  using Seconds = std::chrono::duration<double>;
  const ring::Wait wait = wait_named(policy);
  const auto begin = std::chrono::steady_clock::now();
  for (;;) {
    check_usable(self);
    const Seconds left = Seconds(timeout.value_or(HUGE_VAL)) - Seconds(std::chrono::steady_clock::now() - begin);
    const Seconds slice = left > Seconds(0) ? std::min(left, Seconds(0.1)) : Seconds(0);
    {
      py::gil_scoped_release unlocked;
      if (self.wait(wait, std::chrono::duration_cast<std::chrono::nanoseconds>(slice))) return true;
    }
    if (!(left > slice)) return false;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

void bind_shared_ring(py::module_& m) {
  py::class_<SharedRing> reader(m, "SharedRing");
  reader
      .def_static(
          "create",
          [](const std::string& name, std::uint32_t row_type, std::size_t item_bytes, std::size_t capacity,
             const std::string& overflow) {
            return SharedRing::create(name, {.row_type = row_type,
                                             .row_bytes = item_bytes,
                                             .capacity = capacity,
                                             .overflow = overflow_named(overflow)});
          },
          "name"_a, "row_type"_a, "item_bytes"_a, "capacity"_a, "overflow"_a)
      .def_static("resume", &SharedRing::resume, "name"_a)
      .def("wait", &wait_for_rows, "policy"_a, "timeout"_a)
      .def("has_writer", &SharedRing::has_writer)
      .def("close", &SharedRing::close)
      .def_property_readonly("row_type", [](const SharedRing& self) { return self.shape().row_type; })
      .def_property_readonly("capacity", [](const SharedRing& self) { return self.shape().capacity; })
      .def_property_readonly("item_bytes", &SharedRing::item_bytes);
  def_pop(reader);

  py::class_<SharedRingWriter> writer(m, "SharedRingWriter");
  writer.def(py::init<const std::string&>(), "name"_a)
      .def("room",
           [](SharedRingWriter& self) {
             check_usable(self);
             return self.room();
           })
      .def("has_reader",
           [](const SharedRingWriter& self) {
             check_usable(self);
             return self.has_reader();
           })
      .def("close", &SharedRingWriter::close)
      .def_property_readonly("n_pushed", &SharedRingWriter::n_pushed)
      .def_property_readonly("row_type", [](const SharedRingWriter& self) { return self.shape().row_type; })
      .def_property_readonly("capacity", [](const SharedRingWriter& self) { return self.shape().capacity; })
      .def_property_readonly("item_bytes", &SharedRingWriter::item_bytes);
  def_push(writer);
}

}  // namespace

void bind_ring(py::module_& m) {
  // The GIL is held throughout, but for waiting: a batch takes microseconds, and it is what makes Python threads of one side
  // take turns.
  py::class_<SpscRing> ring(m, "RingBuffer");
  ring.def(py::init([](std::size_t capacity, std::size_t item_bytes, const std::string& overflow) {
             return std::make_unique<SpscRing>(capacity, item_bytes, overflow_named(overflow));
           }),
           "capacity"_a, "item_bytes"_a, "overflow"_a)
      .def_property_readonly("capacity", &SpscRing::capacity)
      .def_property_readonly("item_bytes", &SpscRing::item_bytes);
  def_push(ring);
  def_pop(ring);
  bind_shared_ring(m);
}

}  // namespace kvtape::bindings
