// Philox4x32-10 against the known answers its authors publish with Random123 (kat_vectors).

#include "ops/philox.h"

#include "check.h"

int main() {
  using namespace kvtape;
  using Words = std::array<std::uint32_t, 4>;
  CHECK((ops::philox4x32({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  CHECK((ops::philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
         Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK((ops::philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
         Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  // The same vectors, as numbers: seed is the key, draw and choice are the counter.
  const auto of = [](std::uint32_t a, std::uint32_t b) {
    return (static_cast<double>(a >> 5) * 67108864.0 + static_cast<double>(b >> 6)) / 9007199254740992.0;
  };
  CHECK(ops::uniform(0, 0, 0) == of(0x6627e8d5, 0xe169c58d));
  CHECK(ops::uniform(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88) == of(0xd16cfe09, 0x94fdcceb));
  return test::failures();
}
