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

// One row from (o, h, l, c, v, timestamp, ts, sym): floats; int, None or, where absent, another object; str or None.
OhlcvRow ohlcv_row(PyObject* const* fields, const py::dict& symbols) {
  double values[5];
  for (std::size_t i = 0; i < 5; ++i) values[i] = PyFloat_AsDouble(fields[i]);
  PyObject* const time = PyLong_Check(fields[5]) || fields[5] == Py_None ? fields[5] : fields[6];
  const std::int64_t timestamp = PyLong_Check(time) ? PyLong_AsLongLong(time) : kNoTimestamp;
  std::uint16_t symbol = 0;
  if (fields[7] != Py_None) {
    PyObject* const index = PyDict_GetItemWithError(symbols.ptr(), fields[7]);
    if (index == nullptr) throw py::key_error("a symbol that is not in the table");
    symbol = static_cast<std::uint16_t>(PyLong_AsUnsignedLong(index));
  }
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  return {timestamp, values[0], values[1], values[2], values[3], values[4], symbol};
}

// candles: tuples as ohlcv_row takes them; out: [n] of the OHLCV dtype.
void fill_ohlcv(const py::list& candles, const py::dict& symbols, py::array& out) {
  if (ohlcv_rows(out).size() != candles.size()) throw py::type_error("out must have a row for each candle");
  auto* row = static_cast<OhlcvRow*>(out.mutable_data());
  for (const py::handle candle : candles) {
    if (!PyTuple_CheckExact(candle.ptr()) || PyTuple_GET_SIZE(candle.ptr()) != 8) {
      throw py::type_error("a candle must be a tuple of 8");
    }
    *row++ = ohlcv_row(&PyTuple_GET_ITEM(candle.ptr(), 0), symbols);
  }
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
  m.def("fill_ohlcv", &fill_ohlcv, "candles"_a, "symbols"_a, "out"_a.noconvert());
  m.def(
      "count_valid_ohlcv",
      [](const py::array& rows, std::size_t n_symbols) { return count_valid(ohlcv_rows(rows), n_symbols); },
      "rows"_a.noconvert(), "n_symbols"_a);
  m.attr("NO_TIMESTAMP") = kNoTimestamp;
  m.attr("MAX_MAGNITUDE") = kMaxMagnitude;
  m.attr("MIN_TIME") = kMinTime;
  m.attr("MAX_TIME") = kMaxTime;
  m.attr("OHLCV_ROW_BYTES") = sizeof(OhlcvRow);
}

}  // namespace kvtape::bindings
