#include "headgate/models/weight_rows.hpp"

#include "headgate/io/safetensors_header.hpp"
#include "io/refusal.hpp"
#include "io/safetensors_writer.hpp"
#include "models/small_file.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/thread_executor.hpp"

#include <limits>
#include <set>
#include <vector>

namespace {

using namespace headgate;
using io_test::contains;
using io_test::error_of;
using io_test::ScratchFolder;
using io_test::WrittenTensor;

template <class T>
std::string bytes(const std::vector<T>& elements) {
  std::string text(elements.size() * sizeof(T), '\0');
  if (!elements.empty()) std::memcpy(text.data(), elements.data(), text.size());
  return text;
}
// first, first + 1, ...
std::vector<float> count_up(std::size_t size, float first = 0) {
  std::vector<float> values(size);
  for (std::size_t i = 0; i < size; ++i) values[i] = first + static_cast<float>(i);
  return values;
}
std::string halves(const std::vector<float>& values) {
  std::vector<bf16> rounded;
  for (const float value : values) rounded.push_back(bf16(value));
  return bytes(rounded);
}
// Byte i of the weights that make_vectors.py unpacks, without those that stand for no number.
std::string eight_bits(std::size_t count, const std::set<int>& not_numbers) {
  std::string text(count, '\0');
  for (std::size_t i = 0; i < count; ++i) {
    const int byte = static_cast<int>((i * 37 + i / 256 * 11) % 256);
    text[i] = static_cast<char>(not_numbers.count(byte) != 0 ? 0x40 : byte);
  }
  return text;
}

class Checkpoint {
 public:
  explicit Checkpoint(const std::vector<WrittenTensor>& tensors, Compute compute = Compute::int8)
      : source_((folder_.write("model.safetensors", io_test::safetensors(tensors)),
                 TensorSource::open(folder_ / "model.safetensors"))) {
    source_.set_compute(compute);
  }
  operator const TensorSource&() const noexcept { return source_; }  // NOLINT(google-explicit-constructor)

 private:
  ScratchFolder folder_;
  TensorSource source_;
};

// All rows, one by one; read_all agrees with them for several numbers of threads.
std::vector<float> all(const WeightRows& rows) {
  const std::vector<float> values = rows.floats();
  for (const index_t threads : {1, 2, 3, 8}) {
    ThreadExecutor executor(threads);
    Context context(executor);
    std::vector<float> found(values.size(), -1e30f);
    std::vector<int> seen(as_size(rows.rows()));
    rows.read_all(
        [&](index_t r, const float* row) {
          ++seen[as_size(r)];
          std::copy_n(row, rows.cols(), found.begin() + std::int64_t{r} * rows.cols());
        },
        context);
    CHECK(found == values);
    CHECK(seen == std::vector<int>(as_size(rows.rows()), 1));
  }
  return values;
}
std::vector<std::int32_t> bits_of(const WeightRows& rows, index_t row) {
  std::vector<float> values(as_size(rows.cols()));
  rows.read(row, values);
  std::vector<std::int32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<std::int32_t>(value));
  return bits;
}
template <class Call>
std::string refused(Call&& call, ErrorCode code = ErrorCode::bad_file) {
  const Error error = error_of(call);
  CHECK(error.code() == code);
  return error.what();
}

}  // namespace

TEST_CASE("a whole matrix is read as it is, and bfloat16 keeps what is stored in it") {
  const std::vector<float> values = {1, -2, 3, 0.5f, 5, 6};
  const Checkpoint file({{"a", "F32", "[2,3]", bytes(values)},
                         {"b", "BF16", "[2,3]", halves(values)},
                         {"c", "F16", "[1,1]", std::string("\x00\x3c", 2)},
                         {"d", "F64", "[1,2]", bytes(std::vector<double>{0.1, -8})}});
  const WeightRows a = WeightRows::find(file, "a", {2, 3});
  CHECK(a.rows() == 2);
  CHECK(a.cols() == 3);
  CHECK(a.parameters() == 6);
  CHECK(a.format() == F32{});
  CHECK(all(a) == values);
  const WeightRows b = WeightRows::find(file, "b", {2, 3});
  CHECK(b.format() == Bf16{});
  CHECK(all(b) == values);
  const WeightRows c = WeightRows::find(file, "c", {1, 1});
  CHECK(c.format() == F16{});
  CHECK(all(c) == std::vector<float>{1});
  CHECK(all(WeightRows::find(file, "d", {1, 2})) == std::vector<float>{0.1f, -8});
}

TEST_CASE("a vector is one row, and as a column one row for each number") {
  const Checkpoint file({{"v", "F32", "[5]", bytes(count_up(5))}, {"s", "F32", "[2,3]", bytes(count_up(6))}});
  const WeightRows row = WeightRows::find(file, "v", {5});
  CHECK(row.rows() == 1);
  CHECK(row.cols() == 5);
  CHECK(all(row) == count_up(5));
  const WeightRows column = WeightRows::find_column(file, "v", {5});
  CHECK(column.rows() == 5);
  CHECK(column.cols() == 1);
  CHECK(all(column) == count_up(5));
  CHECK(all(column.part(1, 2, 2)) == std::vector<float>{1, 3});
  CHECK(all(WeightRows::find_column(file, "s", {2, 3}).part(3, 3)) == std::vector<float>{3, 4, 5});
}

