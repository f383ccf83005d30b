#include "headgate/core/block_encoder.hpp"

#include <cfloat>
#include <string>
#include <vector>

#include "headgate/io/tensor_source.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"

namespace {

using namespace headgate;

constexpr std::size_t count = 1 << 14;

// As make_vectors.py has them.
std::vector<float> random_weights(std::uint32_t state) {
  std::vector<float> weights(count);
  for (float& x : weights) {
    std::int64_t total = 0;
    for (int i = 0; i < 4; ++i) {
      state = state * 1664525u + 1013904223u;
      total += state >> 16;
    }
    x = static_cast<float>(static_cast<double>(total - 2 * 65535) * 0x1p-20);
  }
  return weights;
}
template <class Blocks>
std::vector<float> decoded(const std::vector<std::byte>& bytes) {
  std::vector<float> out(bytes.size() / as_size(Blocks::bytes) * as_size(Blocks::size));
  decode_blocks<Blocks>(bytes.data(), 0, static_cast<std::int64_t>(out.size()), out.data());
  return out;
}
template <class Blocks>
std::vector<std::byte> encoded(const std::vector<float>& x, const float* importance = nullptr) {
  std::vector<std::byte> bytes(x.size() / as_size(Blocks::size) * as_size(Blocks::bytes), std::byte{0xa5});
  for (std::size_t b = 0; b < x.size() / as_size(Blocks::size); ++b) {
    encode_block<Blocks>(&x[b * as_size(Blocks::size)],
                         importance == nullptr ? nullptr : importance + b * as_size(Blocks::size),
                         &bytes[b * as_size(Blocks::bytes)]);
  }
  return bytes;
}
double squared_error(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
  return sum;
}
template <class Blocks>
std::vector<float> there_and_back(const std::vector<float>& x) {
  return decoded<Blocks>(encoded<Blocks>(x));
}
template <class Use, class... Types>
void for_each_type(blocks::TypeList<Types...>, Use use) {
  (use(Types{}), ...);
}
template <class Use>
void for_each_type(Use use) {
  for_each_type(blocks::All{}, use);
}

}  // namespace

TEST_CASE("weights are nearer to what they were than those that the gguf package quantizes") {
  const nlohmann::json errors = golden("block_encoder");
  const TensorSource tales = TensorSource::open(HEADGATE_SOURCE_DIR "/examples/models/tales");
  std::size_t checked = 0;
  for_each_type([&]<class Blocks>(Blocks) {
    const std::string type(info(Blocks::dtype).name);
    if (!errors.contains(type)) return;
    for (const auto& [name, theirs] : errors.at(type).items()) {
      CAPTURE(type, name);
      const double their_error = theirs;
      std::vector<float> x;
      if (name == "seed 1") {
        x = random_weights(1);
      } else {
        x.resize(count);
        tales.read(*tales.find(name), 0, x);
      }
      const double ours = squared_error(x, there_and_back<Blocks>(x));
      CHECK(ours < their_error);
      CHECK(ours > 0.5 * their_error);
      ++checked;
    }
  });
  CHECK(checked == 20);
}

TEST_CASE("of quantized weights the error is that of their bits") {
  const std::vector<float> x = random_weights(2);
  double all = squared_error(x, std::vector<float>(x.size()));
  const auto relative = [&]<class Blocks>(Blocks) {
    return std::sqrt(squared_error(x, there_and_back<Blocks>(x)) / all);
  };
  CHECK(relative(blocks::Q8_0{}) < 0.006);
  CHECK(relative(blocks::Q6_K{}) < 0.02);
  CHECK(relative(blocks::Q5_K{}) < 0.04);
  CHECK(relative(blocks::Q4_K{}) < 0.08);
  CHECK(relative(blocks::Q3_K{}) < 0.16);
  CHECK(relative(blocks::Q2_K{}) < 0.30);
  CHECK(relative(blocks::Q4_K{}) < relative(blocks::Q4_0{}));
  CHECK(relative(blocks::IQ4_NL{}) < relative(blocks::Q4_0{}));
  CHECK(relative(blocks::IQ4_XS{}) < relative(blocks::Q4_0{}));
  CHECK(relative(blocks::MXFP4{}) < 0.13);
}

