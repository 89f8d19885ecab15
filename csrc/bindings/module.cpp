#include <pybind11/pybind11.h>

#include "bindings/bind.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "kvtape's native core; use it through the kvtape package.";
  kvtape::bindings::bind_errors(m);
  kvtape::bindings::bind_build(m);
  kvtape::bindings::bind_ops(m);
  kvtape::bindings::bind_attention(m);
  kvtape::bindings::bind_sampling(m);
  kvtape::bindings::bind_gguf(m);
  kvtape::bindings::bind_text(m);
  kvtape::bindings::bind_model(m);
  kvtape::bindings::bind_engine(m);
  kvtape::bindings::bind_ring(m);
  kvtape::bindings::bind_rows(m);
}
