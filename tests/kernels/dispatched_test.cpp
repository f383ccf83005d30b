#include "headgate/kernels/dispatched.hpp"

#include "headgate/kernels/product.hpp"
#include "headgate/kernels/simd.hpp"
#include "kernels/kernel_cases.hpp"
#include "kernels/random_rows.hpp"
#include "support/catch.hpp"

using namespace headgate;

namespace {

constexpr KernelTableV2 native_table = make_kernel_table<Simd<NativeArch>>("native");

// Every function of the backend against Scalar's.
void check_all_kernels() {
  constexpr index_t n = 37;
  const std::vector<float> a = random_floats(n, 1);
  const std::vector<float> b = random_floats(n, 2);
  const auto near = [](const std::vector<float>& x, const std::vector<float>& y) {
    return distance(x, y, 1.0) <= 4e-6;
  };
  const auto both = [&](auto call) {
    std::vector<float> found = a;
    std::vector<float> expected = a;
    call(Dispatched{}, found.data());
    call(Scalar{}, expected.data());
    CHECK(near(found, expected));
  };
  both([&](auto backend, float* y) { backend.axpy(0.5f, b.data(), n, y); });
  const float* const gathered[] = {b.data(), a.data() + 1, b.data() + 1, a.data(), b.data() + 2};
  both([&](auto backend, float* y) { backend.gather_axpy(a.data(), gathered, 5, n - 2, y); });
  both([&](auto backend, float* y) { backend.gather_dots(gathered, 5, a.data(), n - 2, y); });
  both([&](auto backend, float* y) { y[n - 1] = backend.exp_sum(y, n - 1, 0.25f); });
  both([&](auto backend, float* y) { backend.softmax(y, n); });
  both([&](auto backend, float* y) { backend.sigmoid(y, n); });
  both([&](auto backend, float* y) { backend.rms_norm(b.data(), a.data(), 1e-5f, n, y); });
  both([&](auto backend, float* y) { backend.rope(y, b.data(), b.data() + 5, 18); });
  both([&](auto backend, float* y) { backend.activate({ActivationKind::gelu}, b.data(), n, y); });
  both([&](auto backend, float* y) { backend.glu({ActivationKind::clamped_swiglu, 1.5f, 1.0f}, b.data(), y, n, y); });
  both([&](auto backend, float* y) { y[0] = backend.sum(b.data(), n); });
  both([&](auto backend, float* y) { y[0] = backend.max(b.data(), n); });
  both([&](auto backend, float* y) { y[0] = backend.dot(a.data(), b.data(), n); });
  both([&](auto backend, float* y) { y[0] = backend.all_finite(b.data(), n) ? 1.0f : 0.0f; });
  both([&](auto backend, float* y) {
    index_t order[5];
    y[0] = static_cast<float>(backend.top_k(b.data(), n, 5, order));
    for (index_t i = 0; i < 5; ++i) y[i + 1] = static_cast<float>(order[i]);
  });
  both([&](auto backend, float* y) {
    const float* const rows[] = {b.data(), a.data(), b.data() + 1};
    backend.make_tile(F32Tile{}, rows, 3, 12, y);
  });
  for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    visit_cache_format(type, [&]<class Format>(Format format) {
      std::vector<std::byte> panel(as_size(Format::panel_bytes(18)));
      std::vector<std::byte> rows(as_size(2 * Format::row_bytes(14)));
      for (index_t lane = 0; lane < 16; ++lane) format.store_key(a.data() + lane, 18, lane, panel.data());
      for (index_t j = 0; j < 2; ++j) format.store_value(b.data() + j, 14, rows.data() + j * Format::row_bytes(14));
      both([&](auto backend, float* y) { backend.score(format, panel.data(), 18, 1, b.data(), 2, y, 16); });
      both([&](auto backend, float* y) { backend.weigh(format, rows.data(), 14, 2, a.data(), 3, 2, y); });
    });
  }
  const std::vector<float> weights = random_floats(2 * panel_rows * n, 3);
  const ConstRows matrix(weights.data(), 2 * panel_rows, n);
  both([&](auto backend, float* y) {
    backend.multiply(F32{}, Panel16<F32>(matrix).view().data, n, 2, b.data(), 1, y, 32);
  });
  both([&](auto backend, float* y) {
    backend.multiply(Bf16{}, Panel16<Bf16>(matrix).view().data, n, 2, b.data(), 1, y, 32);
  });
  both([&](auto backend, float* y) {
    const float* const rows[] = {b.data(), a.data()};
    std::byte tile[2 * 48];
    backend.make_tile(Int8Tile{}, rows, 2, 32, tile);
    Panel16<PanelBlocks<blocks::Q4_0>> panels(16, 32);
    const std::vector<std::byte> blocks_of_rows = random_rows<blocks::Q4_0>(16, 32, 1);
    for (index_t r = 0; r < 16; ++r) panels.set_row(r, blocks_of_rows.data() + 18 * r);
    backend.multiply(PanelBlocks<blocks::Q4_0>{}, panels.view().data, 32, 1, tile, 2, y, 16);
  });
}

}  // namespace

