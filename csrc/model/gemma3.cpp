#include "model/gemma3.h"

#include <cmath>

#include "model/forward_pass.h"

namespace kvtape::model {
namespace {

class Gemma3 final : public Architecture {
 public:
  Gemma3(TensorLoader& loader, const Config& config)
      : config_(config), weights_(load_weights(loader, config, {.head_norms = true, .post_norms = true})) {}

  void forward(const ForwardArgs& args, Workspace& workspace) const override {
    ForwardPass pass(args, config_, weights_, workspace);
    pass.embed(std::sqrt(static_cast<float>(config_.dim)));
    for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
      const Layer& layer = weights_.layers[i];
      const bool windowed = config_.windowed(i);
      pass.project_qkv(layer);
      pass.norm_heads(layer);
      pass.rotate(windowed ? args.window_rope : args.rope, ops::RopeStyle::halves);
      pass.attend(i, windowed ? config_.window : 0);
      pass.add_attended(layer);
      pass.add_feed_forward(layer, args.kernel.gelu_mul);
    }
    pass.head();
  }

 private:
  Config config_;
  Weights weights_;
};

}  // namespace

std::unique_ptr<const Architecture> make_gemma3(TensorLoader& loader, const Config& config) {
  return std::make_unique<Gemma3>(loader, config);
}

}  // namespace kvtape::model
