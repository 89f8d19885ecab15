// Whole forward passes of tiny random models, weights of every type among them: the logits of every table are those of
// `ref` byte for byte. What models answer is tested in Python; this runs where there is none, under an emulator.

#include "model/cpu_runner.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "gguf/builder.h"
#include "kernels/every_isa.h"

namespace {

using namespace kvtape;
using gguf::ValueType;
using kernels::KvType;
using tensor::DType;
using test::Random;

constexpr std::uint32_t kDim = 256, kHeads = 4, kKvHeads = 2, kHeadDim = 64, kFfnDim = 512, kLayers = 2, kVocab = 90;

// Rows of a tensor: the scales small and finite, everything else any bits.
std::vector<std::byte> random_rows(Random& random, DType dtype, std::size_t n) {
  const tensor::DTypeInfo type = tensor::info(dtype);
  std::vector<std::byte> rows = random.bytes<std::byte>(n / type.block_len * type.block_bytes);
  for (std::size_t at = 0; at < rows.size(); at += type.block_bytes) {
    const float value = random.unit() * 0.1f;
    const auto write_halves = [&](std::size_t offset, std::size_t n_halves) {
      for (std::size_t i = 0; i < n_halves; ++i) {
        const auto half = static_cast<std::uint16_t>(0x1400 + random.below(0x800));  // 2^-10 to 2^-8
        std::memcpy(rows.data() + at + offset + 2 * i, &half, sizeof half);
      }
    };
    switch (dtype) {
      case DType::f32: std::memcpy(rows.data() + at, &value, sizeof value); break;
      case DType::bf16: std::memcpy(rows.data() + at, reinterpret_cast<const std::byte*>(&value) + 2, 2); break;
      case DType::q6_k: write_halves(208, 1); break;
      case DType::f16:
      case DType::q8_0:
      case DType::q4_0:
      case DType::q5_0: write_halves(0, 1); break;
      default: write_halves(0, 2);
    }
  }
  return rows;
}

struct Tensor {
  std::string name;
  std::vector<std::uint64_t> dims;
  DType dtype;
};

// Every matrix takes the next type.
std::vector<Tensor> tensors_of(bool gemma) {
  std::vector<Tensor> tensors;
  std::size_t n_matrices = 0;
  const auto matrix = [&](const std::string& name, std::uint64_t n_cols, std::uint64_t n_rows) {
    constexpr DType kTypes[] = {DType::q6_k, DType::q4_1, DType::q5_0, DType::q8_0, DType::q4_k, DType::f16,
                                DType::q5_k, DType::q4_0, DType::bf16, DType::q5_1, DType::f32};
    tensors.push_back({name, {n_cols, n_rows}, kTypes[n_matrices++ % std::size(kTypes)]});
  };
  const auto vector = [&](const std::string& name, std::uint64_t n) { tensors.push_back({name, {n}, DType::f32}); };
  matrix("token_embd.weight", kDim, kVocab);
  vector("output_norm.weight", kDim);
  for (std::uint32_t i = 0; i < kLayers; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    vector(block + "attn_norm.weight", kDim);
    matrix(block + "attn_q.weight", kDim, kHeads * kHeadDim);
    matrix(block + "attn_k.weight", kDim, kKvHeads * kHeadDim);
    matrix(block + "attn_v.weight", kDim, kKvHeads * kHeadDim);
    matrix(block + "attn_output.weight", kHeads * kHeadDim, kDim);
    vector(block + "ffn_norm.weight", kDim);
    matrix(block + "ffn_gate.weight", kDim, kFfnDim);
    matrix(block + "ffn_up.weight", kDim, kFfnDim);
    matrix(block + "ffn_down.weight", kFfnDim, kDim);
    if (!gemma) continue;
    vector(block + "attn_q_norm.weight", kHeadDim);
    vector(block + "attn_k_norm.weight", kHeadDim);
    vector(block + "post_attention_norm.weight", kDim);
    vector(block + "post_ffw_norm.weight", kDim);
  }
  return tensors;
}

std::vector<std::byte> file_of(const std::string& architecture) {
  const bool gemma = architecture == "gemma3";
  const std::vector<Tensor> tensors = tensors_of(gemma);
  test::Builder file;
  file.header(tensors.size(), gemma ? 12 : 9);
  const auto size = [&](const char* name, std::uint32_t value) {
    file.key(architecture + "." + name, ValueType::uint32).u32(value);
  };
  file.key("general.architecture", ValueType::string).string(architecture);
  size("block_count", kLayers);
  size("context_length", 256);
  size("embedding_length", kDim);
  size("feed_forward_length", kFfnDim);
  size("attention.head_count", kHeads);
  size("attention.head_count_kv", kKvHeads);
  size("attention.key_length", kHeadDim);
  file.key(architecture + ".attention.layer_norm_rms_epsilon", ValueType::float32).number(1e-5f);
  if (gemma) {
    size("attention.sliding_window", 50);
    size("attention.sliding_window_pattern", 2);
    file.key(architecture + ".final_logit_softcapping", ValueType::float32).number(30.0f);
  }
  Random random(7);
  test::Builder data;
  for (const Tensor& tensor : tensors) {
    file.tensor(tensor.name, tensor.dims, static_cast<std::uint32_t>(tensor.dtype), data.align().size());
    const std::size_t n = std::accumulate(tensor.dims.begin(), tensor.dims.end(), std::size_t{1}, std::multiplies<>());
    data.append(random_rows(random, tensor.dtype, n));
  }
  return file.align().append(data.bytes()).bytes();
}

std::shared_ptr<const model::Model> load(const std::string& architecture) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("kvtape-" + architecture + std::to_string(getpid()) + ".gguf");
  const std::vector<std::byte> bytes = file_of(architecture);
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
  const gguf::GgufFile file(path.string());
  std::filesystem::remove(path);
  return model::load_model(file, 2);
}

