#pragma once
// One function a folder of the core; module.cpp calls them in this order.

#include <pybind11/pybind11.h>

namespace kvtape::bindings {

void bind_errors(pybind11::module_& m);
void bind_build(pybind11::module_& m);
void bind_ops(pybind11::module_& m);
void bind_attention(pybind11::module_& m);
void bind_sampling(pybind11::module_& m);
void bind_gguf(pybind11::module_& m);
void bind_text(pybind11::module_& m);
void bind_model(pybind11::module_& m);   // after gguf
void bind_engine(pybind11::module_& m);  // after model
void bind_ring(pybind11::module_& m);
void bind_rows(pybind11::module_& m);

}  // namespace kvtape::bindings
