// The checkpoint families that can be loaded: one header each, one name here. A family is a struct of static members:
//   model_type                          the string in config.json
//   blueprint(json, source) -> Blueprint   the parts of every layer: every key that it understands, checked, and every
//                                       tensor that it needs, compared with these
// and where GGUF files hold its models, what they call all of it (gguf_translation.hpp).
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "headgate/models/deepseek.hpp"
#include "headgate/models/ernie4_5_moe.hpp"
#include "headgate/models/gpt_oss.hpp"
#include "headgate/models/granitemoe.hpp"
#include "headgate/models/headgate_moe.hpp"
#include "headgate/models/lfm2_moe.hpp"
#include "headgate/models/llama.hpp"
#include "headgate/models/mellum.hpp"
#include "headgate/models/mixtral.hpp"
#include "headgate/models/olmoe.hpp"
#include "headgate/models/phimoe.hpp"
#include "headgate/models/qwen2_moe.hpp"
#include "headgate/models/qwen3_moe.hpp"

namespace headgate::inline HEADGATE_ABI {

template <class... Family>
struct FamilyList {
  static constexpr int size = sizeof...(Family);
  // This list with families of yours before it, which stand above those of the same name.
  template <class... Yours>
  using With = FamilyList<Yours..., Family...>;

  // Calls use(Family{}) with every one.
  template <class F>
  static void for_each(F&& use) {
    (use(Family{}), ...);
  }
  // Calls use(Family{}) with the first family that such a GGUF file is of.
  template <class F>
  static void visit(const GgufTranslation& gguf, F&& use) {
    const bool is_known = (use_if_of<Family>(gguf, use) || ...);
    if (is_known) return;
    std::set<std::string_view> names;
    (add_name<Family>(names), ...);
    std::string known;
    for (const std::string_view name : names) known += (known.empty() ? "" : ", ") + std::string(name);
    gguf.metadata().fail("general.architecture", "the architecture \"" + escaped(gguf.architecture(), 80) +
                                                     "\" is not supported, known: " + known);
  }
  // Calls use(Family{}) with the first family that config.json names.
  template <class F>
  static void visit(const JsonObject& config, F&& use) {
    const std::string& model_type = config.get_string("model_type");
    const bool is_known = ((model_type == Family::model_type ? (use(Family{}), true) : false) || ...);
    if (is_known) return;
    std::string known;
    for (const std::string_view name : {Family::model_type...})
      known += (known.empty() ? "" : ", ") + std::string(name);
    config.fail("model_type", "the family \"" + escaped(model_type, 80) + "\" is not supported, known: " + known);
  }

 private:
  template <class One, class F>
  static bool use_if_of(const GgufTranslation& gguf, F& use) {
    if constexpr (requires { One::gguf_architecture; }) {
      bool is_of = gguf.architecture() == One::gguf_architecture;
      if constexpr (requires { One::is_gguf(gguf); }) is_of = is_of && One::is_gguf(gguf);
      if (is_of) use(One{});
      return is_of;
    } else {
      return false;
    }
  }
  template <class One>
  static void add_name(std::set<std::string_view>& names) {
    if constexpr (requires { One::gguf_architecture; }) names.insert(One::gguf_architecture);
  }
};

// The gguf package (0.19) has no architecture for GraniteMoeSwa, Mellum and HeadgateMoe, so these are read from folders
// alone; a GGUF file of Glm4MoeLite is one of DeepseekV3, which computes the same.
using Families = FamilyList<Mixtral, Olmoe, Qwen2Moe, Qwen3Moe, GraniteMoe, GraniteMoeShared, GraniteMoeSwa, DeepseekV2,
                            DeepseekV3, Glm4MoeLite, PhiMoe, GptOss, Llama, Lfm2Moe, Mellum, Ernie45Moe, HeadgateMoe>;

}  // namespace headgate::inline HEADGATE_ABI
