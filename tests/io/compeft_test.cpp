#include "headgate/io/compeft.hpp"

#include <random>

#include "support/catch.hpp"
#include "support/golden.hpp"

using namespace headgate;

namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }
std::string failure(const std::string& file) {
  try {
    read_compeft(bytes_of(file), "f");
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}
std::vector<NamedFloats> random_tensors(std::initializer_list<Shape> shapes, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<NamedFloats> tensors;
  for (const Shape& shape : shapes) {
    tensors.push_back({"t" + std::to_string(tensors.size()), shape, {}});
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
      tensors.back().values.push_back(static_cast<float>(rng() >> 8) * 0x1p-23f - 1.0f);
    }
  }
  return tensors;
}
// Where the bytes of the tensors begin.
std::size_t header_end(const std::string& file) {
  std::uint64_t length;
  std::memcpy(&length, file.data(), 8);
  return 8 + length;
}

}  // namespace

TEST_CASE("ComPEFT keeps, signs and scales as its code does") {
  for (const auto& c : golden("compeft")) {
    const std::vector<NamedFloats> tensors = {{"a", {3, 10}, values(c["parts"][0])},
                                              {"b", {7, 3}, values(c["parts"][1])}};
    const std::vector<TernaryTensor> ternary = compress(tensors, c["density"].get<double>(), c["alpha"].get<double>());
    std::vector<float> all = ternary[0].floats();
    const std::vector<float> second = ternary[1].floats();
    all.insert(all.end(), second.begin(), second.end());
    const std::vector<float> wanted = values(c["compressed"]);
    REQUIRE(all.size() == wanted.size());
    for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i] == Catch::Approx(wanted[i]).epsilon(1e-6));
  }
}

TEST_CASE("ComPEFT files hold exactly what was written, of any density and shape") {
  for (const double density : {0.0, 0.001, 0.05, 0.2, 0.5, 0.99}) {
    const auto tensors = random_tensors({{11, 24}, {5}, {2, 3, 7}, {0, 4}, {}, {1, 1000}}, 1);
    const std::vector<TernaryTensor> ternary = compress(tensors, density, 2.0);
    const std::string file = compeft_file(ternary);
    CHECK(read_compeft(bytes_of(file), "f") == ternary);
    CHECK(compeft_file(read_compeft(bytes_of(file), "f")) == file);
  }
  CHECK(read_compeft(bytes_of(compeft_file({})), "f").empty());
  CHECK(compress({}, 0.5, 1.0).empty());
  const std::vector<NamedFloats> zeros = {{"z", {3, 3}, std::vector<float>(9, 0.0f)}};
  CHECK(compress(zeros, 0.5, 1.0)[0].elements.empty());
}

TEST_CASE("ComPEFT files come near the entropy of what they hold") {
  const auto tensors = random_tensors({{100, 1000}}, 2);
  for (const double density : {0.01, 0.05, 0.1, 0.2}) {
    const std::string file = compeft_file(compress(tensors, density, 1.0));
    const double entropy = -density * std::log2(density) - (1.0 - density) * std::log2(1.0 - density) + density;
    const double bits = 8.0 * static_cast<double>(file.size()) / 1e5;
    CHECK(bits > entropy);
    CHECK(bits < 1.05 * entropy + 8.0 * 200.0 / 1e5);  // and the header
  }
}

TEST_CASE("ComPEFT files that are damaged are refused, or read without harm") {
  const std::string good = compeft_file(compress(random_tensors({{9, 8}}, 3), 0.3, 1.0));
  CHECK(failure(good).empty());
  for (std::size_t size = 0; size < good.size(); ++size) CHECK_FALSE(failure(good.substr(0, size)).empty());
  std::mt19937 rng(4);
  const std::size_t header = header_end(good);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string other = good;
    other[header + rng() % (good.size() - header)] = static_cast<char>(rng());
    const std::string message = failure(other);
    refused += message.empty() ? 0 : 1;
    if (message.empty()) {
      for (const TernaryTensor& tensor : read_compeft(bytes_of(other), "f")) CHECK(tensor.floats().size() <= 1u << 28);
    }
  }
  CHECK(refused > 500);

  // One tensor of 72 elements, of which the last is not 0: rank, sizes, count, scale, b, then 7 ones and so on.
  const TernaryTensor last{"t", {72}, 0.5f, {{71, true}}};
  const std::string file = compeft_file(std::span(&last, 1));
  const std::size_t start = header_end(file);
  const auto with = [&](std::size_t place, char byte) {
    std::string other = file;
    other[start + place] = byte;
    return failure(other);
  };
  CHECK(failure(file).empty());
  CHECK(with(0, 9).find("at most 8 sizes") != std::string::npos);
  CHECK(with(4, 71).find("behind the last one") != std::string::npos);
  CHECK(with(10, 1).find("more elements than are read") != std::string::npos);
  CHECK(with(12, 73).find("are not 0") != std::string::npos);
  CHECK(with(12, 2).find("behind the last one") != std::string::npos);
  CHECK(with(12, 3).find("ends before") != std::string::npos);
  CHECK(failure(file.substr(0, file.size() - 1)).size() > 0);
  CHECK(with(23, char(0xff)).find("scale") != std::string::npos);
  CHECK(with(24, 41).find("Golomb") != std::string::npos);
}

TEST_CASE("ComPEFT files may not ask for memory without end") {
  std::vector<TernaryTensor> named(3, {"t", {1 << 14, 1 << 13}, 0.0f, {}});
  for (std::size_t i = 0; i < named.size(); ++i) named[i].name += std::to_string(i);
  CHECK(failure(compeft_file(std::span(named).first(2))).empty());
  CHECK(failure(compeft_file(named)).find("more elements than are read") != std::string::npos);
}

TEST_CASE("ComPEFT of what cannot be compressed is refused") {
  const auto tensors = random_tensors({{3, 3}}, 5);
  CHECK_THROWS_AS(compress(tensors, 1.0, 1.0), Error);
  CHECK_THROWS_AS(compress(tensors, -0.1, 1.0), Error);
  CHECK_THROWS_AS(compress(tensors, 0.5, 0.0), Error);
  std::vector<NamedFloats> other = tensors;
  other[0].values[4] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(compress(other, 0.5, 1.0), Error);
  other[0].values.pop_back();
  CHECK_THROWS_AS(compress(other, 0.5, 1.0), Error);
}