TEST_CASE("a part is consecutive rows of a stack, or every second one") {
  const Checkpoint file({{"gate_up", "BF16", "[3,4,2]", halves(count_up(24))}});
  const WeightRows stack = WeightRows::find(file, "gate_up", {3, 4, 2});
  CHECK(stack.rows() == 12);
  const WeightRows second = stack.part(4, 4);
  CHECK(all(second) == count_up(8, 8));
  CHECK(second.format() == Bf16{});
  CHECK(all(second.part(2, 2)) == count_up(4, 12));
  CHECK(all(second.part(0, 2, 2)) == std::vector<float>{8, 9, 12, 13});
  CHECK(all(second.part(1, 2, 2)) == std::vector<float>{10, 11, 14, 15});
  CHECK(all(stack.part(1, 6, 2).part(1, 2, 2)) == std::vector<float>{6, 7, 14, 15});  // rows 3 and 7
  CHECK(all(stack.part(12, 0)).empty());
}

TEST_CASE("a part that is not there is refused") {
  const Checkpoint file({{"w", "F32", "[5,2]", bytes(count_up(10))}});
  const WeightRows rows = WeightRows::find(file, "w", {5, 2});
  constexpr index_t largest = std::numeric_limits<index_t>::max();
  for (const auto& [first, count, step] : {std::array{-1, 1, 1},
                                           {0, 6, 1},
                                           {5, 1, 1},
                                           {6, 0, 1},
                                           {0, -1, 1},
                                           {0, 1, 0},
                                           {0, 4, 2},
                                           {1, largest, 1},
                                           {1, largest, largest},
                                           {largest, 0, 1},
                                           {1, 2, -1}}) {
    CHECK(
        contains(refused([&, f = first, c = count, s = step] { (void)rows.part(f, c, s); }, ErrorCode::usage), "w: "));
  }
  CHECK(rows.part(0, 3, 2).rows() == 3);
  CHECK(rows.part(5, 0).rows() == 0);
}

TEST_CASE("a transposed stack is read by its columns, where both sizes are equal, too") {
  // (3, cols 40, rows 70) on disk: element (e, r, c) is at (e, c, r).
  const index_t experts = 3;
  for (const auto& [rows, cols] : {std::pair(70, 40), std::pair(33, 33), std::pair(1, 5), std::pair(5, 1)}) {
    const std::size_t size = as_size(experts) * as_size(rows) * as_size(cols);
    const std::string shape = "[3," + std::to_string(cols) + "," + std::to_string(rows) + "]";
    const Checkpoint file({{"w", "F32", shape, bytes(count_up(size))}, {"h", "BF16", shape, halves(count_up(size))}});
    const WeightRows stack = WeightRows::find_transposed(file, "w", {experts, rows, cols});
    CHECK(stack.rows() == experts * rows);
    CHECK(stack.cols() == cols);
    const auto expected = [&, rows = rows, cols = cols](index_t first, index_t count, index_t step) {
      std::vector<float> values;
      for (index_t i = 0; i < count; ++i) {
        const index_t r = first + i * step;
        for (index_t c = 0; c < cols; ++c) {
          values.push_back(static_cast<float>((r / rows * cols + c) * rows + r % rows));
        }
      }
      return values;
    };
    CHECK(all(stack) == expected(0, experts * rows, 1));
    CHECK(all(stack.part(rows, rows)) == expected(rows, rows, 1));
    const index_t half = rows / 2;
    CHECK(all(stack.part(2 * rows, half, 2)) == expected(2 * rows, half, 2));
    CHECK(all(stack.part(2 * rows + 1, half, 2)) == expected(2 * rows + 1, half, 2));
    CHECK(WeightRows::find_transposed(file, "h", {experts, rows, cols}).format() == Bf16{});
  }
}

TEST_CASE("a transposed matrix is refused as its file holds it, in the order of the file") {
  const Checkpoint file({{"w", "F32", "[2,3,5]", bytes(count_up(30))}});
  CHECK(contains(refused([&] { WeightRows::find_transposed(file, "w", {2, 3, 5}); }),
                 ": expected shape (2, 5, 3), found (2, 3, 5)"));
  CHECK_NOTHROW(WeightRows::find_transposed(file, "w", {2, 5, 3}));
}

