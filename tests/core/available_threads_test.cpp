#include "headgate/core/available_threads.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#include <unistd.h>
#endif

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("at least one thread is available, and no more than there are processors") {
  CHECK(available_threads() >= 1);
  CHECK(available_threads() <= static_cast<index_t>(std::thread::hardware_concurrency()));
}

#if defined(__linux__)
namespace {

// A folder that stands for /, removed at the end.
class Root {
 public:
  Root() { std::filesystem::create_directories(path_); }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;
  ~Root() { std::filesystem::remove_all(path_); }

  Root& with(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(path_ + name).parent_path());
    std::ofstream(path_ + name) << text;
    return *this;
  }
  index_t threads() const { return detail::cgroup_threads(path_); }

 private:
  std::string path_ = (std::filesystem::temp_directory_path() / ("headgate_root_" + std::to_string(getpid()))).string();
};

}  // namespace

TEST_CASE("a quota of processor time is rounded up to threads") {
  CHECK(detail::quota_threads("100000 100000") == 1);
  CHECK(detail::quota_threads("200000 100000\n") == 2);
  CHECK(detail::quota_threads("200001 100000") == 3);
  CHECK(detail::quota_threads("150000\n 100000\n") == 2);
  CHECK(detail::quota_threads("1000 100000") == 1);
  CHECK(detail::quota_threads("9223372036854775807 1") == detail::no_quota);
  for (const char* const text :
       {"max 100000", "-1 100000", "100000", "100000 0", "100000 -5", "0 100000", "", "x", " "}) {
    CAPTURE(text);
    CHECK(detail::quota_threads(text) == detail::no_quota);
  }
}

TEST_CASE("the least quota of a cgroup and those around it counts") {
  const std::string sys = "/sys/fs/cgroup";
  SECTION("no cgroup at all") { CHECK(Root().threads() == detail::no_quota); }
  SECTION("version 2, the own group") {
    Root root;
    root.with("/proc/self/cgroup", "0::/a/b\n").with(sys + "/a/b/cpu.max", "300000 100000\n");
    CHECK(root.threads() == 3);
    root.with(sys + "/a/cpu.max", "max 100000\n");
    CHECK(root.threads() == 3);
    root.with(sys + "/a/cpu.max", "150000 100000\n");
    CHECK(root.threads() == 2);
    root.with(sys + "/cpu.max", "50000 100000\n");
    CHECK(root.threads() == 1);
  }
  SECTION("version 2, another group's quota") {
    Root root;
    root.with("/proc/self/cgroup", "0::/a/b").with(sys + "/a/c/cpu.max", "100000 100000\n");
    CHECK(root.threads() == detail::no_quota);
  }
  SECTION("version 2 in a container that is the root of what it sees") {
    Root root;
    root.with("/proc/self/cgroup", "0::/\n").with(sys + "/cpu.max", "400000 100000\n");
    CHECK(root.threads() == 4);
  }
  SECTION("version 2 beside version 1") {
    Root root;
    root.with("/proc/self/cgroup", "3:memory:/m\n0::/a\n").with(sys + "/unified/a/cpu.max", "500000 100000\n");
    CHECK(root.threads() == 5);
  }
  SECTION("version 1, under its controllers' names or cpu alone") {
    for (const char* const folder : {"/cpu,cpuacct", "/cpu"}) {
      Root root;
      root.with("/proc/self/cgroup", "5:cpuset:/s\n4:cpu,cpuacct:/a/b\n1:name=systemd:/x:y\n");
      root.with(sys + folder + "/a/b/cpu.cfs_quota_us", "-1\n")
          .with(sys + folder + "/a/b/cpu.cfs_period_us", "100000\n");
      CHECK(root.threads() == detail::no_quota);
      root.with(sys + folder + "/a/b/cpu.cfs_quota_us", "250000\n");
      CHECK(root.threads() == 3);
      root.with(sys + folder + "/cpu.cfs_quota_us", "50000\n").with(sys + folder + "/cpu.cfs_period_us", "50000\n");
      CHECK(root.threads() == 1);
    }
  }
  SECTION("version 1 in a container whose group has the host's name") {
    Root root;
    root.with("/proc/self/cgroup", "4:cpu,cpuacct:/docker/7f3a\n");
    root.with(sys + "/cpu/cpu.cfs_quota_us", "200000").with(sys + "/cpu/cpu.cfs_period_us", "100000");
    CHECK(root.threads() == 2);
  }
  SECTION("lines that are not understood") {
    Root root;
    root.with("/proc/self/cgroup", "\n:\n0:\n4:cpu:a\n\n").with(sys + "/cpu.max", "100000 100000\n");
    CHECK(root.threads() == detail::no_quota);
  }
}

TEST_CASE("as many threads are available as the affinity mask and the quota allow") {
  cpu_set_t before;
  REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  CHECK(detail::affinity_threads() == CPU_COUNT(&before));
  CHECK(available_threads() == std::min(detail::affinity_threads(), detail::cgroup_threads("")));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
  CHECK(available_threads() == 1);
  REQUIRE(sched_setaffinity(0, sizeof(before), &before) == 0);
}
#endif
