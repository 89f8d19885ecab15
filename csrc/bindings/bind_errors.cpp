#include <pybind11/pybind11.h>

#include "base/error.h"
#include "bindings/bind.h"

namespace kvtape::bindings {
namespace {

namespace py = pybind11;
using base::ErrorCode;

const char* python_class(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return "InvalidRequest";
    case ErrorCode::not_found: return "NotFound";
    case ErrorCode::corrupt_file:
    case ErrorCode::unsupported: return "ModelError";
    case ErrorCode::context_overflow: return "ContextOverflow";
    case ErrorCode::busy: return "Conflict";
    case ErrorCode::overloaded: return "Overloaded";
    case ErrorCode::lost: return "SequenceLost";
    case ErrorCode::closed: return "EngineFailed";
    case ErrorCode::io: break;
  }
  return nullptr;
}

}  // namespace

void bind_errors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr raised) {
    try {
      if (raised) std::rethrow_exception(raised);
    } catch (const base::Error& error) {
      const char* name = python_class(error.code());
      if (name == nullptr) {
        PyErr_SetString(PyExc_OSError, error.what());
      } else {
        py::set_error(py::module_::import("kvtape.errors").attr(name), error.what());
      }
    }
  });
}

}  // namespace kvtape::bindings