TEST_CASE("interleaved pairs become halves, within heads and for some of their channels") {
  const Checkpoint file({{"w", "F32", "[16,1]", bytes(count_up(16))},
                         {"b", "F32", "[8]", bytes(count_up(8))},
                         {"t", "F32", "[2,16]", bytes(count_up(32))}});
  const WeightRows rows = WeightRows::find(file, "w", {16, 1});
  CHECK(all(rows.deinterleaved(8, 0, 8)) == std::vector<float>{0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15});
  // the last six, and the first four
  CHECK(all(rows.deinterleaved(8, 2, 6)) == std::vector<float>{0, 1, 2, 4, 6, 3, 5, 7, 8, 9, 10, 12, 14, 11, 13, 15});
  CHECK(all(rows.deinterleaved(8, 0, 4)) == std::vector<float>{0, 2, 1, 3, 4, 5, 6, 7, 8, 10, 9, 11, 12, 13, 14, 15});
  CHECK(all(rows.deinterleaved(8, 3, 0)) == count_up(16));
  CHECK(all(rows.part(9, 7).deinterleaved(7, 1, 6)) == std::vector<float>{9, 10, 12, 14, 11, 13, 15});
  CHECK(all(rows.deinterleaved(4, 0, 4).part(8, 4)) == std::vector<float>{8, 10, 9, 11});
  CHECK(all(WeightRows::find_column(file, "b", {8}).deinterleaved(4, 0, 4)) ==
        std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7});
  CHECK(all(WeightRows::find_transposed(file, "t", {16, 2}).deinterleaved(8, 4, 4)) ==
        std::vector<float>{0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 6,  22, 5,  21, 7,  23,
                           8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 14, 30, 13, 29, 15, 31});
}

TEST_CASE("pairs that do not fit, and parts that cut a group of them, are refused") {
  const Checkpoint file({{"w", "F32", "[12,1]", bytes(count_up(12))}});
  const WeightRows rows = WeightRows::find(file, "w", {12, 1});
  for (const auto& [group, first, count] :
       {std::array{0, 0, 0}, {-4, 0, 2}, {5, 0, 4}, {4, -2, 2}, {4, 0, 3}, {4, 2, 4}, {4, 0, -2}}) {
    CHECK(
        contains(refused([&, g = group, f = first, c = count] { (void)rows.deinterleaved(g, f, c); }, ErrorCode::usage),
                 "pairs in groups of " + std::to_string(group)));
  }
  const WeightRows heads = rows.deinterleaved(4, 0, 4);
  CHECK_THROWS_AS(heads.deinterleaved(4, 0, 4), Error);
  CHECK_THROWS_AS(heads.part(2, 4), Error);
  CHECK_THROWS_AS(heads.part(0, 2), Error);
  CHECK_THROWS_AS(heads.part(0, 4, 2), Error);
  CHECK(all(heads.part(4, 4)) == std::vector<float>{4, 6, 5, 7});
}

TEST_CASE("eight bits with scales of blocks are the numbers of transformers' own code, at ragged edges, too") {
  const nlohmann::json expected = golden("weight_rows");
  std::vector<float> scales;
  for (const auto& row : expected["scales"]) {
    for (const float scale : values(row)) scales.push_back(scale);
  }
  const std::set<int> no_e4m3 = {0x7f, 0xff};
  const std::set<int> no_e5m2 = {0x7c, 0x7d, 0x7e, 0x7f, 0xfc, 0xfd, 0xfe, 0xff};
  for (const auto& [key, dtype, no] : {std::tuple("f8_e4m3", "F8_E4M3", no_e4m3), {"f8_e5m2", "F8_E5M2", no_e5m2}}) {
    const Checkpoint file(
        {{"w", dtype, "[130,150]", eight_bits(19500, no)}, {"w_scale_inv", "F32", "[2,2]", bytes(scales)}});
    const WeightRows rows = WeightRows::find(file, "w", {130, 150});
    CHECK(rows.format() == F32{});
    for (const auto& [row, bits] : expected[key].items()) {
      CHECK(bits_of(rows, std::stoi(row)) == values<std::int32_t>(bits));
    }
    CHECK(bits_of(rows.part(127, 2, 2), 1) == values<std::int32_t>(expected[key]["129"]));
    all(rows);
  }
}

TEST_CASE("eight bits without scales are numbers as they are, and those of powers of two fit bfloat16") {
  const std::string weights("\x38\x39\x01\xb8\x7e\x00", 6);
  const std::vector<float> values = {1, 1.125f, 0x1p-9f, -1, 448, 0};
  const auto with_scale = [&](float scale) {
    return Checkpoint(
        {{"w", "F8_E4M3", "[2,3]", weights}, {"w_scale_inv", "F32", "[1,1]", bytes(std::vector<float>{scale})}});
  };
  const Checkpoint plain({{"w", "F8_E4M3", "[2,3]", weights}});
  CHECK(all(WeightRows::find(plain, "w", {2, 3})) == values);
  CHECK(WeightRows::find(plain, "w", {2, 3}).format() == Bf16{});
  const Checkpoint power = with_scale(0x1p-8f);
  std::vector<float> scaled = values;
  for (float& value : scaled) value *= 0x1p-8f;
  CHECK(all(WeightRows::find(power, "w", {2, 3})) == scaled);
  CHECK(WeightRows::find(power, "w", {2, 3}).format() == Bf16{});
  for (const float value : scaled) CHECK(static_cast<float>(bf16(value)) == value);
  CHECK(WeightRows::find(with_scale(0.3f), "w", {2, 3}).format() == F32{});
}

