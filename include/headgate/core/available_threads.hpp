// available_threads: how many threads this process can keep busy. On Linux the processors of its affinity mask, and no
// more than the CPU quotas of its cgroup and of all groups around that one allow, rounded up; the standard library's
// count elsewhere.
#pragma once

#include <algorithm>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>

#include <charconv>
#include <cstdio>
#include <limits>
#include <string_view>
#endif

#include "headgate/core/types.hpp"

namespace headgate::inline HEADGATE_ABI {

#if defined(__linux__)
namespace detail {

inline constexpr index_t no_quota = std::numeric_limits<index_t>::max();

// A small file whole; empty where there is none.
inline std::string text_of(const std::string& path) {
  std::string text(1 << 16, '\0');
  std::size_t size = 0;
  if (std::FILE* const file = std::fopen(path.c_str(), "re")) {
    size = std::fread(text.data(), 1, text.size(), file);
    std::fclose(file);
  }
  text.resize(size);
  return text;
}

// "200000 100000", microseconds of processor time in a period: 2. What is no such pair ("max 100000", "-1 100000",
// an empty text) limits nothing.
inline index_t quota_threads(std::string_view text) noexcept {
  std::int64_t quota = 0;
  std::int64_t period = 0;
  const char* place = text.data();
  const char* const end = place + text.size();
  for (std::int64_t* const value : {&quota, &period}) {
    place = std::find_if(place, end, [](char c) { return c != ' ' && c != '\n'; });
    place = std::from_chars(place, end, *value).ptr;
  }
  if (quota <= 0 || period <= 0) return no_quota;
  const std::int64_t threads = quota / period + (quota % period != 0 ? 1 : 0);
  return static_cast<index_t>(std::min<std::int64_t>(threads, no_quota));
}

// The least quota of a group, such as /docker/7f3a/init, and those around it. In a container the name may be the host's
// and only some of its folders, or none but the mount point, be there.
inline index_t least_quota(const std::string& mount, std::string group, bool v2) {
  index_t least = no_quota;
  for (;;) {
    const std::string folder = mount + group + "/";
    least = std::min(
        least, quota_threads(v2 ? text_of(folder + "cpu.max")
                                : text_of(folder + "cpu.cfs_quota_us") + " " + text_of(folder + "cpu.cfs_period_us")));
    if (group.empty()) return least;
    group.resize(std::min(group.rfind('/'), group.size() - 1));
  }
}

// The processors that the quotas on this process amount to, or no_quota. root: what stands before /proc and /sys.
inline index_t cgroup_threads(const std::string& root) {
  // Lines "hierarchy:controllers:group" (cgroups(7)); v2 is hierarchy 0 and names no controllers.
  const std::string groups = text_of(root + "/proc/self/cgroup");
  index_t least = no_quota;
  for (std::size_t begin = 0; begin < groups.size();) {
    const std::size_t end = std::min(groups.find('\n', begin), groups.size());
    const std::string line = groups.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      // At its own place, or beside v1's hierarchies.
      least = std::min({least, least_quota(root + "/sys/fs/cgroup", group, true),
                        least_quota(root + "/sys/fs/cgroup/unified", group, true)});
    } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
      least = std::min({least, least_quota(root + "/sys/fs/cgroup/" + controllers, group, false),
                        least_quota(root + "/sys/fs/cgroup/cpu", group, false)});
    }
  }
  return least;
}

// Of 65,536; 0 where the system does not say.
inline index_t affinity_threads() noexcept {
  cpu_set_t masks[64];
  return sched_getaffinity(0, sizeof(masks), masks) == 0 ? CPU_COUNT_S(sizeof(masks), masks) : 0;
}

}  // namespace detail
#endif

// At least 1.
inline index_t available_threads() {
#if defined(__linux__)
  if (const index_t allowed = detail::affinity_threads(); allowed > 0) {
    return std::min(allowed, detail::cgroup_threads(""));
  }
#endif
  return std::max(1, static_cast<index_t>(std::thread::hardware_concurrency()));
}

}  // namespace headgate::inline HEADGATE_ABI
