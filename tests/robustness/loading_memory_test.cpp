// What loading costs: memory within the promise, progress that adds up, and nothing read behind what a file holds.
#include "robustness/hole_checkpoints.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/resource.h>
#endif

#include "headgate/core/thread_pool.hpp"
#include "headgate/models/session.hpp"
#include "models/loading.hpp"

using namespace headgate;
using namespace robustness;

namespace {

#if defined(__linux__) && !HEADGATE_SANITIZED
constexpr Sizes large{.layers = 8, .hidden = 512, .inner = 1024, .experts = 8, .vocabulary = 1024};
#endif

void forward(Session& session) {
  ThreadPool pool(2);
  Context ctx(pool);
  const std::int32_t tokens[] = {3, 1, 40, 1, 5};
  throw_if_error(session.forward(tokens, ctx));
  for (const float logit : session.logits()) REQUIRE(logit == 0.0f);
}

#if defined(__linux__) && !HEADGATE_SANITIZED
// Loads and runs; memory stays what was promised: packed weights, caches, one tensor and 64 MiB, and of what is mapped
// no more than there is.
void check_peak(const std::string& path, std::int64_t tensor_bytes, bool is_mapped) {
  const Compute compute = is_mapped ? Compute::f32 : Compute::int8;
  const ModelDescription description = describe_model(path, compute);
  const std::int64_t packed = description.weights.packed_bytes;
  const std::int64_t mapped = description.weights.mapped_bytes;
  CAPTURE(path, packed, mapped);
  CHECK((is_mapped ? mapped : packed) > 80 * mib);
  CHECK((is_mapped ? packed : mapped) < 16 * mib);
  const std::int64_t promised = packed + tensor_bytes + 64 * mib;
  Peak peak;
  if (!peak.begin()) return;
  ThreadPool pool(2);
  const std::shared_ptr<const Model> model = load_model(path, {.executor = pool, .compute = compute});
  CHECK(peak.grown() <= promised);
  Session session(model);
  const std::int64_t cache = description.memory().kv_cache;
  forward(session);
  CHECK(peak.grown() <= promised + cache + mapped);
}
#endif

}  // namespace

#if defined(__linux__) && !HEADGATE_SANITIZED
TEST_CASE("loading a GGUF file whose weights are mapped takes no memory for them") {
  const ScratchFolder folder;
  const std::string path = gguf_of_holes((folder / "model.gguf").string(), large);
  check_peak(path, 8 * 1024 * 512 / 32 * 34, /*is_mapped=*/true);
}

TEST_CASE("loading a GGUF file that is packed peaks at the packed weights, one tensor and little else") {
  const ScratchFolder folder;
  const std::string path = gguf_of_holes((folder / "model.gguf").string(), large);
  check_peak(path, 8 * 1024 * 512 / 32 * 34, /*is_mapped=*/false);
}

TEST_CASE("loading safetensors peaks at the packed weights, one tensor and little else") {
  const ScratchFolder folder;
  check_peak(safetensors_of_holes(folder, large), 1024 * 512 * 2, /*is_mapped=*/false);
}
#endif

#if defined(__linux__) && !HEADGATE_SANITIZED
TEST_CASE("a session takes memory as its text grows, however long its context is") {
  const ScratchFolder folder;
  const std::shared_ptr<const Model> model = load_model(gguf_of_holes((folder / "model.gguf").string(), large));
  for (const CacheType type : {CacheType::f32, CacheType::q8_0}) {
    const SessionOptions options{.context_size = 1 << 18, .cache_type = type};
    Peak peak;
    if (!peak.begin()) return;
    Session session(model, options);
    CHECK(peak.grown() <= 2 * mib);
    forward(session);
    Session fork = session.fork();
    forward(fork);
    // Of each of 8 layers two huge pages, of either session, and what a pass takes.
    CHECK(peak.grown() <= 96 * mib);
    CHECK(std::int64_t{options.context_size} * 8 * 2 * 256 >= 1024 * mib);
  }
}

TEST_CASE("a context for which there is no memory is an error that names it") {
  const ScratchFolder folder;
  const std::shared_ptr<const Model> model = load_model(gguf_of_holes((folder / "model.gguf").string(), large));
  rlimit old{};
  REQUIRE(::getrlimit(RLIMIT_AS, &old) == 0);
  rlimit limited = old;
  limited.rlim_cur = std::uint64_t{1} << 36;  // of addresses
  REQUIRE(::setrlimit(RLIMIT_AS, &limited) == 0);
  const Expected<Session> session = Session::create(model, {.context_size = 1 << 26});
  ::setrlimit(RLIMIT_AS, &old);
  REQUIRE(!session.has_value());
  CHECK(session.error().code() == ErrorCode::limit);
  CHECK(std::string(session.error().what()).find("67108864 positions") != std::string::npos);
}
#endif

