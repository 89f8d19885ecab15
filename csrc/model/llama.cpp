#include "model/llama.h"

#include "model/forward_pass.h"

namespace kvtape::model {
namespace {

class Llama final : public Architecture {
 public:
  Llama(TensorLoader& loader, const Config& config) : config_(config), weights_(load_weights(loader, config, {})) {}

  void forward(const ForwardArgs& args, Workspace& workspace) const override {
    ForwardPass pass(args, config_, weights_, workspace);
    pass.embed();
    for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
      const Layer& layer = weights_.layers[i];
      pass.project_qkv(layer);
      pass.rotate(args.rope, ops::RopeStyle::pairs);
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

std::unique_ptr<const Architecture> make_llama(TensorLoader& loader, const Config& config) {
  return std::make_unique<Llama>(loader, config);
}

}  // namespace kvtape::model
