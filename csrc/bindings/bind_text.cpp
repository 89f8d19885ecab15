#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/bind.h"
#include "text/text_assembler.h"

namespace kvtape::bindings {

namespace py = pybind11;

void bind_text(py::module_& m) {
  using namespace pybind11::literals;
  using text::ReasoningReader;
  using text::ReasoningSpan;
  using text::TextAssembler;
  using text::TextRules;
  using text::TokenBytes;

  py::class_<TokenBytes, std::shared_ptr<TokenBytes>>(m, "TokenBytes")
      .def(py::init([](const std::vector<py::bytes>& pieces) {
             std::vector<std::string_view> views(pieces.begin(), pieces.end());
             return std::make_shared<TokenBytes>(views);
           }),
           "pieces"_a)
      .def("__len__", &TokenBytes::size)
      .def("__getitem__", [](const TokenBytes& table, std::int32_t id) { return py::bytes(table.bytes(id)); }, "id"_a);

  py::class_<ReasoningSpan>(m, "ReasoningSpan", "Where a reply may reason, and when that is closed by force.")
      .def(py::init([](std::string open, std::string close, bool opened, std::optional<std::int32_t> budget,
                       std::vector<std::int32_t> close_ids, bool stop_inside) {
             return ReasoningSpan{std::move(open), std::move(close), opened, budget, std::move(close_ids), stop_inside};
           }),
           py::kw_only(), "open"_a, "close"_a, "opened"_a, "budget"_a, "close_ids"_a, "stop_inside"_a);

  py::class_<ReasoningReader>(m, "ReasoningReader")
      .def(py::init<const ReasoningSpan&>(), "span"_a)
      .def(
          "read",
          [](ReasoningReader& self, std::string_view bytes) {
            std::string reasoning;
            const std::string_view answer = self.read(bytes, reasoning);
            return py::make_tuple(py::bytes(reasoning), py::bytes(answer));
          },
          "bytes"_a)
      .def("finish", [](ReasoningReader& self) { return py::bytes(self.finish()); })
      .def_property_readonly("inside", &ReasoningReader::inside)
      .def_property_readonly("was_inside", &ReasoningReader::was_inside);

  py::class_<TextRules>(m, "TextRules", "What a generation's text obeys.")
      .def(py::init([](std::vector<std::string> stop, const std::vector<std::pair<std::int32_t, std::string>>& shown,
                       const std::optional<ReasoningSpan>& reasoning) {
             TextRules rules{.stop = std::move(stop), .reasoning = reasoning};
             for (const auto& [id, bytes] : shown) rules.shown.push_back({id, bytes});
             return rules;
           }),
           py::kw_only(), "stop"_a, "shown"_a, "reasoning"_a);

  py::class_<TextAssembler>(m, "TextAssembler")
      .def(py::init([](std::shared_ptr<TokenBytes> token_bytes, const TextRules& rules) {
             return std::make_unique<TextAssembler>(std::move(token_bytes), rules);
           }),
           "token_bytes"_a, "rules"_a)
      .def(
          "push",
          [](TextAssembler& self, std::int32_t token_id) {
            auto piece = self.push(token_id);
            return py::make_tuple(std::move(piece.text), piece.stopped);
          },
          "token_id"_a)
      .def("finish",
           [](TextAssembler& self) {
             auto piece = self.finish();
             return py::make_tuple(std::move(piece.text), piece.stopped);
           })
      .def_property_readonly("matched_stop", &TextAssembler::matched_stop);
}

}  // namespace kvtape::bindings
