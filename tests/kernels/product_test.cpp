#include "headgate/kernels/product.hpp"

#include "headgate/kernels/native.hpp"
#include "kernels/kernel_cases.hpp"
#include "kernels/random_rows.hpp"
#include "support/catch.hpp"
#include "support/rounded_tile.hpp"
#include "support/thread_executor.hpp"

using namespace headgate;

namespace {

// x (T, cols) with one float more in each row than cols, W (rows, cols).
template <class Backend, class Format>
std::vector<float> product_of(index_t rows, index_t cols, index_t tokens, ExecutorRef threads, Format format = {}) {
  const std::vector<float> weights = random_floats(rows * cols, 1);
  const std::vector<float> x = random_floats(tokens * (cols + 1), 2);
  const Panel16<Format> packed(ConstRows(weights.data(), rows, cols), format);
  Output y(tokens * (rows + 3), 1);
  Context ctx(threads);
  product<Backend>(packed.view(), ConstRows(x.data(), tokens, cols, cols + 1), Rows(y.data(), tokens, rows, rows + 3),
                   ctx);
  CHECK(y.guards_intact());
  std::vector<float> all = y.values();
  for (index_t t = 0; t < tokens; ++t) {
    const auto between = all.begin() + t * (rows + 3) + rows;
    CHECK(std::count(between, between + 3, -12345.5f) == 3);
  }
  return all;
}

}  // namespace

TEST_CASE("rows are cut into tiles of nearly equal height") {
  CHECK(TileCut{0, 12}.count() == 0);
  CHECK(TileCut{12, 12}.count() == 1);
  CHECK(TileCut{13, 12}.count() == 2);
  for (index_t rows = 1; rows <= 200; ++rows) {
    const TileCut cut{rows, F32Tile::max_rows};
    index_t next = 0;
    for (index_t i = 0; i < cut.count(); ++i) {
      const Slice tile = cut.tile(i);
      CHECK(tile.first == next);
      const index_t height = tile.last - tile.first;
      CHECK((height >= rows / cut.count() && height <= F32Tile::max_rows));
      next = tile.last;
    }
    CHECK(next == rows);
  }
}

TEMPLATE_TEST_CASE("a product has the same bits for any threads, and the definition's", "", F32, Bf16) {
  for (const index_t rows : {1, 7, 16, 31, 64, 150}) {
    for (const index_t cols : {1, 26, 65}) {
      for (const index_t tokens : {1, 2, 12, 13, 40}) {
        SerialExecutor serial;
        const std::vector<float> expected = product_of<Scalar, TestType>(rows, cols, tokens, serial);
        CAPTURE(rows, cols, tokens);
        CHECK(same_bits(product_of<NativeBackend, TestType>(rows, cols, tokens, serial), expected));
        for (const index_t threads : {2, 3}) {
          ThreadExecutor executor(threads);
          CHECK(same_bits(product_of<NativeBackend, TestType>(rows, cols, tokens, executor), expected));
        }
      }
    }
  }
}

TEST_CASE("a product of no rows or no outputs writes nothing") {
  SerialExecutor serial;
  CHECK(product_of<NativeBackend, F32>(5, 3, 0, serial).empty());
  CHECK(product_of<NativeBackend, F32>(0, 3, 2, serial).size() == 6);
}

TEST_CASE("a product over no columns is zero") {
  SerialExecutor serial;
  const std::vector<float> y = product_of<NativeBackend, F32>(2, 0, 1, serial);
  CHECK(y[0] == 0.0f);
  CHECK(y[1] == 0.0f);
}

TEST_CASE("a product allocates once") {
  const std::vector<float> weights = random_floats(40 * 9, 1);
  const std::vector<float> x = random_floats(30 * 9, 2);
  const Panel16<F32> packed(ConstRows(weights.data(), 40, 9));
  std::vector<float> y(30 * 40);
  Context ctx;
  product(packed.view(), ConstRows(x.data(), 30, 9), Rows(y.data(), 30, 40), ctx);
  const std::size_t held = ctx.workspace.capacity();
  product(packed.view(), ConstRows(x.data(), 30, 9), Rows(y.data(), 30, 40), ctx);
  CHECK(ctx.workspace.capacity() == held);
}

