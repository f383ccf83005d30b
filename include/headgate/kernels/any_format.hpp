// AnyFormat: a weight format chosen at run time, a member of WeightFormats. Panel16<AnyFormat>, Linear<AnyFormat> and
// GluExperts<AnyFormat> are one type whatever their weights are, so matrices of one layer may differ. The choice is
// looked at once around a kernel call, which multiplies whole panels.
#pragma once

#include <optional>

#include "headgate/kernels/any_tile.hpp"

namespace headgate::inline HEADGATE_ABI {

class AnyFormat {
 public:
  // There is no default: a format is given.
  template <class Format>
    requires(WeightFormats::contains<Format>)
  constexpr AnyFormat(Format) noexcept  // NOLINT(google-explicit-constructor)
      : index_(static_cast<std::uint8_t>(WeightFormats::index_of<Format>())) {}

  // Calls use(F32{}) or use(Bf16{}) or ...: what it returns, of one type for all.
  template <class Use>
  constexpr decltype(auto) visit(Use&& use) const {
    return WeightFormats::visit(index_, use);
  }

  using Tile = AnyTile;
  constexpr AnyTile tile() const noexcept {
    return visit([](auto format) { return AnyTile(tile_of(format)); });
  }
  constexpr const char* name() const noexcept {
    return visit([](auto format) { return format.name(); });
  }
  constexpr std::int64_t panel_bytes(index_t k) const noexcept {
    return visit([k](auto format) { return format.panel_bytes(k); });
  }
  constexpr bool packs_floats() const noexcept {
    return visit([](auto format) { return format.packs_floats(); });
  }
  constexpr bool fits(index_t k) const noexcept {
    return visit([k](auto format) { return format.fits(k); });
  }
  void pack(WeightRow row, index_t k, index_t lane, std::byte* panel) const noexcept {
    visit([&](auto format) { format.pack(row, k, lane, panel); });
  }
  void unpack(const std::byte* panel, index_t k, index_t lane, index_t first, index_t count,
              float* out) const noexcept {
    visit([&](auto format) { format.unpack(panel, k, lane, first, count, out); });
  }

  friend constexpr bool operator==(AnyFormat, AnyFormat) noexcept = default;

 private:
  std::uint8_t index_;
};
static_assert(WeightFormat<AnyFormat>);

// The format whose panels hold numbers of a type as they are; none: there are no such panels.
inline std::optional<AnyFormat> panels_of(DType type) noexcept {
  std::optional<AnyFormat> format;
  if (type == DType::f32) format = F32{};
  if (type == DType::bf16) format = Bf16{};
  if (type == DType::f16) format = F16{};
  if (type == DType::i8) format = Int8Rows{};
  visit_blocks(type, [&]<class Blocks>(Blocks) { format = PanelBlocks<Blocks>{}; });
  return format;
}

}  // namespace headgate::inline HEADGATE_ABI
