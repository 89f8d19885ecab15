#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bindings/bind.h"
#include "text/row_text.h"

namespace kvtape::bindings {
namespace {

namespace py = pybind11;
using namespace py::literals;
using namespace kvtape::text;

using Tables = std::array<std::size_t, 4>;  // their sizes; no type of row has more fields of names

std::span<const std::byte> whole_rows(const py::array& rows, std::size_t row_bytes) {
  const bool c_order = (rows.flags() & py::array::c_style) != 0;
  if (rows.ndim() != 1 || rows.itemsize() != static_cast<py::ssize_t>(row_bytes) || !c_order) {
    throw py::type_error("rows must be a contiguous [n] array of the session's dtype, of " + std::to_string(row_bytes) +
                         " bytes a row");
  }
  return {static_cast<const std::byte*>(rows.data()), static_cast<std::size_t>(rows.nbytes())};
}

FieldKind kind_named(const std::string& name) {
  if (name == "time") return FieldKind::time;
  if (name == "number") return FieldKind::number;
  if (name == "integer") return FieldKind::integer;
  if (name == "name") return FieldKind::name;
  throw base::Error(base::ErrorCode::invalid_argument, "rows: there is no kind of field '" + name + "'");
}

ColumnForm form_named(const std::string& name) {
  if (name == "exact") return ColumnForm::exact;
  if (name == "rounded") return ColumnForm::rounded;
  if (name == "units") return ColumnForm::units;
  if (name == "offset") return ColumnForm::offset;
  if (name == "integer") return ColumnForm::integer;
  if (name == "name") return ColumnForm::name;
  throw base::Error(base::ErrorCode::invalid_argument, "rows: there is no form of column '" + name + "'");
}

RowLayout make_layout(std::size_t row_bytes, const std::vector<std::pair<std::string, std::size_t>>& fields) {
  RowLayout layout{.row_bytes = row_bytes, .fields = {}};
  for (const auto& [kind, offset] : fields) {
    layout.fields.push_back({kind_named(kind), offset});
    const std::size_t size = kind == "name" ? sizeof(std::uint16_t) : sizeof(std::int64_t);
    if (offset + size > row_bytes) {
      throw base::Error(base::ErrorCode::invalid_argument, "rows: a field ends behind its row");
    }
  }
  if (std::ranges::count(layout.fields, FieldKind::name, &RowField::kind) > std::ssize(Tables{})) {
    throw base::Error(base::ErrorCode::invalid_argument, "rows: too many fields of names");
  }
  return layout;
}

// tables: a dictionary from name to index for each field of names, in order.
std::span<PyObject* const> name_tables(const py::list& tables, const RowLayout& layout) {
  const std::span<PyObject* const> out(PySequence_Fast_ITEMS(tables.ptr()), tables.size());
  const bool fits = std::ranges::count(layout.fields, FieldKind::name, &RowField::kind) == std::ssize(out);
  if (!fits || !std::ranges::all_of(out, [](PyObject* table) { return PyDict_Check(table); })) {
    throw py::type_error("a table is wanted for each field of names");
  }
  return out;
}

std::size_t count_valid_rows(const RowLayout& layout, const py::array& rows, const py::list& tables) {
  Tables n_names{};
  const auto found = name_tables(tables, layout);
  std::ranges::transform(found, n_names.begin(), [](PyObject* table) { return PyDict_GET_SIZE(table); });
  return count_valid(whole_rows(rows, layout.row_bytes), layout, std::span(n_names).first(found.size()));
}

template <class T>
void store(std::byte* row, std::size_t offset, T value) noexcept {
  std::memcpy(row + offset, &value, sizeof value);
}

// rows: tuples of floats, ints and str or None in the order of the layout's fields. A time takes two items, either of
// which may be the one: int, None or, where absent, another object. A name is an index into tables[name field].
void fill_rows(const RowLayout& layout, const py::list& rows, const py::list& tables, py::array& out) {
  if (whole_rows(out, layout.row_bytes).size() != rows.size() * layout.row_bytes) {
    throw py::type_error("out must have a place for each row");
  }
  const auto indices = name_tables(tables, layout);
  const auto n_times = std::ranges::count(layout.fields, FieldKind::time, &RowField::kind);
  const auto n_items = static_cast<py::ssize_t>(layout.fields.size()) + n_times;
  auto* place = static_cast<std::byte*>(out.mutable_data());
  std::memset(place, 0, rows.size() * layout.row_bytes);  // padding too: rows are compared and sent as bytes
  for (const py::handle row : rows) {
    if (!PyTuple_CheckExact(row.ptr()) || PyTuple_GET_SIZE(row.ptr()) != n_items) {
      throw py::type_error("a row must be a tuple of " + std::to_string(n_items));
    }
    PyObject* const* item = &PyTuple_GET_ITEM(row.ptr(), 0);
    auto table = indices.begin();
    for (const RowField& field : layout.fields) {
      PyObject* value = *item++;
      switch (field.kind) {
        case FieldKind::number: store(place, field.offset, PyFloat_AsDouble(value)); break;
        case FieldKind::integer: store<std::int64_t>(place, field.offset, PyLong_AsLongLong(value)); break;
        case FieldKind::time: {
          PyObject* const other = *item++;
          if (!PyLong_Check(value) && value != Py_None) value = other;
          store<std::int64_t>(place, field.offset, PyLong_Check(value) ? PyLong_AsLongLong(value) : kNoTimestamp);
          break;
        }
        case FieldKind::name: {
          PyObject* const names = *table++;
          if (value == Py_None) break;  // index 0
          PyObject* const index = PyDict_GetItemWithError(names, value);
          if (index == nullptr && PyErr_Occurred() == nullptr) throw py::key_error("a name that is not in its table");
          if (index != nullptr) store(place, field.offset, static_cast<std::uint16_t>(PyLong_AsUnsignedLong(index)));
          break;
        }
      }
    }
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    place += layout.row_bytes;
  }
}

using Column = std::tuple<std::string, std::size_t, std::size_t, int, std::string>;

RowFormat make_format(bool compact, std::size_t row_bytes, std::size_t time_offset, std::size_t n_tables,
                      std::optional<std::size_t> series_offset, std::vector<std::string> units, bool first_is_unnamed,
                      const std::vector<Column>& columns) {
  RowFormat format{.style = compact ? RowStyle::compact : RowStyle::plain,
                   .row_bytes = row_bytes,
                   .time_offset = time_offset,
                   .n_tables = n_tables,
                   .series_offset = series_offset,
                   .units = std::move(units),
                   .first_is_unnamed = first_is_unnamed,
                   .columns = {}};
  for (const auto& [form, offset, index, n_digits, before] : columns) {
    format.columns.push_back({.form = form_named(form),
                              .offset = offset,
                              .index = index,
                              .n_digits = n_digits,
                              .before = before.empty() ? char{0} : before[0]});
  }
  return format;
}

}  // namespace

void bind_rows(py::module_& m) {
  py::class_<RowLayout>(m, "RowLayout")
      .def(py::init(&make_layout), "row_bytes"_a, "fields"_a)
      .def("fill", &fill_rows, "rows"_a, "tables"_a, "out"_a.noconvert())
      .def("count_valid", &count_valid_rows, "rows"_a.noconvert(), "tables"_a);
  py::class_<RowText>(m, "RowText")
      .def(py::init([](bool compact, std::size_t row_bytes, std::size_t time_offset, std::size_t n_tables,
                       std::optional<std::size_t> series_offset, std::vector<std::string> units, bool first_is_unnamed,
                       const std::vector<Column>& columns) {
             return RowText(make_format(compact, row_bytes, time_offset, n_tables, series_offset, std::move(units),
                                        first_is_unnamed, columns));
           }),
           py::kw_only(), "compact"_a, "row_bytes"_a, "time_offset"_a, "n_tables"_a, "series_offset"_a, "units"_a,
           "first_is_unnamed"_a, "columns"_a)
      .def("add_name", &RowText::add_name, "table"_a, "name"_a)
      .def(
          "add_series",
          [](RowText& self, std::size_t index, std::vector<double> units, std::optional<std::int64_t> interval,
             bool weekdays_only) {
            self.add_series(index, {.units = std::move(units), .interval = interval, .weekdays_only = weekdays_only});
          },
          "index"_a, py::kw_only(), "units"_a, "interval"_a, "weekdays_only"_a)
      .def("header", &RowText::header)
      .def(
          "render",
          [](RowText& self, const py::array& rows) {
            RenderedRows rendered = self.render(whole_rows(rows, self.row_bytes()));
            return py::make_tuple(
                py::bytes(rendered.text),
                py::array_t<std::int64_t>(static_cast<py::ssize_t>(rendered.offsets.size()), rendered.offsets.data()));
          },
          "rows"_a.noconvert());
  m.attr("NO_TIMESTAMP") = kNoTimestamp;
  m.attr("MAX_MAGNITUDE") = kMaxMagnitude;
  m.attr("MAX_INTEGER") = kMaxInteger;
  m.attr("MIN_TIME") = kMinTime;
  m.attr("MAX_TIME") = kMaxTime;
}

}  // namespace kvtape::bindings