TEST_CASE("every weight is the nearest that its scale can say") {
  const std::vector<float> x = random_weights(3);
  for_each_type([&]<class Blocks>(Blocks) {
    INFO(info(Blocks::dtype).name);
    const std::vector<std::byte> bytes = encoded<Blocks>(x);
    bool is_nearest = true;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t block = i / as_size(Blocks::size);
      const auto g = static_cast<index_t>(i % as_size(Blocks::size) / 32);
      auto group = Blocks::affine(&bytes[block * as_size(Blocks::bytes)], g);
      const float chosen = std::abs(blocks::weight_of<Blocks>(group, i % 32) - x[i]);
      for (int q = 0; q < 1 << Blocks::bits; ++q) {
        group.q[i % 32] = static_cast<std::uint8_t>(q);
        is_nearest = is_nearest && chosen <= std::abs(blocks::weight_of<Blocks>(group, i % 32) - x[i]) + 1e-7f;
      }
    }
    CHECK(is_nearest);
  });
}

TEST_CASE("decoded weights that are encoded again are the same") {
  for_each_type([&]<class Blocks>(Blocks) {
    if (Blocks::size > 32) return;  // scales of several groups are not found again bit for bit
    INFO(info(Blocks::dtype).name);
    const std::vector<float> once = there_and_back<Blocks>(random_weights(4));
    CHECK(squared_error(once, there_and_back<Blocks>(once)) <=
          1e-9 * squared_error(once, std::vector<float>(once.size())));
  });
}

TEST_CASE("zeros stay zeros, a lone huge weight is kept and the largest weights are finite") {
  for_each_type([&]<class Blocks>(Blocks) {
    INFO(info(Blocks::dtype).name);
    const auto size = as_size(Blocks::size);
    std::vector<float> x(size);
    CHECK(there_and_back<Blocks>(x) == x);
    for (const float huge : {1000.0f, -1000.0f, blocks::largest_weight, -blocks::largest_weight}) {
      x.assign(size, 0.001f);
      x[size / 2] = huge;
      const std::vector<float> back = there_and_back<Blocks>(x);
      for (const float y : back) CHECK(std::isfinite(y));
      CHECK(std::abs(back[size / 2] - huge) <= 0.35f * std::abs(huge));
    }
    for (const float tiny : {1e-12f, 1e-30f, FLT_MIN, 1e-45f}) {
      x.assign(size, tiny);
      x[1] = -tiny;
      for (const float y : there_and_back<Blocks>(x)) CHECK(std::abs(y) <= 2.0f * tiny + 1e-7f);
    }
  });
}

TEST_CASE("columns of importance are nearer to what they were") {
  const std::vector<float> x = random_weights(6);
  std::vector<float> importance(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) importance[i] = i % 4 == 0 ? 100.0f : 1.0f;
  for_each_type([&]<class Blocks>(Blocks) {
    INFO(info(Blocks::dtype).name);
    const std::vector<float> plain = there_and_back<Blocks>(x);
    const std::vector<float> weighed = decoded<Blocks>(encoded<Blocks>(x, importance.data()));
    double before = 0.0;
    double after = 0.0;
    for (std::size_t i = 0; i < x.size(); i += 4) {
      before += std::pow(double{plain[i]} - double{x[i]}, 2);
      after += std::pow(double{weighed[i]} - double{x[i]}, 2);
    }
    CHECK(after <= before);
    if (Blocks::bits < 8 && Blocks::dtype != DType::mxfp4) CHECK(after < 0.95 * before);
  });
}

TEST_CASE("blocks of the same weights have the same bytes on every machine") {
  const std::vector<float> x = random_weights(7);
  std::string hashes;
  for_each_type([&]<class Blocks>(Blocks) {
    std::uint32_t hash = 2166136261u;
    for (const std::byte byte : encoded<Blocks>(x)) hash = (hash ^ std::to_integer<std::uint32_t>(byte)) * 16777619u;
    hashes += std::string(info(Blocks::dtype).name) + " " + std::to_string(hash) + "\n";
  });
  CHECK(hashes ==
        "Q4_0 831932704\n"
        "Q4_1 3591011245\n"
        "Q5_0 916369934\n"
        "Q5_1 1390584915\n"
        "Q8_0 748047429\n"
        "Q2_K 2067195377\n"
        "Q3_K 3284707628\n"
        "Q4_K 3245795946\n"
        "Q5_K 329294233\n"
        "Q6_K 4203658984\n"
        "IQ4_NL 2548726029\n"
        "IQ4_XS 1894432196\n"
        "MXFP4 2470227164\n");
}
