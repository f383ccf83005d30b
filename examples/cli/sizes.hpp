// Numbers of bytes for people: 18.7 MB. Programs get exact ones, with --json.
#pragma once

#include <cstdint>
#include <string>

#include <fmt/format.h>

// Decimal units, as on the box of a disk.
inline std::string size_text(double bytes) {
  if (bytes < 1000.0) return fmt::format("{:.0f} bytes", bytes);
  const char* unit = "kB";
  double amount = bytes / 1000.0;
  for (const char* const larger : {"MB", "GB", "TB", "PB", "EB"}) {
    if (amount < 999.95) break;  // what would be printed as 1000.0
    amount /= 1000.0;
    unit = larger;
  }
  return fmt::format("{:.1f} {}", amount, unit);
}
inline std::string size_text(std::int64_t bytes) { return size_text(static_cast<double>(bytes)); }
