#if __has_include(<Eigen/Core>)
#include "headgate/kernels/eigen.hpp"

#include "kernels/kernel_cases.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

template <class Format>
double worst_product(index_t num_panels, index_t k, index_t m) {
  const std::vector<float> weights = random_floats(num_panels * panel_rows * k, 1);
  const std::vector<float> x = random_floats(m * k, 2);
  const Panel16<Format> panels(ConstRows(weights.data(), num_panels * panel_rows, k));
  Output expected(m * num_panels * panel_rows, 0);
  Output found(m * num_panels * panel_rows, 1);
  Scalar::multiply(Format{}, panels.view().data, k, num_panels, x.data(), m, expected.data(), num_panels * panel_rows);
  EigenBackend::multiply(Format{}, panels.view().data, k, num_panels, x.data(), m, found.data(),
                         num_panels * panel_rows);
  return found.guards_intact() ? distance(found.values(), expected.values(), 4.0 * std::sqrt(k + 1.0)) : NAN;
}

}  // namespace

TEST_CASE("Eigen's products agree with the definition") {
  for (const index_t k : {0, 1, 63, 64, 65, 200}) {
    for (const index_t m : {1, 3, 12}) {
      CAPTURE(k, m);
      CHECK(worst_product<F32>(3, k, m) <= 2e-6);
      CHECK(worst_product<Bf16>(3, k, m) <= 2e-6);
    }
  }
}

TEST_CASE("Eigen's vectors agree with the definition") {
  for (const index_t n : lengths()) {
    const std::vector<float> a = random_floats(n, 1);
    const std::vector<float> b = random_floats(n, 2);
    CAPTURE(n);
    CHECK(std::abs(EigenBackend::dot(a.data(), b.data(), n) - Scalar::dot(a.data(), b.data(), n)) <= 1e-5 * (n + 1));
    Output y(b, 1);
    Output expected(b, 1);
    EigenBackend::axpy(0.3f, a.data(), n, y.data());
    Scalar::axpy(0.3f, a.data(), n, expected.data());
    CHECK(distance(y.values(), expected.values(), 1.0) <= 1e-6);
    const float* const rows[] = {a.data(), b.data(), a.data()};
    EigenBackend::gather_axpy(std::array{0.3f, 0.5f, -0.25f}.data(), rows, 3, n, y.data());
    Scalar::gather_axpy(std::array{0.3f, 0.5f, -0.25f}.data(), rows, 3, n, expected.data());
    CHECK(distance(y.values(), expected.values(), 2.0) <= 1e-6);
    float dots[3];
    EigenBackend::gather_dots(rows, 3, b.data(), n, dots);
    CHECK(std::abs(dots[1] - Scalar::dot(b.data(), b.data(), n)) <= 1e-5 * (n + 1));
    CHECK(same_bits(dots[0], dots[2]));
    EigenBackend::rms_norm(a.data(), b.data(), 1e-6f, n, y.data());
    Scalar::rms_norm(a.data(), b.data(), 1e-6f, n, expected.data());
    CHECK(distance(y.values(), expected.values(), 1.0) <= 1e-6);
    Output pairs(random_floats(2 * n, 4), 1);
    Output turned(pairs.values(), 1);
    EigenBackend::rope(pairs.data(), a.data(), b.data(), n);
    Scalar::rope(turned.data(), a.data(), b.data(), n);
    CHECK(distance(pairs.values(), turned.values(), 4.0) <= 1e-6);
    CHECK((y.guards_intact() && pairs.guards_intact()));
  }
}

TEST_CASE("Eigen turns rows into tiles") {
  const std::vector<float> a = random_floats(5, 1);
  const std::vector<float> b = random_floats(5, 2);
  const float* const rows[] = {a.data(), b.data()};
  std::vector<float> tile(10);
  EigenBackend::make_tile(F32Tile{}, rows, 2, 5, tile.data());
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(tile[2 * i] == a[i]);
    CHECK(tile[2 * i + 1] == b[i]);
  }
}
#endif
