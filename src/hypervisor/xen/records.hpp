// The records of Xen's two migration streams, as numbers and layouts.
//
// A saved or migrating domain is a libxl stream, and one of its records is followed by a whole libxc stream:
// headers, then records of {u32 type, u32 length, body, zero padding to 8}. We write and read such records
// without Xen's own headers, so that both ends of the format can be tested anywhere. Source: Xen's
// docs/specs/libxc-migration-stream.pandoc (version 3) and libxl-migration-stream.pandoc (version 2).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace remus::hypervisor::xen {

inline constexpr std::size_t record_align_bytes = 8;
inline constexpr std::uint32_t record_bytes_max = 128U << 20;  ///< libxc refuses longer ones

[[nodiscard]] constexpr std::uint64_t padded(std::uint64_t bytes) noexcept {
  return (bytes + record_align_bytes - 1) & ~std::uint64_t{record_align_bytes - 1};
}

/// Header of a libxc and of a libxl record alike. `length_bytes` is without the padding.
struct RecordHeader {
  std::uint32_t type{};
  std::uint32_t length_bytes{};
};
static_assert(sizeof(RecordHeader) == 8);

/// Types of libxc's records.
enum class Libxc : std::uint32_t {
  end = 0x00,
  page_data = 0x01,
  x86_pv_info = 0x02,
  x86_pv_p2m_frames = 0x03,
  x86_pv_vcpu_basic = 0x04,
  x86_pv_vcpu_extended = 0x05,
  x86_pv_vcpu_xsave = 0x06,
  shared_info = 0x07,
  x86_tsc_info = 0x08,
  hvm_context = 0x09,
  hvm_params = 0x0a,
  toolstack = 0x0b,
  x86_pv_vcpu_msrs = 0x0c,
  verify = 0x0d,
  checkpoint = 0x0e,
  checkpoint_dirty_pfn_list = 0x0f,
  static_data_end = 0x10,
  x86_cpuid_policy = 0x11,
  x86_msr_policy = 0x12,
};

/// Types of libxl's records.
enum class Libxl : std::uint32_t {
  end = 0x00,
  libxc_context = 0x01,
  emulator_xenstore_data = 0x02,
  emulator_context = 0x03,
  checkpoint_end = 0x04,
  checkpoint_state = 0x05,
};

/// First in a libxl stream; big-endian on the wire, whatever the host.
inline constexpr std::uint64_t libxl_ident = 0x4c6962786c466d74;  // "LibxlFmt"
inline constexpr std::uint32_t libxl_version = 2;
inline constexpr std::uint32_t libxl_emulator_qemu_upstream = 2;

/// First in the bodies of libxl's EMULATOR_* records.
struct EmulatorHeader {
  std::uint32_t emulator{libxl_emulator_qemu_upstream};
  std::uint32_t index{};
};
static_assert(sizeof(EmulatorHeader) == 8);

/// First in a libxc stream. `id`, `version` and `options` are big-endian on the wire.
struct ImageHeader {
  std::uint64_t marker{~std::uint64_t{0}};
  std::uint32_t id{};       ///< htonl(image_id)
  std::uint32_t version{};  ///< htonl(image_version)
  std::uint16_t options{};  ///< 0: little-endian
  std::uint16_t zero1{};
  std::uint32_t zero2{};
};
static_assert(sizeof(ImageHeader) == 24);
inline constexpr std::uint32_t image_id = 0x58454e46;  // "XENF"
inline constexpr std::uint32_t image_version = 3;

struct DomainHeader {
  std::uint32_t type{};  ///< domain_pv or domain_hvm (PVH too)
  std::uint16_t page_shift{12};
  std::uint16_t zero{};
  std::uint32_t xen_major{};
  std::uint32_t xen_minor{};
};
static_assert(sizeof(DomainHeader) == 16);
inline constexpr std::uint32_t domain_pv = 1;
inline constexpr std::uint32_t domain_hvm = 2;