TEST_CASE("eight bits that are no number, or beyond all floats once scaled, are refused with file and tensor") {
  const auto file = [](const char* dtype, const std::string& byte, float scale) {
    return Checkpoint({{"w", dtype, "[2,2]", std::string("\x38\x38\x38", 3) + byte},
                       {"w_scale_inv", "F32", "[1,1]", bytes(std::vector<float>{scale})}});
  };
  std::vector<float> row(2);
  for (const char* const byte : {"\x7f", "\xff"}) {
    const Checkpoint bad = file("F8_E4M3", byte, 1);
    const WeightRows rows = WeightRows::find(bad, "w", {2, 2});
    rows.read(0, row);
    const std::string text = refused([&] { rows.read(1, row); });
    CHECK(contains(text, "model.safetensors: w at byte "));
    CHECK(contains(text, "element 1 of row 1 is no number"));
  }
  const Checkpoint infinite = file("F8_E5M2", "\x7c", 1);
  CHECK(contains(refused([&] { WeightRows::find(infinite, "w", {2, 2}).floats(); }), "is beyond all floats"));
  const Checkpoint large = file("F8_E4M3", "\x7e", 1e37f);
  CHECK(contains(refused([&] { WeightRows::find(large, "w", {2, 2}).floats(); }), "is beyond all floats"));
  const Checkpoint columns({{"w", "F8_E4M3", "[2,2]", "\x38\x38\x38\xff"}});
  const WeightRows transposed = WeightRows::find_transposed(columns, "w", {2, 2});
  Context context;
  CHECK(contains(refused([&] { transposed.read_all([](index_t, const float*) {}, context); }),
                 "element 1 of row 1 is no number"));
  CHECK(contains(refused([&] { transposed.floats(); }), "element 1 of row 1 is no number"));
}

TEST_CASE("scales beside weights that have none, and those of another dialect, are refused") {
  const std::string one = bytes(std::vector<float>{1});
  const Checkpoint floats({{"w", "BF16", "[1,1]", std::string("\x80\x3f", 2)}, {"w_scale_inv", "F32", "[1,1]", one}});
  CHECK(contains(refused([&] { WeightRows::find(floats, "w", {1, 1}); }),
                 "expected type F8_E4M3 or F8_E5M2, found BF16"));
  const Checkpoint vector({{"w", "F8_E4M3", "[4]", "\x38\x38\x38\x38"}, {"w_scale_inv", "F32", "[1]", one}});
  CHECK(contains(refused([&] { WeightRows::find(vector, "w", {4}); }), "it is no matrix, and there is a w_scale_inv"));
  const Checkpoint other({{"w", "F8_E4M3", "[1,1]", "\x38"}, {"w_scale", "F32", "[1]", one}});
  CHECK(contains(refused([&] { WeightRows::find(other, "w", {1, 1}); }), "only w_scale_inv is understood"));
  const Checkpoint shape({{"w", "F8_E4M3", "[1,1]", "\x38"}, {"w_scale_inv", "F32", "[1]", one}});
  CHECK(contains(refused([&] { WeightRows::find(shape, "w", {1, 1}); }), ": expected shape (1, 1), found (1)"));
}

TEST_CASE("whole numbers with a scale for each row are that scale times each, of stacks and parts, too") {
  std::string numbers;
  for (int i = 0; i < 2 * 3 * 5; ++i) numbers += static_cast<char>(i * 37);
  const std::vector<float> scales = {0.5f, -2.0f, 0x1p-9f, 0.0f, 3.0f, 0.1f};
  for (const char* const type : {"F32", "BF16"}) {
    const bool is_float = std::string_view(type) == "F32";
    for (const Compute compute : {Compute::int8, Compute::f32, Compute::bf16}) {
      CAPTURE(type, static_cast<int>(compute));
      const Checkpoint file(
          {{"w", "I8", "[2,3,5]", numbers}, {"w_scale", type, "[2,3,1]", is_float ? bytes(scales) : halves(scales)}},
          compute);
      const WeightRows rows = WeightRows::find(file, "w", {2, 3, 5});
      CHECK(rows.dtype() == DType::i8);
      CHECK(rows.stored_size() == 30);
      CHECK(rows.format() == (compute == Compute::int8 ? AnyFormat(Int8Rows{}) : AnyFormat(F32{})));
      CHECK(rows.mapped() == nullptr);
      std::vector<float> expected;
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        const float scale = is_float ? scales[i / 5] : static_cast<float>(bf16(scales[i / 5]));
        expected.push_back(scale * static_cast<float>(static_cast<std::int8_t>(numbers[i])));
      }
      CHECK(all(rows) == expected);
      std::vector<float> part(expected.begin() + 5, expected.begin() + 10);
      part.insert(part.end(), expected.begin() + 20, expected.begin() + 25);
      CHECK(all(rows.part(1, 2, 3)) == part);
      Panel16<AnyFormat> packed(6, 5, rows.format());
      Context ctx;
      rows.read_all(rows.format(), [&](index_t r, WeightRow row) { packed.set_row(r, row); }, ctx);
      std::vector<float> found(30);
      for (index_t r = 0; r < 6; ++r) packed.view().read_row(r, &found[as_size(r) * 5]);
      CHECK(found == expected);
      std::vector<std::string> tensors;
      rows.for_each_tensor([&](const Tensor& tensor) { tensors.push_back(tensor.name); });
      CHECK(tensors == std::vector<std::string>{"w", "w_scale"});
    }
  }
}

