#include "headgate/io/tensor.hpp"

#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <limits>
#include <vector>

namespace {

using namespace headgate;
using io_test::bytes_of;
using io_test::contains;
using io_test::error_of;

// The elements as bytes, at an odd address.
template <class T>
std::string packed(std::initializer_list<T> elements) {
  std::string bytes(1 + elements.size() * sizeof(T), '\0');
  if (elements.size() != 0) std::memcpy(&bytes[1], elements.begin(), elements.size() * sizeof(T));
  return bytes;
}
Tensor tensor(DType dtype, Shape shape, std::string_view packed_elements) {
  return {"w", dtype, shape, bytes_of(packed_elements.substr(1)), 100, 0};
}
std::vector<float> row(const Tensor& source, std::int64_t r) {
  std::vector<float> out(as_size(source.row_size()));
  read_row(source, r, out);
  return out;
}

}  // namespace

TEST_CASE("rows of F32, BF16 and F16 at odd addresses are read as floats") {
  const std::string f = packed({1.5f, -2.0f, 0.1f, 4.0f, 1e-40f, -0.0f});
  CHECK(row(tensor(DType::f32, {2, 3}, f), 0) == std::vector<float>{1.5f, -2.0f, 0.1f});
  CHECK(row(tensor(DType::f32, {2, 3}, f), 1) == std::vector<float>{4.0f, 1e-40f, -0.0f});
  const std::string b = packed({bf16(1.5f), bf16(-2.0f), bf16(3.0e38f)});
  CHECK(row(tensor(DType::bf16, {3, 1}, b), 1) == std::vector<float>{-2.0f});
  CHECK(row(tensor(DType::bf16, {3, 1}, b), 2) == std::vector<float>{static_cast<float>(bf16(3.0e38f))});
  const std::string h = packed<std::uint16_t>({0x3c00, 0xc000, 0x0001, 0x7c00});
  CHECK(row(tensor(DType::f16, {4}, h), 0) ==
        std::vector<float>{1.0f, -2.0f, 0x1p-24f, std::numeric_limits<float>::infinity()});
}

TEST_CASE("rows of F64 are rounded to floats, and a number that no float reaches is refused with its place") {
  constexpr double largest = std::numeric_limits<float>::max();
  const double infinity = std::numeric_limits<double>::infinity();
  const std::string d =
      packed({0.1, -largest, 1e-300, infinity, 1.0, 1.0, std::nextafter(largest, infinity), 0.0, 0.0});
  const Tensor matrix = tensor(DType::f64, {3, 3}, d);
  CHECK(row(matrix, 0) == std::vector<float>{0.1f, -std::numeric_limits<float>::max(), 0.0f});
  CHECK(row(matrix, 1) == std::vector<float>{std::numeric_limits<float>::infinity(), 1.0f, 1.0f});
  const Error error = error_of([&] { row(matrix, 2); });
  CHECK(error.code() == ErrorCode::bad_file);
  CHECK(contains(error.what(), "w: element 0 of row 2 is larger than any float"));
  const std::string low = packed({0.0, -1e39});
  CHECK(contains(error_of([&] { row(tensor(DType::f64, {2}, low), 0); }).what(), "element 1 of row 0"));
}

TEST_CASE("rows of F8_E4M3, F8_E5M2 and quantized blocks are read as floats") {
  const std::string bytes = packed<std::uint8_t>({0x38, 0xb8, 0x01, 0x7e, 0x00, 0x80});
  CHECK(row(tensor(DType::f8_e4m3, {2, 3}, bytes), 0) == std::vector<float>{1.0f, -1.0f, 0x1p-9f});
  CHECK(row(tensor(DType::f8_e4m3, {2, 3}, bytes), 1) == std::vector<float>{448.0f, 0.0f, 0.0f});
  const std::string wide = packed<std::uint8_t>({0x3c, 0xbd, 0x01, 0x7b});
  CHECK(row(tensor(DType::f8_e5m2, {4}, wide), 0) == std::vector<float>{1.0f, -1.25f, 0x1p-16f, 57344.0f});
}

TEST_CASE("rows of quantized blocks are read as floats, and elements from any place on") {
  // Two blocks of Q8_0 with scales 0.5 and 2, of 1, 2, ... 32 and their negatives.
  std::string bytes(1 + 2 * 34, '\0');
  for (int b = 0; b < 2; ++b) {
    bytes[as_size(1 + 34 * b + 1)] = b == 0 ? 0x38 : 0x40;
    for (int i = 0; i < 32; ++i) bytes[as_size(1 + 34 * b + 2 + i)] = static_cast<char>(b == 0 ? i + 1 : -i - 1);
  }
  const Tensor matrix = tensor(DType::q8_0, {2, 32}, bytes);
  CHECK(row(matrix, 0)[31] == 16.0f);
  CHECK(row(matrix, 1)[0] == -2.0f);
  std::vector<float> out(4);
  read_elements(matrix, 30, out);
  CHECK(out == std::vector<float>{15.5f, 16.0f, -2.0f, -4.0f});
  read_elements(matrix, 60, out);
  CHECK(out == std::vector<float>{-58.0f, -60.0f, -62.0f, -64.0f});
  CHECK(contains(error_of([&] { read_elements(matrix, 61, out); }).what(), "are not all inside"));
  CHECK(contains(error_of([&] { read_elements(matrix, 65, std::span<float>()); }).what(), "are not all inside"));
}