/// PAGE_DATA: this, `count` pfns coded with their types, then the contents of those whose type has any.
struct PageDataHeader {
  std::uint32_t count{};
  std::uint32_t zero{};
};
static_assert(sizeof(PageDataHeader) == 8);
inline constexpr std::uint32_t page_data_count_max = 1024;  ///< what libxc sends at most in one record

/// Types of pages, as PAGE_DATA and section 2 of the device state code them: pfn | type << 60.
namespace page_type {
inline constexpr std::uint64_t none = 0x0;  ///< ordinary memory
inline constexpr std::uint64_t l1 = 0x1;    ///< page table of level 1; l1 | pinned == 0x9, and so on up to l4
inline constexpr std::uint64_t l2 = 0x2;
inline constexpr std::uint64_t l3 = 0x3;
inline constexpr std::uint64_t l4 = 0x4;
inline constexpr std::uint64_t pinned = 0x8;  ///< together with l1..l4
inline constexpr std::uint64_t broken = 0xd;  ///< no contents
inline constexpr std::uint64_t alloc = 0xe;   ///< "XALLOC": to be allocated, no contents
inline constexpr std::uint64_t absent = 0xf;  ///< "XTAB": not populated, no contents
}  // namespace page_type
inline constexpr std::uint64_t pfn_mask = (std::uint64_t{1} << 52) - 1;

[[nodiscard]] constexpr std::uint64_t coded_pfn(std::uint64_t pfn, std::uint64_t type) noexcept {
  return (pfn & pfn_mask) | type << 60;
}
[[nodiscard]] constexpr std::uint64_t pfn_of(std::uint64_t coded) noexcept {
  return coded & pfn_mask;
}
[[nodiscard]] constexpr std::uint64_t type_of(std::uint64_t coded) noexcept {
  return coded >> 60;
}
[[nodiscard]] constexpr bool is_page_table(std::uint64_t type) noexcept {
  const std::uint64_t level = type & 0x7;
  return level >= page_type::l1 && level <= page_type::l4;
}

/// X86_PV_INFO
struct PvInfo {
  std::uint8_t guest_width_bytes{};  ///< 8 or 4
  std::uint8_t page_table_levels{};  ///< 4 or 3
  std::array<std::uint8_t, 6> zero{};
};
static_assert(sizeof(PvInfo) == 8);

/// X86_PV_P2M_FRAMES: this, then a u64 pfn for each page of the guest's own p2m table. Stock save sends it
/// before the first PAGE_DATA, and restore learns from it how many pfns there may be.
struct PvP2mFrames {
  std::uint32_t start_pfn{};
  std::uint32_t end_pfn{};
};
static_assert(sizeof(PvP2mFrames) == 8);

/// X86_PV_VCPU_BASIC, _EXTENDED, _XSAVE, _MSRS: this, then the state.
struct PvVcpuHeader {
  std::uint32_t vcpu{};
  std::uint32_t zero{};
};
static_assert(sizeof(PvVcpuHeader) == 8);

struct TscInfo {
  std::uint32_t mode{};
  std::uint32_t khz{};
  std::uint64_t nsec{};
  std::uint32_t incarnation{};
  std::uint32_t zero{};
};
static_assert(sizeof(TscInfo) == 24);

/// HVM_PARAMS: this, then `count` entries.
struct HvmParamsHeader {
  std::uint32_t count{};
  std::uint32_t zero{};
};
struct HvmParam {
  std::uint64_t index{};
  std::uint64_t value{};
};
static_assert(sizeof(HvmParamsHeader) == 8 && sizeof(HvmParam) == 16);

/// The bytes of a plain structure.
template <typename T>
requires std::is_trivially_copyable_v<T>
[[nodiscard]] std::span<const std::byte> bytes_of(const T& value) noexcept {
  return std::as_bytes(std::span{&value, 1});
}

}  // namespace remus::hypervisor::xen
