#pragma once
// Files that break the format, each in one way, and a word of what the error must say.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "builder.h"

namespace kvtape::test {

struct Malformed {
  std::string name;
  std::vector<std::byte> bytes;
  std::string says;
};

inline std::vector<Malformed> malformed_files() {
  constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
  std::vector<Malformed> files;
  const auto add = [&](const char* name, const Builder& b, const char* says) {
    files.push_back({name, b.bytes(), says});
  };
  const auto one_key = [] { return Builder().header(0, 1); };
  const auto one_tensor = [] { return Builder().header(1, 0); };

  add("empty", Builder(), "magic");
  add("half a magic number", Builder().raw("GG"), "magic");
  add("other magic", Builder().raw("GGML").u32(3).u64(0).u64(0), "begins with 'GGML'");
  add("binary magic", Builder().u32(0xFFFE0000).u32(3).u64(0).u64(0), "\\xfe");
  add("no version", Builder().raw("GGUF"), "version");
  add("half a version", Builder().raw("GGUF").number<std::uint16_t>(3), "version");
  add("version 0", Builder().header(0, 0, 0), "version 0");
  add("version 1", Builder().header(0, 0, 1), "version 1");
  add("version 4", Builder().header(0, 0, 4), "version 4");
  add("big-endian", Builder().header(0, 0, 0x03000000), "big-endian");
  add("no counts", Builder().raw("GGUF").u32(3), "number of tensors");
  add("no count of keys", Builder().raw("GGUF").u32(3).u64(0), "number of keys");
  add("2^64-1 tensors", Builder().header(huge, 0), "number of tensors");
  add("2^64-1 keys", Builder().header(0, huge), "number of keys");
  add("count of tensors that overflows in bytes", Builder().header((huge / 33) + 2, 0).zeros(64), "number of tensors");
  add("count of keys that overflows in bytes", Builder().header(0, (huge / 14) + 2).zeros(64), "number of keys");
  add("one key more than the bytes hold", Builder().header(0, 3).zeros(2 * 14), "at most 2");
  add("tensors crowded out by keys", Builder().header(2, 1).key("k", ValueType::string).string(std::string(100, 'x')),
      "2 tensors");

  add("key without its length", one_key().zeros(7).zeros(7).u64(9), "");
  add("key of 2^64-1 bytes", one_key().u64(huge).zeros(32), "a key");
  add("key one byte too long", one_key().u64(33).zeros(32), "a key");
  add("empty key", one_key().string("").u32(0).zeros(16), "0 bytes");
  add("key of 65536 bytes", one_key().string(std::string(65536, 'k')).u32(0).zeros(1), "65536");
  add("key that is not UTF-8", one_key().key("a\xFF", ValueType::uint8).zeros(16), "not UTF-8: 'a\\xff'");
  add("key with half a character", one_key().key("a\xE2\x82", ValueType::uint8).zeros(16), "not UTF-8");
  add("key with a surrogate", one_key().key("\xED\xA0\x80", ValueType::uint8).zeros(16), "not UTF-8");
  add("key with an overlong form", one_key().key("\xC0\xAF", ValueType::uint8).zeros(16), "not UTF-8");
  add("duplicate key", Builder().header(0, 2).key("k", ValueType::uint32).u32(1).key("k", ValueType::uint32).u32(1),
      "'k' comes twice");
  add("key without a type", one_key().string("keykey").number<std::uint8_t>(0), "type of key");
  add("value of type 13", one_key().string("k").u32(13).zeros(8), "is 13");
  add("value of type 2^32-1", one_key().string("k").u32(~0u).zeros(8), "is 4294967295");
  add("value cut off", one_key().key("k", ValueType::uint64).zeros(7), "value of key 'k'");
  add("bool of 2", one_key().key("k", ValueType::boolean).number<std::uint8_t>(2), "a bool is 0 or 1");
  add("string of 2^64-1 bytes", one_key().key("k", ValueType::string).u64(huge).zeros(8), "value of key 'k'");
  add("string that ends past the file", one_key().key("k", ValueType::string).u64(9).zeros(8), "8 are left");
  add("string that is not UTF-8", one_key().key("k", ValueType::string).string("\x80 and on"), "not UTF-8");
  add("array without a count", one_key().key("k", ValueType::array).type(ValueType::uint8).zeros(7),
      "length of the array");
  add("array of type 99", one_key().key("k", ValueType::array).u32(99).u64(1).zeros(8), "is 99");
  add("array of 2^64-1 bytes", one_key().key("k", ValueType::array).array(ValueType::uint8, huge).zeros(8),
      "at most 8");
  add("array of 2^61 doubles", one_key().key("k", ValueType::array).array(ValueType::float64, 1ull << 61).zeros(8),
      "at most 1");
  add("array of 2^61 strings", one_key().key("k", ValueType::array).array(ValueType::string, 1ull << 61).zeros(8),
      "at most 1");
  add("array of strings, the second cut off",
      one_key().key("k", ValueType::array).array(ValueType::string, 2).string("abcdefgh").u64(4), "value of key 'k'");
  add("array of strings, one not UTF-8",
      one_key().key("k", ValueType::array).array(ValueType::string, 2).string("ok").string("\xF5"), "not UTF-8");
  add("array of bools with a 9",
      one_key().key("k", ValueType::array).array(ValueType::boolean, 2).raw(std::string("\x01\x09")), "the byte 9");
  {
    Builder b = one_key().key("k", ValueType::array);
    for (int i = 0; i < 10000; ++i) b.array(ValueType::array, 1);
    add("10000 arrays inside one another", b.array(ValueType::uint8, 0), "nests arrays");
  }
  {
    Builder b = one_key().key("k", ValueType::array).array(ValueType::array, 3000);
    for (int i = 0; i < 2999; ++i) b.array(ValueType::uint8, 0);
    add("a wide array of arrays, the last missing", b.array(ValueType::uint8, 1), "length of the array");
  }
  for (const std::uint32_t alignment : {0u, 3u, 48u, 0xFFFFFFFFu}) {
    files.push_back({"alignment " + std::to_string(alignment),
                     one_key().key("general.alignment", ValueType::uint32).u32(alignment).bytes(), "power of two"});
  }
  add("alignment of 2^31",
      Builder()
          .header(1, 1)
          .key("general.alignment", ValueType::uint32)
          .u32(1u << 31)
          .tensor("t", {1}, 0, 0)
          .zeros(256),
      "the data has 0 bytes");
  add("alignment that is a string", one_key().key("general.alignment", ValueType::string).string("32"),
      "is of type string, wanted an integer");
  add("alignment that does not fit", one_key().key("general.alignment", ValueType::uint64).u64(1ull << 32),
      "does not fit uint32");
  add("negative alignment", one_key().key("general.alignment", ValueType::int32).u32(~31u), "does not fit uint32");

  add("tensor name that is not UTF-8", one_tensor().tensor("w\xC3", {4}, 0, 0).align().zeros(16), "not UTF-8");
  add("empty tensor name", one_tensor().tensor("", {4}, 0, 0).zeros(64), "0 bytes");
  add("tensor name of 2^63 bytes", one_tensor().u64(1ull << 63).zeros(64), "name of a tensor");
  add("tensor of 0 dimensions", one_tensor().tensor("w", {}, 0, 0).align().zeros(16), "0 dimensions");
  add("tensor of 5 dimensions", one_tensor().tensor("w", {1, 1, 1, 1, 1}, 0, 0).align().zeros(16), "5 dimensions");
  add("tensor of 2^32-1 dimensions", one_tensor().string("w").u32(~0u).zeros(64), "4294967295 dimensions");
  add("tensor with a dimension of 0", one_tensor().tensor("w", {4, 0}, 0, 0).align().zeros(16), "dimension of 0");
  add("tensor of 2^64 elements", one_tensor().tensor("w", {1ull << 32, 1ull << 32}, 0, 0).align().zeros(16), "64 bits");
  add("tensor of 2^63 floats", one_tensor().tensor("w", {1ull << 63}, 0, 0).align().zeros(16), "2^64 or later");
  add("tensor of 2^62 blocks that wraps to a small size",
      one_tensor().tensor("w", {1ull << 62, 2}, 1, 0).align().zeros(64), "2^64 or later");
  add("tensor one byte past the end", one_tensor().tensor("blk.3.attn_q.weight", {4}, 0, 0).align().zeros(15),
      "tensor 'blk.3.attn_q.weight' ends at byte 112, file has 111");
  add("tensor without data", one_tensor().tensor("w", {4}, 0, 0), "the data has 0 bytes");
  add("offset past the end", one_tensor().tensor("w", {4}, 0, 32).align().zeros(16), "offset 32");
  add("offset of 2^64-32", one_tensor().tensor("w", {4}, 0, huge - 31).align().zeros(64), "offset");
  add("unaligned offset", one_tensor().tensor("w", {4}, 0, 16).align().zeros(64), "a multiple of 32");
  add("unread type with an offset past the end", one_tensor().tensor("w", {256}, 12, 1024).align().zeros(64),
      "offset 1024");
  add("row that is no multiple of a block", one_tensor().tensor("w", {33}, 8, 0).align().zeros(64), "a multiple of 32");
  add("duplicate tensor", Builder().header(2, 0).tensor("w", {4}, 0, 0).tensor("w", {4}, 0, 32).align().zeros(64),
      "'w' comes twice");
  add("tensors that overlap", Builder().header(2, 0).tensor("a", {16}, 0, 0).tensor("b", {8}, 0, 32).align().zeros(64),
      "inside tensor 'b'");
  add("tensors on the same bytes",
      Builder().header(2, 0).tensor("a", {8}, 0, 0).tensor("b", {8}, 0, 0).align().zeros(64), "inside tensor");
  add("tensor table cut off", Builder().header(2, 0).tensor("w", {4}, 0, 0).zeros(32), "");
  return files;
}

}  // namespace kvtape::test
