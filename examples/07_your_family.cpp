// A checkpoint family of your own: another order of layers. PairedLayers reads the files of the demo model, but runs
// the attentions of two layers one after the other and then the experts of both. A family is one function that makes a
// blueprint; counting, packing, sessions and hooks follow from it.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "headgate/models/load.hpp"
#include "headgate/models/session.hpp"
#include "headgate/sampling/candidates.hpp"
#include "headgate/tokenizer/tokenizer.hpp"

using namespace headgate;

struct PairedLayers {
  static constexpr std::string_view model_type = "qwen3_moe";  // it takes the place of the family of that name

  static Blueprint blueprint(const JsonObject& json, const TensorSource& source) {
    const ModelConfig c = read_model_config(json, model_type, "Qwen3MoeForCausalLM");
    const HeadSizes heads = read_heads(json, c.hidden_size);
    const float epsilon = read_epsilon(json, "rms_norm_eps");
    const index_t num_experts = read_num_experts(json);
    const index_t k = json.get_index("num_experts_per_tok", 1, num_experts);
    const index_t width = json.get_index("moe_intermediate_size", 1, ConfigLimits::width);
    const GqaShape shape{.hidden_size = c.hidden_size,
                         .num_heads = heads.num_heads,
                         .num_kv_heads = heads.num_kv_heads,
                         .head_dim = heads.head_dim,
                         .qk_norm = QkNorm::per_head,
                         .norm_epsilon = epsilon,
                         .scale = GqaShape::default_scale(heads.head_dim)};
    const auto rope = std::make_shared<const Rope>(
        Rope::create(read_rope(json, {heads.head_dim, c.max_position_embeddings})).value());

    Blueprint blueprint = find_outer(source, c, epsilon, json.get_bool("tie_word_embeddings", false));
    const auto prefix = [](index_t layer) { return "model.layers." + std::to_string(layer) + "."; };
    const auto attention = [&](index_t layer) -> LayerPlan {
      return {PreNorm{find_norm(source, prefix(layer) + "input_layernorm.weight", c.hidden_size, epsilon)}.then(
          MixerPart(GqaPart::find(source, prefix(layer) + "self_attn.", shape, rope)))};
    };
    const auto experts = [&](index_t layer) -> LayerPlan {
      RouterPart router{.summary = {num_experts, k, "softmax"}, .make = nullptr};
      router.gate = WeightRows::find(source, prefix(layer) + "mlp.gate.weight", {num_experts, c.hidden_size});
      router.make = [k](const GateWeights& gate, Packer&) { return qwen3_moe_router(gate, k).value(); };
      return {
          PreNorm{find_norm(source, prefix(layer) + "post_attention_layernorm.weight", c.hidden_size, epsilon)}.then(
              RoutedPart(MoePart{router, find_experts(source, prefix(layer) + "mlp.experts.", num_experts, k,
                                                      c.hidden_size, width)}))};
    };
    for (index_t l = 0; l + 1 < c.num_hidden_layers; l += 2) {
      for (const LayerPlan& layer : {attention(l), attention(l + 1), experts(l), experts(l + 1)}) {
        blueprint.layers.push_back(layer);
      }
    }
    return blueprint;
  }
};

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : HEADGATE_DEMO_MODEL_DIR;
  const Tokenizer tokenizer = Tokenizer::from_file(folder + "/tokenizer.json");
  Session session(load_model<Families::With<PairedLayers>>(folder));
  std::vector<std::int32_t> tokens = tokenizer.encode("Once upon a time");
  Context ctx;
  for (int i = 0; i < 24; ++i) {
    throw_if_error(session.forward(std::span(tokens).last(i == 0 ? tokens.size() : 1), ctx));
    tokens.push_back(greedy(session.logits()));
  }
  std::printf("%s\n", tokenizer.decode(tokens).c_str());
}