TEST_CASE("whole numbers without a finite scale for each row, or with zero points, are refused") {
  const std::string one = bytes(std::vector<float>{1});
  const WrittenTensor weights{"w", "I8", "[1,2]", "\x01\x02"};
  const auto find = [&](const std::vector<WrittenTensor>& others) {
    std::vector<WrittenTensor> tensors = {weights};
    tensors.insert(tensors.end(), others.begin(), others.end());
    const Checkpoint file(tensors);
    return refused([&] { WeightRows::find(file, "w", {1, 2}); });
  };
  CHECK(contains(find({}), "w_scale"));
  CHECK(contains(find({{"w_scale", "F32", "[1]", one}}), "expected shape (1, 1), found (1)"));
  CHECK(contains(find({{"w_scale", "F32", "[1,2]", one + one}}), "expected shape (1, 1)"));
  CHECK(contains(find({{"w_scale", "I8", "[1,1]", "\x01"}}), "expected type"));
  CHECK(contains(find({{"w_scale", "F32", "[1,1]", one}, {"w_zero_point", "I8", "[1,1]", "\x01"}}), "zero points"));
  const float infinity = std::numeric_limits<float>::infinity();
  const Checkpoint infinite({weights, {"w_scale", "F32", "[1,1]", bytes(std::vector<float>{infinity})}});
  const WeightRows rows = WeightRows::find(infinite, "w", {1, 2});
  CHECK(contains(refused([&] { (void)rows.floats(); }), "the scale of row 0 is not finite"));
  std::vector<std::byte> scratch;
  CHECK(contains(refused([&] { (void)rows.row_blocks(0, scratch); }), "the scale of row 0 is not finite"));
}

TEST_CASE("MXFP4 rows are those of transformers' own code, interleaved ones by step 2") {
  const nlohmann::json expected = golden("weight_rows");
  std::string scales;
  for (const int exponent : values<int>(expected["exponents"])) scales += static_cast<char>(exponent);
  const Checkpoint file({{"w_blocks", "U8", "[2,3,3,16]", eight_bits(288, {})}, {"w_scales", "U8", "[2,3,3]", scales}});
  const WeightRows rows = WeightRows::find_mxfp4(file, "w", {2, 3, 96});
  CHECK(rows.rows() == 6);
  CHECK(rows.cols() == 96);
  CHECK(rows.parameters() == 576);
  CHECK(rows.format() == Bf16{});
  std::vector<std::int32_t> found;
  for (index_t r = 0; r < 6; ++r) {
    for (const std::int32_t bits : bits_of(rows, r)) found.push_back(bits);
  }
  CHECK(found == values<std::int32_t>(expected["mxfp4"]));
  CHECK(bits_of(rows.part(3, 2, 2), 1) == bits_of(rows, 5));
  CHECK(all(rows).size() == 576);
  const Checkpoint bad({{"w_blocks", "U8", "[1,1,16]", std::string(16, '\x12')}, {"w_scales", "U8", "[1,1]", "\xff"}});
  CHECK(contains(refused([&] { WeightRows::find_mxfp4(bad, "w", {1, 32}).floats(); }),
                 "scale 0 of row 0 is 255, which is no number"));
}

TEST_CASE("a matrix that is missing, of another shape or of whole numbers is refused") {
  const Checkpoint file({{"w", "F32", "[2,3]", bytes(count_up(6))}, {"i", "I32", "[1]", "abcd"}});
  CHECK(contains(refused([&] { WeightRows::find(file, "v", {2, 3}); }),
                 "v: the tensor is missing, expected shape (2, 3)"));
  CHECK(contains(refused([&] { WeightRows::find(file, "w", {3, 2}); }), ": expected shape (3, 2), found (2, 3)"));
  CHECK(contains(refused([&] { WeightRows::find_column(file, "w", {6}); }), "expected shape (6), found (2, 3)"));
  CHECK(contains(refused([&] { WeightRows::find(file, "i", {1}); }), "found I32"));
}

TEST_CASE("a number of F64 beyond the floats is refused with its file") {
  const Checkpoint file({{"w", "F64", "[2,2]", bytes(std::vector<double>{1, 2, 3, 1e300})}});
  const WeightRows rows = WeightRows::find(file, "w", {2, 2});
  const std::string text = refused([&] { rows.floats(); });
  CHECK(contains(text, "model.safetensors: w at byte "));
  CHECK(contains(text, "element 1 of row 1 is larger than any float"));
}