TEST_CASE("elements are read wherever they start, and none outside of the tensor") {
  const std::string bytes = packed({0.f, 1.f, 2.f, 3.f, 4.f, 5.f});
  const Tensor matrix = tensor(DType::f32, {2, 3}, bytes);
  std::vector<float> out(3);
  read_elements(matrix, 2, out);
  CHECK(out == std::vector<float>{2, 3, 4});
  read_elements(matrix, 3, out);
  CHECK(out == std::vector<float>{3, 4, 5});
  for (const std::int64_t first : {std::int64_t{-1}, std::int64_t{4}, std::int64_t{7}, std::int64_t{1} << 62}) {
    CHECK(contains(error_of([&] { read_elements(matrix, first, out); }).what(),
                   "3 elements from " + std::to_string(first) + " on are not all inside (its shape is (2, 3)"));
  }
  read_elements(matrix, 6, {});
  CHECK_THROWS_AS(read_elements(matrix, 7, {}), Error);
}

TEST_CASE("rows are counted over all sizes but the last, and slices are matrices of a stack") {
  const std::string bytes = packed({0.f, 1.f, 2.f, 3.f, 4.f, 5.f, 6.f, 7.f, 8.f, 9.f, 10.f, 11.f});
  const Tensor stack = tensor(DType::f32, {3, 2, 2}, bytes);
  CHECK(stack.num_rows() == 6);
  CHECK(row(stack, 5) == std::vector<float>{10, 11});
  const Tensor second = stack.slice(1);
  CHECK(second.name == "w[1]");
  CHECK(second.shape == Shape{2, 2});
  CHECK(second.offset == 116);
  CHECK(second.bytes.size() == 16);
  CHECK(row(second, 1) == std::vector<float>{6, 7});
  CHECK(row(second.slice(0).slice(1), 0) == std::vector<float>{5});
}

TEST_CASE("a number alone is one row of one, an empty tensor has no values") {
  const std::string one = packed({7.0f});
  const Tensor scalar = tensor(DType::f32, {}, one);
  CHECK(scalar.num_rows() == 1);
  CHECK(row(scalar, 0) == std::vector<float>{7.0f});
  const std::string none = packed<float>({});
  CHECK(row(tensor(DType::f32, {3, 0}, none), 2).empty());
  CHECK(row(tensor(DType::i32, {3, 0}, none), 2).empty());  // no number of it is read
  CHECK(tensor(DType::f32, {0, 3}, none).num_rows() == 0);
  CHECK_THROWS_AS(row(tensor(DType::f32, {0, 3}, none), 0), Error);
  CHECK(tensor(DType::f32, {4, 0, 3}, none).slice(3).bytes.empty());
  CHECK_THROWS_AS(tensor(DType::f32, {0, 3}, none).slice(0), Error);
}

TEST_CASE("a row or slice that is not there, and a type that is no float, are refused") {
  const std::string bytes = packed({0.f, 1.f, 2.f, 3.f});
  const Tensor matrix = tensor(DType::f32, {2, 2}, bytes);
  std::vector<float> two(2);
  std::vector<float> three(3);
  for (const std::int64_t r : {std::int64_t{-1}, std::int64_t{2}, std::int64_t{1} << 62}) {
    const Error error = error_of([&] { read_row(matrix, r, two); });
    CHECK(error.code() == ErrorCode::usage);
    CHECK(contains(error.what(),
                   "w: row " + std::to_string(r) + " is outside of it (its shape is (2, 2), its type F32)"));
    CHECK_THROWS_AS(matrix.slice(r), Error);
  }
  CHECK(contains(error_of([&] { read_row(matrix, 0, three); }).what(), "does not fit 3 floats"));
  CHECK(contains(error_of([&] { read_row(tensor(DType::i32, {2, 2}, bytes), 0, two); }).what(),
                 "only F32, BF16, F16, F64, F8_E4M3, F8_E5M2 and quantized blocks"));
  const std::string one = packed({7.0f});
  CHECK_THROWS_AS(tensor(DType::f32, {}, one).slice(0), Error);
}

TEST_CASE("shapes compare by rank and sizes") {
  CHECK(Shape{2, 3}.describe() == "(2, 3)");
  CHECK(Shape{}.describe() == "()");
  CHECK(Shape{2, 3} == Shape{2, 3});
  CHECK(Shape{2, 3} != Shape{3, 2});
  CHECK(Shape{2} != Shape{2, 0});
  CHECK(Shape{4, 5}[1] == 5);
}

TEST_CASE("a tensor of nothing lies at the start of the first file, and a shape of eight sizes is the longest") {
  const Tensor none;
  CHECK(none.dtype == DType::f32);
  CHECK(none.offset == 0);
  CHECK(none.file == 0);
  CHECK(none.shape.rank() == 0);
  CHECK(Shape::max_rank == 8);
  const Shape longest{1, 2, 3, 4, 5, 6, 7, 8};
  CHECK(longest.rank() == 8);
  CHECK(longest[7] == 8);
  CHECK(longest.describe() == "(1, 2, 3, 4, 5, 6, 7, 8)");
  Tensor stack;
  stack.shape = {2, 0};
  stack.file = 3;
  CHECK(stack.slice(1).file == 3);
}
