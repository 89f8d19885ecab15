#include "tensor/dtype.h"

#include <string>

#include "check.h"
#include "tensor/quant_blocks.h"

using namespace kvtape::tensor;

int main() {
  std::string names;
  for (std::uint32_t type = 0; type < 64; ++type) {
    if (const auto found = dtype_info(type)) {
      CHECK(found->block_len > 0 && found->block_bytes > 0, "type %u", type);
      names += (names.empty() ? "" : ", ") + std::string(found->name);
    }
  }
  CHECK(names == "F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16", "%s", names.c_str());
  for (std::size_t begin = 0, end; begin < names.size(); begin = end + 2) {  // the list for messages names the same
    end = std::min(names.find(", ", begin), names.size());
    CHECK((", " + std::string(kSupportedDTypes) + ",").find(", " + names.substr(begin, end - begin) + ",") !=
          std::string::npos);
  }
  CHECK(std::string(kSupportedDTypes).size() == names.size());
  CHECK(info(DType::q8_0).block_bytes == sizeof(BlockQ8_0) && info(DType::q8_0).block_len == kQuantBlockLen);
  CHECK(info(DType::q4_0).block_bytes == sizeof(BlockQ4_0) && info(DType::q4_0).block_len == kQuantBlockLen);
  CHECK(info(DType::q4_1).block_bytes == sizeof(BlockQ4_1) && info(DType::q4_1).block_len == kQuantBlockLen);
  CHECK(info(DType::q5_0).block_bytes == sizeof(BlockQ5_0) && info(DType::q5_0).block_len == kQuantBlockLen);
  CHECK(info(DType::q5_1).block_bytes == sizeof(BlockQ5_1) && info(DType::q5_1).block_len == kQuantBlockLen);
  CHECK(info(DType::q4_k).block_bytes == sizeof(BlockQ4_K) && info(DType::q4_k).block_len == kSuperBlockLen);
  CHECK(info(DType::q5_k).block_bytes == sizeof(BlockQ5_K) && info(DType::q5_k).block_len == kSuperBlockLen);
  CHECK(info(DType::q6_k).block_bytes == sizeof(BlockQ6_K) && info(DType::q6_k).block_len == kSuperBlockLen);
  CHECK(!dtype_info(4) && !dtype_info(~0u));
  return kvtape::test::failures();
}