TEST_CASE("a product of one row, of none and of no outputs takes no memory") {
  const std::vector<float> weights = random_floats(40 * 9, 1);
  const std::vector<float> x = random_floats(2 * 9, 2);
  const Panel16<F32> packed(ConstRows(weights.data(), 40, 9));
  const Panel16<F32> no_outputs(0, 9);
  std::vector<float> y(2 * 40);
  Context ctx;
  product(packed.view(), ConstRows(x.data(), 1, 9), Rows(y.data(), 1, 40), ctx);
  product(packed.view(), ConstRows(x.data(), 0, 9), Rows(y.data(), 0, 40), ctx);
  product(no_outputs.view(), ConstRows(x.data(), 2, 9), Rows(y.data(), 2, 0), ctx);
  CHECK(ctx.workspace.capacity() == 0);
  product(packed.view(), ConstRows(x.data(), 2, 9), Rows(y.data(), 2, 40), ctx);
  CHECK(ctx.workspace.capacity() > 0);
}

TEST_CASE("rows are made into tiles one after the other, from the first tile that is asked for to the last") {
  const index_t rows = F32Tile::max_rows + 2;  // two tiles of seven rows
  std::vector<float> x(as_size(rows * 3));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i / 3 * 10 + i % 3);  // row and column
  std::vector<float> out(as_size(rows * 2), -1.0f);
  make_tiles<Scalar>(F32Tile{}, ConstRows(x.data(), rows, 2, 3), {1, 2}, out.data());
  for (index_t r = 0; r < 7; ++r) {
    CHECK(out[as_size(r)] == -1.0f);
    CHECK(out[as_size(14 + r)] == static_cast<float>(70 + 10 * r));
    CHECK(out[as_size(21 + r)] == static_cast<float>(71 + 10 * r));
  }
  make_tiles<Scalar>(F32Tile{}, ConstRows(x.data(), rows, 2, 3), {0, 1}, out.data());
  for (index_t r = 0; r < 7; ++r) CHECK(out[as_size(r)] == static_cast<float>(10 * r));
}

TEMPLATE_TEST_CASE("a product of a format chosen at run time has the bits of that format", "", F32, Bf16) {
  for (const index_t rows : {1, 31, 150}) {
    for (const index_t tokens : {0, 1, 13}) {
      for (const index_t threads : {1, 3}) {
        ThreadExecutor executor(threads);
        CAPTURE(rows, tokens, threads);
        CHECK(same_bits(product_of<NativeBackend, AnyFormat>(rows, 65, tokens, executor, TestType{}),
                        product_of<NativeBackend, TestType>(rows, 65, tokens, executor)));
      }
    }
  }
}

namespace {

// What all matrices make of the same rows together.
std::vector<std::vector<float>> products_of(const std::vector<Panel16<AnyFormat>>& matrices,
                                            const std::vector<float>& x, index_t tokens, index_t threads) {
  ThreadExecutor executor(threads);
  Context ctx(executor);
  std::vector<std::vector<float>> found;
  std::vector<Factor<AnyFormat>> factors;
  for (const Panel16<AnyFormat>& matrix : matrices) {
    found.emplace_back(as_size(tokens * matrix.rows()), -1.0f);
    factors.push_back({matrix.view(), {found.back().data(), tokens, matrix.rows()}});
  }
  products<NativeBackend, AnyFormat>(factors, ConstRows(x.data(), tokens, matrices.front().cols()), ctx);
  return found;
}

}  // namespace