TEST_CASE("no rows and no columns are read as nothing") {
  const Checkpoint file({{"a", "F32", "[0,3]", ""},
                         {"b", "F32", "[3,0]", ""},
                         {"e", "F8_E4M3", "[0,5]", ""},
                         {"e_scale_inv", "F32", "[0,1]", ""},
                         {"m_blocks", "U8", "[4,0,16]", ""},
                         {"m_scales", "U8", "[4,0]", ""}});
  CHECK(all(WeightRows()).empty());
  WeightRows().release();
  WeightRows().for_each_tensor([](const Tensor&) { CHECK(false); });
  CHECK_THROWS_AS(WeightRows().read(0, {}), Error);
  CHECK_THROWS_AS(WeightRows().part(0, 1), Error);
  CHECK(WeightRows().part(0, 0).rows() == 0);
  for (const WeightRows& rows :
       {WeightRows::find(file, "a", {0, 3}), WeightRows::find(file, "b", {3, 0}), WeightRows::find(file, "e", {0, 5}),
        WeightRows::find_column(file, "a", {0, 3}), WeightRows::find_transposed(file, "a", {3, 0}),
        WeightRows::find_transposed(file, "b", {0, 3}), WeightRows::find_mxfp4(file, "m", {4, 0}),
        WeightRows::find(file, "b", {3, 0}).part(1, 1)}) {
    CHECK(rows.parameters() == 0);
    CHECK(all(rows).empty());
    rows.release();
  }
}

TEST_CASE("a row outside, or into another width, is refused") {
  const Checkpoint file({{"w", "F32", "[2,3]", bytes(count_up(6))}});
  const WeightRows rows = WeightRows::find(file, "w", {2, 3});
  std::vector<float> three(3);
  std::vector<float> two(2);
  CHECK(contains(refused([&] { rows.read(2, three); }, ErrorCode::usage), "w: a row does not fit (2, 3)"));
  CHECK_THROWS_AS(rows.read(-1, three), Error);
  CHECK_THROWS_AS(rows.read(0, two), Error);
  CHECK_THROWS_AS(rows.part(0, 1).read(1, three), Error);
}

TEST_CASE("rows name the tensors they lie in, and can be read after their pages are given back") {
  const Checkpoint file({{"w", "F8_E4M3", "[3,2]", "\x38\x38\x38\x38\x38\x38"},
                         {"w_scale_inv", "F32", "[1,1]", bytes(std::vector<float>{2})},
                         {"m_blocks", "U8", "[3,1,16]", std::string(48, '\x22')},
                         {"m_scales", "U8", "[3,1]", "\x7f\x7f\x80"},
                         {"t", "F32", "[2,2,3]", bytes(count_up(12))}});
  const auto names = [](const WeightRows& rows) {
    std::vector<std::string> found;
    rows.for_each_tensor([&](const Tensor& tensor) { found.push_back(tensor.name); });
    return found;
  };
  const WeightRows eight = WeightRows::find(file, "w", {3, 2});
  const WeightRows four = WeightRows::find_mxfp4(file, "m", {3, 32});
  const WeightRows columns = WeightRows::find_transposed(file, "t", {2, 3, 2});
  CHECK(names(eight) == std::vector<std::string>{"w", "w_scale_inv"});
  CHECK(names(four) == std::vector<std::string>{"m_blocks", "m_scales"});
  CHECK(names(columns) == std::vector<std::string>{"t"});
  for (const WeightRows& rows : {eight, four, columns, four.part(2, 1), columns.part(1, 2, 3), eight.part(0, 2, 2)}) {
    const std::vector<float> before = rows.floats();
    rows.release();
    CHECK(rows.floats() == before);
  }
  CHECK(four.part(2, 1).floats() == std::vector<float>(32, 2.0f));
}

namespace {

// A file whose tensor "a" is panels of these bytes, behind `pad` bytes of another one.
class PanelFile {
 public:
  PanelFile(DType dtype, const Shape& shape, const PanelOrder& order, const std::string& panels, std::size_t pad = 0,
            Compute compute = Compute::int8) {
    const std::pair<std::string, std::string> metadata[] = {
        {"headgate.layout", "panel16"},
        {"headgate.version", "1"},
        {"headgate.tensors", "{\"a\":" + PackedTensors::entry(dtype, shape, order) + "}"}};
    const std::vector<SafetensorsEntry> entries = {
        {"pad", DType::u8, {static_cast<std::int64_t>(pad)}, pad},
        {"a", DType::u8, {static_cast<std::int64_t>(panels.size())}, panels.size()}};
    const std::string path =
        folder_.write("m.safetensors", safetensors_header(entries, metadata) + std::string(pad, ' ') + panels);
    source_ = TensorSource::open(path);
    source_.set_compute(compute);
  }
  operator const TensorSource&() const noexcept { return source_; }  // NOLINT(google-explicit-constructor)