TEST_CASE("loading tells how far it is, in steps that never go back and end with the whole once") {
  const ScratchFolder folder;
  const Sizes odd{.layers = 3, .hidden = 64, .inner = 96, .experts = 3, .vocabulary = 37};
  ThreadPool pool(3);
  for (const std::string& path :
       {safetensors_of_holes(folder, odd), gguf_of_holes((folder / "model.gguf").string(), odd)}) {
    CAPTURE(path);
    for (const LoadOptions& options : {LoadOptions{}, LoadOptions{.executor = pool}}) {
      std::vector<std::int64_t> done;
      LoadOptions told = options;
      const std::int64_t all = describe_model(path).weights.bytes_to_pack;
      CHECK(all > 0);
      told.progress = [&](std::int64_t bytes, std::int64_t total) {
        CHECK(total == all);
        done.push_back(bytes);
      };
      load_model(path, told);
      REQUIRE(!done.empty());
      CHECK(done.front() > 0);
      CHECK(std::is_sorted(done.begin(), done.end()));
      CHECK(done.back() == all);
      CHECK(std::count(done.begin(), done.end(), all) == 1);
    }
  }
}

TEST_CASE("what a caller's progress throws ends the loading and passes through") {
  const ScratchFolder folder;
  const std::string path = gguf_of_holes((folder / "model.gguf").string(), {});
  struct Stop {};
  CHECK_THROWS_AS(load_model(path, {.progress = [](std::int64_t, std::int64_t) { throw Stop(); }}), Stop);
}

// I12, too: on a system where a mapped file can be removed.
TEST_CASE("a model outlives its source, and the name of its file") {
  const ScratchFolder folder;
  const std::string path = gguf_of_holes((folder / "model.gguf").string(), {});
  std::optional<Session> session;
  {
    const std::shared_ptr<const Model> model = load_model(path, {.compute = Compute::f32});
    CHECK(describe_model(path, Compute::f32).weights.mapped_bytes > 0);
    session.emplace(model);
  }
#if !defined(_WIN32)
  std::filesystem::remove(path);
  write_all(path, std::string(100, 'x'));
#endif
  forward(*session);
}

#if defined(__linux__)
namespace {

// The page behind the mapping of a file is made one that nobody may read. False where something else lies there.
bool guard_behind(const std::string& path) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (!line.ends_with(path)) continue;
    const std::uintptr_t end = std::stoull(line.substr(line.find('-') + 1), nullptr, 16);
    const std::size_t page = Descriptor::page_size();
    void* const wanted = reinterpret_cast<void*>(end);
    void* const got = ::mmap(wanted, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got == wanted) return true;
    if (got != MAP_FAILED) ::munmap(got, page);
    std::string behind;
    return std::getline(maps, behind) && std::stoull(behind, nullptr, 16) == end &&
           behind.find(" ---p ") != behind.npos;
  }
  return false;
}

}  // namespace

TEST_CASE("nothing is read behind a mapped tensor at the end of its file and of a page, of any type of blocks") {
  const MatrixType types[] = {{2, 32, 18},   {3, 32, 20},    {6, 32, 22},    {7, 32, 24},    {8, 32, 34},
                              {10, 256, 84}, {11, 256, 110}, {12, 256, 144}, {13, 256, 176}, {14, 256, 210},
                              {20, 32, 18},  {23, 256, 136}, {39, 32, 17}};
  const std::uint64_t page = Descriptor::page_size();
  const ScratchFolder folder;
  const Sizes sizes{.layers = 1, .hidden = 256, .inner = 256, .experts = 3, .vocabulary = 48};
  for (const MatrixType& type : types) {
    CAPTURE(type.ggml);
    const std::string path = gguf_of_holes((folder / "model.gguf").string(), sizes, type);
    // The last tensor has 48 rows and no padding. A key of the right length makes the file end with a page.
    const std::uint64_t size = std::filesystem::file_size(path);
    REQUIRE(size % 32 == 0);
    std::string bytes(size, '\0');
    std::ifstream(path, std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(size));
    std::uint64_t keys = 0;
    std::memcpy(&keys, &bytes[16], sizeof keys);
    ++keys;
    std::memcpy(&bytes[16], &keys, sizeof keys);
    const std::size_t key_size = 8 + 1 + 4 + 8;  // "k", a string
    const std::uint64_t more = (page - size % page) % page;
    const std::uint64_t filled = more >= key_size ? more : more + page;
    bytes.insert(24, io_test::gguf_string("k") + gguf_value(std::string(filled - key_size, 'k')));
    write_all(path, bytes);
    REQUIRE(bytes.size() % page == 0);

    // Where the next mapping of this size goes, below a page that nobody may read.
    void* const place = ::mmap(nullptr, bytes.size() + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(place != MAP_FAILED);
    void* const guard = static_cast<std::byte*>(place) + bytes.size();
    ::munmap(place, bytes.size());
    {
      const std::shared_ptr<const Model> model = load_model(path, {.compute = Compute::f32});
      CHECK(describe_model(path, Compute::f32).weights.mapped_bytes > 0);
      if (guard_behind(path)) {
        for (const index_t rows : {1, 2, 3, 5}) {
          Session session(model, {.rows_per_pass = rows});
          forward(session);
        }
      } else {
        WARN("skipped: another mapping lies behind the file");
      }
    }
    ::munmap(guard, page);
  }
}
#endif
