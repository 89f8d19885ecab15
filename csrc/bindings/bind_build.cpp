#include <pybind11/pybind11.h>

#include "bindings/bind.h"

namespace kvtape::bindings {
namespace {

constexpr const char* kCompiler =
#if defined(__clang__)
    "clang " __clang_version__;
#elif defined(__GNUC__)
    "gcc " __VERSION__;
#else
    "unknown";
#endif

}  // namespace

void bind_build(pybind11::module_& m) {
  m.def("compiler", [] { return kCompiler; });
}

}  // namespace kvtape::bindings
