#include "hypervisor/xen/restore_stream.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "checkpoint/layout.hpp"

namespace remus::hypervisor::xen {

using checkpoint::page_bytes;

namespace {

static_assert(std::endian::native == std::endian::little, "Xen's streams on x86 are little-endian");

constexpr std::uint32_t optional_record = 0x80000000U;
constexpr std::uint32_t fence_type = optional_record | 0x52454d55U;  // "REMU"

class Writer final {
 public:
  Writer& raw(std::span<const std::byte> bytes) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  template <typename T>
  Writer& value(const T& plain) {
    return raw(bytes_of(plain));
  }
  Writer& record(std::uint32_t type, std::span<const std::byte> body) {
    value(RecordHeader{type, static_cast<std::uint32_t>(body.size())}).raw(body);
    out_.resize(static_cast<std::size_t>(padded(out_.size())));
    return *this;
  }
  [[nodiscard]] std::vector<std::byte> take() { return std::move(out_); }

 private:
  std::vector<std::byte> out_{};
};

constexpr std::uint32_t number(auto type) noexcept {
  return static_cast<std::uint32_t>(type);
}

}  // namespace

std::vector<std::byte> stream_opening(bool pv, XenVersion primary,
                                      std::span<const std::byte> static_records) {
  struct {
    std::uint64_t ident;
    std::uint32_t version;
    std::uint32_t options;
  } const libxl_header{std::byteswap(libxl_ident), std::byteswap(libxl_version), 0};
  const ImageHeader image{.id = std::byteswap(image_id), .version = std::byteswap(image_version)};
  const DomainHeader domain{
      .type = pv ? domain_pv : domain_hvm, .xen_major = primary.major, .xen_minor = primary.minor};
  return Writer{}
      .value(libxl_header)
      .record(number(Libxl::libxc_context), {})
      .value(image)
      .value(domain)
      .raw(static_records)
      .take();
}

std::vector<std::byte> page_data_head(std::span<const std::uint64_t> coded, std::size_t with_contents) {
  const PageDataHeader pages{.count = static_cast<std::uint32_t>(coded.size())};
  const std::size_t bytes = sizeof pages + coded.size_bytes() + with_contents * page_bytes;
  return Writer{}
      .value(RecordHeader{number(Libxc::page_data), static_cast<std::uint32_t>(bytes)})
      .value(pages)
      .raw(std::as_bytes(coded))
      .take();
}

std::vector<std::byte> stream_fence() {
  return Writer{}.record(fence_type, {}).take();
}

std::vector<std::byte> p2m_bound(std::uint64_t last_pfn, unsigned width_bytes) {
  const std::uint64_t frames = last_pfn / (page_bytes / width_bytes) + 1;
  const PvP2mFrames bound{.start_pfn = 0, .end_pfn = static_cast<std::uint32_t>(last_pfn)};
  std::vector<std::byte> body(sizeof bound + static_cast<std::size_t>(frames) * sizeof(std::uint64_t));
  std::ranges::copy(bytes_of(bound), body.begin());
  return Writer{}.record(number(Libxc::x86_pv_p2m_frames), body).take();
}

std::vector<std::byte> stream_closing(const DeviceState& state) {
  Writer out;
  out.raw(state.records).record(number(Libxc::end), {});
  if (!state.emulator_xenstore.empty())
    out.record(number(Libxl::emulator_xenstore_data), state.emulator_xenstore);
  if (!state.emulator_context.empty()) out.record(number(Libxl::emulator_context), state.emulator_context);
  return out.record(number(Libxl::end), {}).take();
}

}  // namespace remus::hypervisor::xen
