#include "gguf/metadata.h"

#include <string>

#include "base/error.h"
#include "builder.h"
#include "check.h"
#include "gguf/reader.h"

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

void test_values(const gguf::Metadata& m) {
  CHECK(m.require<std::uint32_t>("u8") == 200 && m.require<std::int32_t>("i8") == -100);
  CHECK(m.require<std::uint64_t>("u16") == 60000 && m.require<std::int64_t>("i16") == -30000);
  CHECK(m.require<std::uint32_t>("u32") == 4000000000u && m.require<std::int64_t>("u32") == 4000000000);
  CHECK(m.require<std::uint64_t>("u64") == 1ull << 40 && m.require<std::int64_t>("i64") == -(1ll << 40));
  CHECK(m.require<float>("f32") == 1.5f && m.require<double>("f64") == 0.1 && m.require<float>("f64") == 0.1f);
  CHECK(m.require<bool>("yes") && m.require<std::string_view>("text") == "gr\xC3\xBC\xC3\x9F dich");
  const auto words = m.require<std::vector<std::string_view>>("words");
  CHECK(words.size() == 3 && words[0] == "a" && words[1].empty() && words[2] == "\xE2\x82\xAC");
  CHECK((m.require<std::vector<std::int32_t>>("ints") == std::vector<std::int32_t>{5, 6}));
  CHECK(!m.find<float>("absent") && !m.contains("absent"));
}

void test_refusals(const gguf::Metadata& m) {
  CHECK(refuses([&] { (void)m.require<float>("absent"); }, "key 'absent' is missing"));
  CHECK(refuses([&] { (void)m.find<std::uint32_t>("i8"); }, "key 'i8' holds -100, which does not fit uint32"));
  CHECK(refuses([&] { (void)m.find<std::int32_t>("u32"); }, "does not fit int32"));
  CHECK(refuses([&] { (void)m.find<float>("u32"); }, "key 'u32' is of type uint32, wanted a float"));
  CHECK(refuses([&] { (void)m.find<bool>("u8"); }, "wanted boolean"));
  CHECK(refuses([&] { (void)m.find<std::string_view>("words"); }, "array of string, wanted string"));
  CHECK(refuses([&] { (void)m.find<std::vector<float>>("ints"); }, "array of int32, wanted array of floats"));
  CHECK(refuses([&] { (void)m.find<std::vector<std::int32_t>>("u32"); }, "wanted array of integers"));
  CHECK(refuses([&] { (void)m.find<std::vector<std::uint32_t>>("bools"); }, "wanted array of integers"));
}

}  // namespace

int main() {
  const auto good = test::good_file();
  const auto file = gguf::parse(good.bytes);
  test_values(file.metadata);
  test_refusals(file.metadata);
  CHECK(file.metadata.entries().size() == 17);
  return test::failures();
}
