// What a Xen guest is besides its memory, in one piece that the rest of the product need not understand.
//
//   "RXENDS01"
//   section {u32 kind, u32 zero, u64 length, body, zero padding to 8}   each kind at most once, ascending
//   ...
//
// Each epoch's is complete by itself. Sections:
//   1 records             libxc records, framed as in Xen's stream, that stand between the last PAGE_DATA and
//                         END. HVM and PVH: X86_TSC_INFO, HVM_CONTEXT, HVM_PARAMS. PV: X86_PV_P2M_FRAMES (which
//                         stock save sends before the first page, so it is among GuestDescription's static
//                         records, too), X86_TSC_INFO, SHARED_INFO, X86_PV_VCPU_BASIC/EXTENDED/XSAVE/MSRS for
//                         each vCPU that is online
//   2 page_types          PV only: a u64 pfn | type << 60 for each page that is not ordinary memory, ascending
//   3 emulator_xenstore   if there is a device model: body of libxl's EMULATOR_XENSTORE_DATA, with its
//                         EmulatorHeader
//   4 emulator_context    if there is a device model: body of libxl's EMULATOR_CONTEXT, with its EmulatorHeader
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "hypervisor/xen/records.hpp"

namespace remus::hypervisor::xen {

inline constexpr std::size_t device_state_bytes_max = 256U << 20;

enum class Section : std::uint32_t {
  records = 1,
  page_types = 2,
  emulator_xenstore = 3,
  emulator_context = 4
};

/// Builds a device state in a buffer that keeps its capacity from epoch to epoch: nothing is allocated in a
/// pause once the first epoch is over.
class DeviceStateWriter final {
 public:
  /// Starts anew.
  void clear();
  /// Sections come in ascending order, each once, and are closed before the next begins.
  void begin(Section section);
  void append(std::span<const std::byte> bytes);
  /// A record within Section::records, its body in pieces.
  void record(Libxc type, std::initializer_list<std::span<const std::byte>> body);
  /// `bytes` to be written by the caller at once, e.g. by a hypercall; uninitialized.
  [[nodiscard]] std::span<std::byte> grow(std::size_t bytes);
  void end();
  /// Complete once the last section has ended. Valid until the next clear().
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return buffer_; }

 private:
  void pad();

  std::vector<std::byte> buffer_{};
  std::size_t section_at_{};  ///< of the open section's header; 0: none is open
  std::uint32_t last_{};
};

/// A device state taken apart; spans point into what was parsed. A section that is not there is empty.
struct DeviceState {
  std::span<const std::byte> records{};
  std::span<const std::byte> page_types{};
  std::span<const std::byte> emulator_xenstore{};
  std::span<const std::byte> emulator_context{};

  [[nodiscard]] std::size_t page_type_count() const noexcept {
    return page_types.size() / sizeof(std::uint64_t);
  }
  /// pfn | type << 60
  [[nodiscard]] std::uint64_t page_type(std::size_t index) const noexcept;
};

/// Errors: corrupt (says what and where) for anything that DeviceStateWriter does not write, records and page
/// types included; exhausted if it is too large.
Result<DeviceState> parse_device_state(std::span<const std::byte> bytes);

struct Record {
  std::uint32_t type{};
  std::span<const std::byte> body{};
};

/// Visits the records of a stretch of libxc stream. Errors: corrupt; those of `visit`, which end the visit.
Status visit_records(std::span<const std::byte> records, const std::function<Status(const Record&)>& visit);

}  // namespace remus::hypervisor::xen
