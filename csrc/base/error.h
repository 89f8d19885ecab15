#pragma once
// The one exception type of the library. A message says what was wanted, what was found and where:
//   gguf: tensor 'blk.3.attn_q.weight' ends at byte 912, file has 880

#include <stdexcept>
#include <string>

namespace kvtape::base {

enum class ErrorCode {
  invalid_argument,  // the caller's value is wrong
  not_found,         // no such sequence, generation, key, file
  corrupt_file,      // a model file breaks its own format
  unsupported,       // well formed, but not something this version can do
  context_overflow,  // the tokens do not fit the context
  busy,              // the object is in use by somebody else
  overloaded,        // a bounded queue is full; retry later
  io,                // the operating system refused
  lost,              // a sequence with a hole whose KV was taken; nothing can compute it again
  closed,            // the engine is shut down, or this process was forked from the one that made it
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace kvtape::base