TEST_CASE("dispatched kernels agree with the definition, whichever table is active") {
  for (const std::string_view cap : kernel_names()) {  // what is not linked falls back to scalar
    REQUIRE(select_kernels(cap).ok());
    CAPTURE(Dispatched::name());
    check_all_kernels();
  }
  detail::active_table.store(&native_table);
  CHECK(std::string_view(Dispatched::name()) == "native");
  check_all_kernels();
  REQUIRE(select_kernels().ok());
}

TEST_CASE("the best kernels that are linked and that the processor has are chosen") {
  REQUIRE(select_kernels().ok());
  const std::string_view best = Dispatched::name();
#if defined(__aarch64__) && defined(__linux__)
  CHECK(best == ((::getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0 ? "neon_dotprod" : "scalar"));
#else
  CHECK(best == "scalar");
#endif
  REQUIRE(select_kernels("neon").ok());
  CHECK(std::string_view(Dispatched::name()) == "scalar");  // neon itself is not linked
  REQUIRE(select_kernels().ok());
}

TEST_CASE("a cap is obeyed, and one that is no instruction set is an error") {
  REQUIRE(select_kernels("scalar").ok());
  CHECK(std::string_view(Dispatched::name()) == "scalar");
  for (const char* const unknown : {"avx99", "AVX2", " scalar", "sse2"}) {
    const Status status = select_kernels(unknown);
    CHECK(status.code == ErrorCode::usage);
    for (const std::string_view name : kernel_names()) {
      CHECK(std::string_view(status.what).find(name) != std::string_view::npos);
    }
    CHECK(std::string_view(status.what).find("scalar") != std::string_view::npos);
    CHECK(std::string_view(Dispatched::name()) == "scalar");
  }
  REQUIRE(select_kernels().ok());
}

TEST_CASE("kernels are chosen at the first call where nobody chose before") {
  detail::active_table.store(nullptr);
  const float x[] = {1.0f, 2.0f};
  CHECK(Dispatched::sum(x, 2) == 3.0f);
  CHECK(detail::active_table.load() != nullptr);
}

TEST_CASE("a table multiplies each format of the list by its own kernel, chosen at run time too") {
  REQUIRE(select_kernels().ok());
  const std::vector<float> weights = random_floats(37 * 9, 4);
  const std::vector<float> x = random_floats(3 * 9, 5);
  const auto check = [&](auto format) {
    const Panel16<AnyFormat> packed(ConstRows(weights.data(), 37, 9), format);
    std::vector<float> found(3 * 37);
    std::vector<float> expected(3 * 37);
    Context ctx;
    product<Dispatched>(packed.view(), ConstRows(x.data(), 3, 9), {found.data(), 3, 37}, ctx);
    product<Scalar>(packed.view(), ConstRows(x.data(), 3, 9), {expected.data(), 3, 37}, ctx);
    CHECK(same_bits(found, expected));
  };
  check(F32{});
  check(Bf16{});
}
