#include "model/qwen3.h"

#include "model/forward_pass.h"

namespace kvtape::model {
namespace {

class Qwen3 final : public Architecture {
 public:
  Qwen3(TensorLoader& loader, const Config& config)
      : config_(config), weights_(load_weights(loader, config, {.head_norms = true})) {}

  void forward(const ForwardArgs& args, Workspace& workspace) const override {
    ForwardPass pass(args, config_, weights_, workspace);
    pass.embed();
    for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
      const Layer& layer = weights_.layers[i];
      pass.project_qkv(layer);
      pass.norm_heads(layer);
      pass.rotate(args.rope, ops::RopeStyle::halves);
      pass.attend(i);
      pass.add_attended(layer);
      pass.add_feed_forward(layer, args.kernel.silu_mul);
    }
    pass.head();
  }

 private:
  Config config_;
  Weights weights_;
};

}  // namespace

std::unique_ptr<const Architecture> make_qwen3(TensorLoader& loader, const Config& config) {
  return std::make_unique<Qwen3>(loader, config);
}

}  // namespace kvtape::model
