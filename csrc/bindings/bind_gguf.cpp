#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "bindings/bind.h"
#include "gguf/reader.h"
#include "gguf/value.h"

namespace kvtape::bindings {
namespace {

namespace py = pybind11;
using gguf::GgufFile;
using gguf::Value;
using gguf::ValueType;

py::dtype numpy_dtype(ValueType type) {
  return type == ValueType::boolean ? py::dtype::of<bool>() : py::dtype(std::string(gguf::type_name(type)));
}

py::object to_python(const Value& value, std::string_view key) {
  if (value.type == ValueType::string) {
    return py::str(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
  }
  if (value.type != ValueType::array) {
    return py::array(numpy_dtype(value.type), 1, value.bytes.data()).attr("item")();
  }
  if (value.element == ValueType::string || value.element == ValueType::array) {
    py::list list;
    for (const Value& element : gguf::elements(value, key)) list.append(to_python(element, key));
    return list;
  }
  return py::array(numpy_dtype(value.element), static_cast<py::ssize_t>(value.count), value.bytes.data());
}

py::dict metadata(const GgufFile& file) {
  py::dict dict;
  for (const auto& [key, value] : file.metadata().entries()) {
    dict[py::str(key.data(), key.size())] = to_python(value, key);
  }
  return dict;
}

py::list tensors(const GgufFile& file) {
  py::list list;
  for (const auto& tensor : file.tensors()) {
    const bool readable = tensor::dtype_info(tensor.type).has_value();
    const auto name = gguf::tensor_type_name(tensor.type);
    list.append(py::make_tuple(tensor.name, py::tuple(py::cast(tensor.dims)),
                               name.empty() ? std::to_string(tensor.type) : std::string(name), tensor.offset,
                               readable ? py::object(py::int_(tensor.bytes.size())) : py::none()));
  }
  return list;
}

py::array tensor_bytes(const py::object& self, const std::string& name) {
  const auto& tensor = self.cast<const GgufFile&>().require(name);
  (void)tensor.dtype();
  py::array_t<std::uint8_t> view(static_cast<py::ssize_t>(tensor.bytes.size()),
                                 reinterpret_cast<const std::uint8_t*>(tensor.bytes.data()), self);
  view.attr("flags").attr("writeable") = false;
  return view;
}

}  // namespace

void bind_gguf(py::module_& m) {
  using namespace pybind11::literals;
  py::class_<GgufFile>(m, "GgufFile")
      .def(py::init<const std::string&>(), "path"_a, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("version", &GgufFile::version)
      .def_property_readonly("metadata", &metadata)
      .def_property_readonly("tensors", &tensors)
      .def("tensor_bytes", &tensor_bytes, "name"_a)
      .def("drop_pages", &GgufFile::drop_pages);
}

}  // namespace kvtape::bindings
