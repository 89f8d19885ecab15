// The tensors of a good file; files that are not good: test_malformed.cpp, and whole files: tests/gguf/test_reader.py.

#include "gguf/reader.h"

#include "base/error.h"
#include "builder.h"
#include "check.h"

namespace {

using namespace kvtape;

template <class F>
bool refuses(F f, std::string_view says) {
  try {
    f();
  } catch (const base::Error& error) {
    CHECK(std::string_view(error.what()).find(says) != std::string_view::npos, "'%s'", error.what());
    return true;
  }
  return false;
}

}  // namespace

int main() {
  const auto [bytes, header_bytes] = test::good_file();
  const auto file = gguf::parse(bytes);
  CHECK(file.alignment == 64 && file.tensors.size() == 4);
  CHECK(file.tensors[0].bytes.size() == 64 && file.tensors[0].offset == header_bytes);
  CHECK(file.tensors[1].bytes.empty() && file.tensors[1].n_rows() == 2);
  CHECK(refuses([&] { (void)file.tensors[1].dtype(); }, "tensor 'exotic' has type IQ2_XXS, supported: F32"));
  CHECK(file.tensors[3].bytes.size() == 40 && file.tensors[3].dtype() == tensor::DType::q4_1);
  return test::failures();
}