constexpr std::int32_t kChoice[] = {0, 15, 33, 89};

// A prompt longer than a partition; then the token after it beside a short prompt, twice: the second time the token's row
// is a choice; then that token once more, behind a hole. Returns all logits that are wanted.
std::vector<float> logits_of(const std::shared_ptr<const model::Model>& model, const kernels::KernelTable& kernel,
                             KvType kv_type) {
  constexpr std::int32_t kPrompt = 134, kShort = 7, kContext = 192;
  model::CpuRunner runner(model, kernel,
                          {.n_ctx = kContext,
                           .kv_bytes = 2 * model::CpuRunner::kv_bytes_for(model->config, kv_type, kContext),
                           .kv_type = kv_type,
                           .n_threads = 2});
  std::vector<std::int32_t> tokens(kPrompt), blocks(kContext / model::kBlockSize);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i * 37 % kVocab);
  std::iota(blocks.begin(), blocks.end(), 1);
  const std::int32_t other_block = 0;
  const model::Want last{kPrompt - 1, {}}, both[] = {{0, {}}, {kShort, {}}};
  std::vector<float> all;
  const auto step = [&](const model::Batch& batch) {
    for (const std::span<const float> logits : runner.forward(batch))
      all.insert(all.end(), logits.begin(), logits.end());
  };
  const model::RowSpan prompt{0, kPrompt, 0, blocks, 0, 0};
  step({.tokens = tokens, .rows = {&prompt, 1}, .wants = {&last, 1}});
  const model::RowSpan next[] = {{0, 1, kPrompt, blocks, 0, 0}, {1, kShort, 0, {&other_block, 1}, 1, 0}};
  step({.tokens = std::span(tokens).first(1 + kShort), .rows = next, .wants = both});
  const model::Want choice[] = {{0, kChoice}, {kShort, {}}};
  step({.tokens = std::span(tokens).first(1 + kShort), .rows = next, .wants = choice});
  blocks.erase(blocks.begin() + 1, blocks.begin() + 3);  // whole blocks of the hole
  const model::RowSpan behind_hole{0, 1, kPrompt, blocks, 0, 0, {31, 97}};
  const model::Want behind{0, {}};
  step({.tokens = std::span(tokens).first(1), .rows = {&behind_hole, 1}, .wants = {&behind, 1}});
  return all;
}

}  // namespace

int main() {
  if (!test::has_fast_tables()) return 0;
  for (const char* architecture : {"llama", "gemma3"}) {
    const auto model = load(architecture);
    const KvType kv_type = model->config.window == 0 ? KvType::f16 : KvType::q8_0;
    test::every_isa_equals_ref(architecture, [&](const kernels::KernelTable& kernel) {
      const std::vector<float> logits = logits_of(model, kernel, kv_type);
      constexpr std::size_t kChoices = std::size(kChoice);
      CHECK(logits.size() == 5 * kVocab + kChoices && logits[0] != logits[1] && logits[0] != logits[2 * kVocab]);
      for (std::size_t i = 0; i < kChoices; ++i) {
        CHECK(logits[3 * kVocab + i] == logits[kVocab + static_cast<std::size_t>(kChoice[i])]);
      }
      const auto behind_hole = logits.end() - kVocab;
      CHECK(std::equal(behind_hole - kVocab, behind_hole, logits.begin() + 2 * kVocab));
      CHECK(!std::equal(behind_hole, logits.end(), logits.begin() + kVocab));
      for (const float logit : logits) CHECK(std::isfinite(logit));
      return logits;
    });
  }
  return test::failures();
}
