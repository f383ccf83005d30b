#include "headgate/models/gguf_rope.hpp"

#include "io/gguf_writer.hpp"
#include "io/refusal.hpp"

using namespace headgate;
using io_test::gguf_value;

namespace {

using Keys = std::vector<std::pair<std::string, std::string>>;

// The members of rope_scaling as text; lists of divisors where there are any.
struct Found {
  explicit Found(const Keys& keys, const GgufRope::Options& options = {}, const std::vector<std::string>& lists = {}) {
    io_test::GgufWriter writer;
    for (const auto& [key, value] : keys) writer.key("x.rope." + key, value);
    writer.tensor("a", {1}, 0, std::string(4, '\0'));
    for (const std::string& name : lists) writer.tensor(name, {2}, 0, io_test::raw(1.5f) + io_test::raw(4.0f));
    const io_test::ScratchFolder scratch;
    const TensorSource source = TensorSource::open(scratch.write("x.gguf", writer.file()));
    const GgufRope rope(source, "x", options);
    for (const JsonMember& member : rope.members()) {
      std::string value = member.value.describe();
      if (const auto* const list = std::get_if<Json::Array>(&member.value.value)) {
        value = list->front().describe() + " to " + list->back().describe();
      }
      text += (text.empty() ? "" : "; ") + member.key + " " + value;
    }
    lists_read = rope.lists();
  }
  std::string text;
  std::vector<std::string> lists_read;
};
std::string refused(const Keys& keys, const GgufRope::Options& options = {}) {
  return io_test::error_of([&] { Found(keys, options); }).detail().field;
}
const Keys yarn = {{"scaling.type", gguf_value("yarn")},
                   {"scaling.factor", gguf_value(4.0f)},
                   {"scaling.original_context_length", gguf_value(std::uint32_t{40})}};
Keys with(Keys keys, const std::string& key, const std::string& value) {
  keys.push_back({key, value});
  return keys;
}

}  // namespace

TEST_CASE("rotary positions of a GGUF file that says nothing are plain, and a factor alone is linear") {
  CHECK(Found({}).text.empty());
  CHECK(Found({{"scaling.type", gguf_value("none")}}).text.empty());
  CHECK(Found({{"scaling.factor", gguf_value(8.0f)}}).text == "rope_type the string \"linear\"; factor the number 8");
}

TEST_CASE("YaRN of a GGUF file has the keys of config.json") {
  const std::string plain = "rope_type the string \"yarn\"; factor the number 4; original_max_position_embeddings 40";
  CHECK(Found(yarn).text == plain);
  CHECK(Found(yarn, {.rounds_yarn = false}).text == plain + "; truncate false");
  CHECK(Found(with(yarn, "scaling.yarn_attn_factor", gguf_value(1.25f))).text ==
        plain + "; attention_factor the number 1.25");
  CHECK(Found(with(yarn, "scaling.yarn_log_multiplier", gguf_value(0.0707f)), {.has_mscale = true}).text ==
        plain + "; mscale the number 0.707; mscale_all_dim the number 0.707");
  CHECK(refused(with(yarn, "scaling.yarn_log_multiplier", gguf_value(0.1f))) == "x.rope.scaling.yarn_log_multiplier");
  CHECK(refused(with(yarn, "scaling.yarn_ext_factor", gguf_value(0.5f))) == "x.rope.scaling.yarn_ext_factor");
  // llama.cpp's factor comes on top of YaRN's own, 1 + 0.1 ln 4.
  CHECK(Found(with(yarn, "scaling.attn_factor", gguf_value(2.0f)))
            .text.starts_with(plain + "; attention_factor the "
                                      "number 2.277258"));
}

TEST_CASE("divisors of frequencies in a GGUF file are lists of longrope") {
  const Found llama3({}, {}, {"rope_freqs.weight"});
  CHECK(io_test::contains(llama3.text, "short_factor the number 1.5 to the number 4; long_factor the number 1.5"));
  CHECK(io_test::contains(llama3.text, "attention_factor the number 1;"));
  CHECK(llama3.lists_read == std::vector<std::string>{"rope_freqs.weight", "rope_freqs.weight"});
  const Error half = io_test::error_of([] { Found({}, {}, {"rope_factors_long.weight"}); });
  CHECK(half.detail().field == "rope_factors_short.weight");
}

TEST_CASE("a part of a head that turns is refused where a GGUF file says so") {
  const Keys keys = {{"dimension_count", gguf_value(std::uint32_t{12})}};
  CHECK(Found(keys, {.turned = 12}).text.empty());
  CHECK(Found(keys).text.empty());
  CHECK(refused(keys, {.turned = 14}) == "x.rope.dimension_count");
}
