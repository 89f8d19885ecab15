#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/error.h"
#include "bindings/bind.h"
#include "text/ohlcv_text.h"

namespace kvtape::bindings {
namespace {

namespace py = pybind11;
using namespace py::literals;
using namespace kvtape::text;

std::span<const OhlcvRow> ohlcv_rows(const py::array& rows) {
  const bool c_order = (rows.flags() & py::array::c_style) != 0;
  if (rows.ndim() != 1 || rows.itemsize() != static_cast<py::ssize_t>(sizeof(OhlcvRow)) || !c_order) {
    throw py::type_error("rows must be a contiguous [n] array of the OHLCV dtype");
  }
  return {static_cast<const OhlcvRow*>(rows.data()), static_cast<std::size_t>(rows.size())};
}

}  // namespace

void bind_rows(py::module_& m) {
  py::class_<OhlcvText>(m, "OhlcvText")
      .def(py::init([](bool compact) { return OhlcvText(compact ? RowStyle::compact : RowStyle::plain); }),
           py::kw_only(), "compact"_a)
      .def(
          "add_symbol",
          [](OhlcvText& self, std::string symbol, double price_unit, double volume_unit,
             std::optional<std::int64_t> interval, bool weekdays_only) {
            self.add_symbol({.symbol = std::move(symbol),
                             .price_unit = price_unit,
                             .volume_unit = volume_unit,
                             .interval = interval,
                             .weekdays_only = weekdays_only});
          },
          py::kw_only(), "symbol"_a, "price_unit"_a, "volume_unit"_a, "interval"_a, "weekdays_only"_a)
      .def("header", &OhlcvText::header)
      .def(
          "render",
          [](OhlcvText& self, const py::array& rows) {
            RenderedRows rendered = self.render(ohlcv_rows(rows));
            return py::make_tuple(
                py::bytes(rendered.text),
                py::array_t<std::int64_t>(static_cast<py::ssize_t>(rendered.offsets.size()), rendered.offsets.data()));
          },
          "rows"_a.noconvert());
  m.attr("NO_TIMESTAMP") = kNoTimestamp;
  m.attr("OHLCV_ROW_BYTES") = sizeof(OhlcvRow);
}

}  // namespace kvtape::bindings
