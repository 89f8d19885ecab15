#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/bind.h"
#include "text/text_assembler.h"

namespace kvtape::bindings {

namespace py = pybind11;

void bind_text(py::module_& m) {
  using namespace pybind11::literals;
  using text::TextAssembler;
  using text::TokenBytes;

  py::class_<TokenBytes, std::shared_ptr<TokenBytes>>(m, "TokenBytes")
      .def(py::init([](const std::vector<py::bytes>& pieces) {
             std::vector<std::string_view> views(pieces.begin(), pieces.end());
             return std::make_shared<TokenBytes>(views);
           }),
           "pieces"_a)
      .def("__len__", &TokenBytes::size)
      .def("__getitem__", [](const TokenBytes& table, std::int32_t id) { return py::bytes(table.bytes(id)); }, "id"_a);

  py::class_<TextAssembler>(m, "TextAssembler")
      .def(py::init([](std::shared_ptr<TokenBytes> token_bytes, const std::vector<std::string>& stops) {
             return std::make_unique<TextAssembler>(std::move(token_bytes), stops);
           }),
           "token_bytes"_a, "stops"_a)
      .def(
          "push",
          [](TextAssembler& self, std::int32_t token_id) {
            auto piece = self.push(token_id);
            return py::make_tuple(std::move(piece.text), piece.stopped);
          },
          "token_id"_a)
      .def("finish", &TextAssembler::finish);
}

}  // namespace kvtape::bindings
