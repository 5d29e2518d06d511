// A domain as stock `xl save` leaves it in a file, taken apart into what a primary would send: description,
// layout, pages, device state. So the standby can be tried against Xen's own source, without ours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "hypervisor/standby.hpp"
#include "hypervisor/xen/device_state.hpp"

namespace remus::test {

class SavedDomain final {
 public:
  /// Errors: io, corrupt.
  static Result<SavedDomain> open(const std::string& file);

  [[nodiscard]] const hypervisor::GuestDescription& description() const noexcept { return description_; }
  [[nodiscard]] const checkpoint::Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] std::span<const std::byte> device_state() const noexcept { return state_.bytes(); }
  /// Writes every page that has contents; those that have none are cleared.
  Status fill(const hypervisor::StandbyMemory& memory) const;

 private:
  Status parse();
  Status parse_libxc(std::span<const std::byte>& rest);
  Status take_pages(std::span<const std::byte> body);
  void make_layout();

  std::span<const std::byte> file_{};
  bool pv_{};
  std::vector<std::byte> static_records_{};
  std::vector<std::byte> records_{};
  std::map<std::uint64_t, const std::byte*> pages_{};  ///< by pfn; nullptr: without contents
  std::map<std::uint64_t, std::uint64_t> types_{};
  std::vector<std::byte> emulator_xenstore_{};
  std::vector<std::byte> emulator_context_{};
  hypervisor::GuestDescription description_{};
  checkpoint::Layout layout_{};
  hypervisor::xen::DeviceStateWriter state_{};
};

}  // namespace remus::test