TEST_CASE("matrices of several formats that read the same rows have the bits of a product each") {
  const index_t cols = 37;
  const struct {
    index_t rows;
    AnyFormat format;
  } sizes[] = {{50, Bf16{}}, {7, F32{}}, {0, F32{}}, {16, Bf16{}}, {33, F32{}}};
  std::vector<Panel16<AnyFormat>> packed;
  for (const auto& size : sizes) {
    const std::vector<float> weights = random_floats(size.rows * cols, static_cast<unsigned>(size.rows));
    packed.emplace_back(ConstRows(weights.data(), size.rows, cols), size.format);
  }
  for (const index_t tokens : {0, 1, 2, 40}) {
    const std::vector<float> x = random_floats(tokens * cols, 3);
    std::vector<std::vector<float>> expected;
    for (const Panel16<AnyFormat>& matrix : packed) {
      Context serial;
      std::vector<float> y(as_size(tokens * matrix.rows()));
      product<Scalar>(matrix.view(), ConstRows(x.data(), tokens, cols), {y.data(), tokens, matrix.rows()}, serial);
      expected.push_back(y);
    }
    for (const index_t threads : {1, 2, 3, 8, 11}) {
      const std::vector<std::vector<float>> found = products_of(packed, x, tokens, threads);
      CAPTURE(tokens, threads);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(same_bits(found[i], expected[i]));
    }
  }
  Context ctx;
  products<NativeBackend, AnyFormat>({}, ConstRows(), ctx);  // of nothing
}

TEST_CASE("a product packs rows to whatever tile the format asks for, a lone row too") {
  for (const index_t tokens : {1, 4, 5, 6, 23}) {
    for (const index_t cols : {1, 2, 37}) {
      const std::vector<float> weights = random_floats(21 * cols, 4);
      std::vector<float> x = random_floats(tokens * cols, 5);
      const Panel16<RoundedBf16> packed(ConstRows(weights.data(), 21, cols));
      const Panel16<Bf16> usual(ConstRows(weights.data(), 21, cols));
      std::vector<float> expected(as_size(tokens * 21));
      std::vector<float> found(as_size(tokens * 21));
      for (const index_t threads : {1, 3}) {
        ThreadExecutor executor(threads);
        Context ctx(executor);
        product<RoundedBackend>(packed.view(), ConstRows(x.data(), tokens, cols), {found.data(), tokens, 21}, ctx);
        std::vector<float> rounded = x;
        for (float& value : rounded) value = static_cast<float>(bf16(value));
        product<Scalar>(usual.view(), ConstRows(rounded.data(), tokens, cols), {expected.data(), tokens, 21}, ctx);
        CAPTURE(tokens, cols, threads);
        CHECK(same_bits(found, expected));
      }
    }
  }
}

TEST_CASE("matrices that are multiplied with floats and with whole numbers read the same rows") {
  const index_t cols = 96;
  std::vector<Panel16<AnyFormat>> packed;
  const std::vector<std::byte> four = random_rows<blocks::Q4_0>(35, cols, 1);
  const std::vector<std::byte> eight = random_rows<blocks::Q8_0>(20, cols, 2);
  const std::vector<float> floats = random_floats(33 * cols, 3);
  const auto add = [&](index_t rows, AnyFormat format, auto&& row) {
    packed.emplace_back(rows, cols, format);
    for (index_t r = 0; r < rows; ++r) packed.back().set_row(r, row(r));
  };
  add(35, PanelBlocks<blocks::Q4_0>{}, [&](index_t r) { return four.data() + r * 3 * 18; });
  add(33, F32{}, [&](index_t r) { return floats.data() + r * cols; });
  add(20, PanelBlocks<blocks::Q8_0>{}, [&](index_t r) { return eight.data() + r * 3 * 34; });
  add(20, RowBlocks<blocks::Q8_0>{}, [&](index_t r) { return eight.data() + r * 3 * 34; });
  for (const index_t tokens : {1, 2, 40}) {
    const std::vector<float> x = random_floats(tokens * cols, 3);
    for (const index_t threads : {1, 2, 3, 8}) {
      const std::vector<std::vector<float>> found = products_of(packed, x, tokens, threads);
      CAPTURE(tokens, threads);
      for (std::size_t i = 0; i < found.size(); ++i) {
        std::vector<float> expected(found[i].size());
        for (index_t t = 0; t < tokens; ++t) {
          Context serial;
          product<Scalar>(packed[i].view(), ConstRows(x.data() + t * cols, 1, cols),
                          {expected.data() + t * packed[i].rows(), 1, packed[i].rows()}, serial);
        }
        CHECK(same_bits(found[i], expected));
      }
    }
  }
}
