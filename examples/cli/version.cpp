#include "version.hpp"

#include <fmt/format.h>
#include <CLI/Version.hpp>
#include <nlohmann/json_fwd.hpp>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>
#include <xsimd/config/xsimd_config.hpp>

#include "headgate/core/config.hpp"
#include "machine.hpp"

std::string version_text() {
#if defined(__clang__)
  const std::string compiler = "clang " __clang_version__;
#else
  const std::string compiler = "gcc " __VERSION__;
#endif
  return fmt::format(
      "headgate {}.{}.{}\n"
      "compiler  {}\n"
      "kernels   {}\n"
      "threads   {}\n"
      "libraries xsimd {}.{}.{}, fmt {}.{}.{}, nlohmann-json {}.{}.{}, PCRE2 {}.{}, utf8proc {}, CLI11 {}\n",
      HEADGATE_VERSION_MAJOR, HEADGATE_VERSION_MINOR, HEADGATE_VERSION_PATCH, compiler, kernels_name(), thread_count(0),
      XSIMD_VERSION_MAJOR, XSIMD_VERSION_MINOR, XSIMD_VERSION_PATCH, FMT_VERSION / 10000, FMT_VERSION / 100 % 100,
      FMT_VERSION % 100, NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH,
      PCRE2_MAJOR, PCRE2_MINOR, utf8proc_version(), CLI11_VERSION);
}