 private:
  ScratchFolder folder_;
  TensorSource source_;
};
// Runs of rows in panels of floats, each value row + column / 100.
std::string panels_of_floats(const std::vector<std::vector<index_t>>& runs, index_t cols) {
  std::string bytes;
  for (const std::vector<index_t>& run : runs) {
    Panel16<F32> panels(static_cast<index_t>(run.size()), cols);
    for (std::size_t r = 0; r < run.size(); ++r) {
      std::vector<float> row(as_size(cols));
      for (std::size_t c = 0; c < row.size(); ++c) row[c] = static_cast<float>(run[r]) + static_cast<float>(c) / 128.0f;
      panels.set_row(static_cast<index_t>(r), row.data());
    }
    bytes.append(reinterpret_cast<const char*>(panels.view().data), as_size(panels.bytes()));
  }
  return bytes;
}
std::vector<index_t> every(index_t first, index_t step, index_t count) {
  std::vector<index_t> rows;
  for (index_t i = 0; i < count; ++i) rows.push_back(first + i * step);
  return rows;
}
bool reads_as(const WeightRows& rows, const std::vector<index_t>& wanted) {
  const std::vector<float> values = all(rows);
  bool same = rows.rows() == static_cast<index_t>(wanted.size());
  for (std::size_t r = 0; same && r < wanted.size(); ++r) {
    for (std::size_t c = 0; c < as_size(rows.cols()); ++c) {
      same = same &&
             values[r * as_size(rows.cols()) + c] == static_cast<float>(wanted[r]) + static_cast<float>(c) / 128.0f;
    }
  }
  return same;
}

}  // namespace

TEST_CASE("panels are read row by row wherever runs begin, and mapped where a part is whole panels") {
  // Two matrices of 10 rows: every second row is a run of 5.
  const PanelFile pairs(DType::f32, {2, 10, 3}, {5, 2},
                        panels_of_floats({every(0, 2, 5), every(1, 2, 5), every(10, 2, 5), every(11, 2, 5)}, 3));
  const WeightRows stack = WeightRows::find(pairs, "a", {2, 10, 3});
  CHECK(reads_as(stack, every(0, 1, 20)));
  CHECK(stack.mapped() == nullptr);
  CHECK(stack.format() == AnyFormat(F32{}));
  for (const index_t first : {0, 1, 10, 11}) {
    const WeightRows run = stack.part(first, 5, 2);
    CHECK(reads_as(run, every(first, 2, 5)));
    REQUIRE(run.mapped() != nullptr);
    const PanelView<F32> view{run.mapped(), 5, 3};
    CHECK(view(4, 2) == static_cast<float>(first + 8) + 2.0f / 128.0f);
    CHECK(run.part(0, 4).mapped() == nullptr);  // its panel holds more than zeros behind it
    run.release();
    CHECK(reads_as(run, every(first, 2, 5)));
  }
  // Runs of whole panels are one after the other.
  const PanelFile whole(DType::f32, {2, 32, 3}, {16, 1},
                        panels_of_floats({every(0, 1, 16), every(16, 1, 16), every(32, 1, 16), every(48, 1, 16)}, 3));
  const WeightRows rows = WeightRows::find(whole, "a", {2, 32, 3});
  CHECK(reads_as(rows, every(0, 1, 64)));
  CHECK(rows.mapped() != nullptr);
  CHECK(rows.part(16, 32).mapped() == rows.mapped() + F32::panel_bytes(3));
  CHECK(rows.part(8, 16).mapped() == nullptr);
  CHECK(rows.part(0, 16, 2).mapped() == nullptr);
  CHECK(rows.deinterleaved(32, 0, 32).mapped() == rows.mapped());  // halves stand apart already
  // Where no line begins they are read and packed.
  const PanelFile odd(DType::f32, {16, 3}, {16, 1}, panels_of_floats({every(0, 1, 16)}, 3), 7);
  CHECK(reads_as(WeightRows::find(odd, "a", {16, 3}), every(0, 1, 16)));
  CHECK(WeightRows::find(odd, "a", {16, 3}).mapped() == nullptr);
}

TEST_CASE("quantized panels are mapped to meet whole numbers, and rows of blocks to meet floats") {
  const std::string zeros(as_size(2 * PanelBlocks<blocks::Q4_0>::panel_bytes(64)), '\x24');
  for (const Compute compute : {Compute::int8, Compute::f32}) {
    const PanelFile file(DType::q4_0, {20, 64}, {20, 1}, zeros, 0, compute);
    const WeightRows rows = WeightRows::find(file, "a", {20, 64});
    CHECK((rows.mapped() != nullptr) == (compute == Compute::int8));
    CHECK(rows.format() ==
          (compute == Compute::int8 ? AnyFormat(PanelBlocks<blocks::Q4_0>{}) : AnyFormat(RowBlocks<blocks::Q4_0>{})));
    Panel16<AnyFormat> packed(20, 64, rows.format());
    Context ctx;
    rows.read_all(rows.format(), [&](index_t r, WeightRow row) { packed.set_row(r, row); }, ctx);
    std::vector<float> found(20 * 64);
    for (index_t r = 0; r < 20; ++r) packed.view().read_row(r, &found[as_size(r) * 64]);
    CHECK(found == all(rows));
  }
}

TEST_CASE("panels that do not fit their shape, type or order are refused with the tensor") {
  const std::string panels = panels_of_floats({every(0, 1, 16)}, 4);  // 256 bytes
  struct Bad {
    DType dtype;
    Shape shape;
    PanelOrder order;
    const char* words;
  };
  const std::vector<Bad> all_bad = {
      {DType::f32, {17, 4}, {17, 1}, "2 panels of 256 bytes"},
      {DType::f32, {16, 5}, {16, 1}, "1 panels of 320 bytes"},
      {DType::f32, {16, 4}, {8, 1}, "2 panels"},
      {DType::f32, {16, 4}, {5, 1}, "no runs of 5 by 1"},
      {DType::f32, {16, 4}, {16, 2}, "no runs of 16 by 2"},
      {DType::f32, {16, 4}, {2147483647, 2147483647}, "no runs"},
      {DType::q4_0, {16, 4}, {16, 1}, "rows of 4 elements are no panels of Q4_0"},
      {DType::q4_k, {16, 128}, {16, 1}, "rows of 128 elements"},
      {DType::f64, {16, 256}, {16, 1}, "panels of type F64 are not supported"},

      {DType::i64, {16, 4}, {16, 1}, "expected type"},
      {DType::f32, {2147483647, 2147483647}, {2147483647, 1}, "bytes"},
  };
  for (const Bad& bad : all_bad) {
    CAPTURE(bad.words);
    const PanelFile file(bad.dtype, bad.shape, bad.order, panels);
    const std::string text = refused([&] { WeightRows::find(file, "a", bad.shape); });
    CHECK(contains(text, bad.words));
    CHECK(contains(text, "a"));
  }
  const PanelFile file(DType::f32, {16, 4}, {16, 1}, panels);
  CHECK(contains(refused([&] { WeightRows::find(file, "a", {4, 16}); }), "expected shape"));
  CHECK(contains(refused([&] { WeightRows::find_column(file, "a", {16, 4}); }), "panels"));
  // Whatever a family expects otherwise, panels are rows.
  CHECK(WeightRows::find_transposed(file, "a", {16, 4}).mapped() != nullptr);
  CHECK(WeightRows::find_mxfp4(file, "a", {16, 4}).mapped() != nullptr);
}

TEST_CASE("rows of a matrix that an adapter changes are floats with what it adds") {
  for (const char* const dtype : {"F32", "BF16"}) {
    INFO(dtype);
    using models_test::counting;
    models_test::SmallFile file(
        {counting("w", {4, 3}, dtype), counting("w_t", {3, 4}, dtype), counting("other", {4, 3}, dtype)});
    const LowRankChange change{2, 3, 4, 0.5f, {1, 2, 3, 4, 5, 6}, {0, 0, 1, 0, 0, 1, 2, -1}};
    file.source.add("w", change);
    file.source.add("w_t", change);
    const WeightRows rows = WeightRows::find(file.source, "w", {4, 3});
    CHECK(rows.format() == AnyFormat(F32{}));
    CHECK(rows.mapped() == nullptr);
    CHECK_FALSE(rows.has_blocks());
    const std::vector<float> wanted = {0, 1, 2, 3.5f, 5, 6.5f, 8, 9.5f, 11, 8, 9.5f, 11};
    CHECK(rows.floats() == wanted);
    CHECK(rows.part(1, 2).floats() == std::vector<float>(wanted.begin() + 3, wanted.begin() + 9));
    CHECK(rows.part(3, 1).floats() == std::vector<float>(wanted.begin() + 9, wanted.end()));
    Context ctx;
    std::vector<float> all(12);
    rows.read_all([&](index_t r, const float* values) { std::copy_n(values, 3, all.data() + 3 * r); }, ctx);
    CHECK(all == wanted);
    // Element (r, c) of the transposed one is 4 c + r.
    const WeightRows turned = WeightRows::find_transposed(file.source, "w_t", {4, 3});
    turned.read_all([&](index_t r, const float* values) { std::copy_n(values, 3, all.data() + 3 * r); }, ctx);
    for (std::size_t r = 0; r < 4; ++r) {
      for (std::size_t c = 0; c < 3; ++c) {
        const auto plain = static_cast<float>(3 * r + c);
        CHECK(all[3 * r + c] == wanted[3 * r + c] - plain + static_cast<float>(4 * c + r));
      }
    }
    CHECK((WeightRows::find(file.source, "other", {4, 3}).format() == AnyFormat(F32{})) == (dtype[0] == 'F'));
    file.source.add("other", {1, 4, 3, 1.0f, {1, 1, 1, 1}, {1, 1, 1}});
    const Error error = io_test::error_of([&] { WeightRows::find(file.source, "other", {4, 3}); });
    CHECK(io_test::contains(error.what(), "other"));
    CHECK(io_test::contains(error.what(), "the adapter's matrices are of 3 rows and 4 columns"));
  }
}
