// What a PV guest needs to be captured that others do not: the tables of machine frames, and its records.
#pragma once

#include <memory>
#include <vector>

#include "hypervisor/xen/device_state.hpp"
#include "hypervisor/xen/guest_memory.hpp"
#include "hypervisor/xen/handles.hpp"
#include "hypervisor/xen/page_tables.hpp"
#include "hypervisor/xen/pv_shape.hpp"

namespace remus::hypervisor::xen {

class PvGuest final {
 public:
  PvGuest(std::shared_ptr<Handles> handles, std::uint32_t domid, PvShape shape)
      : handles_{std::move(handles)}, domid_{domid}, shape_{shape} {}
  ~PvGuest() { close(); }
  PvGuest(const PvGuest&) = delete;
  PvGuest& operator=(const PvGuest&) = delete;

  /// Maps the host's table of frames and reads the guest's own.
  Status open();
  /// Idempotent.
  void close();

  /// The machine frame of each pfn; its size is the number of pfns there may be.
  [[nodiscard]] std::span<const std::uint64_t> frames() const noexcept { return mfn_of_pfn_; }
  [[nodiscard]] const FrameTable& table() const noexcept { return table_; }

  /// Finds the pages of the guest's own table (p2m) in its mapped memory. Needed before static_records() and
  /// records().
  Status find_p2m(const GuestMemory& memory);
  /// Whether the guest has changed which frames it has, or is doing so, since open().
  [[nodiscard]] bool p2m_changed() const noexcept;

  /// X86_PV_INFO; written before the processor policies.
  Status write_info(DeviceStateWriter& state);
  /// X86_PV_P2M_FRAMES
  Status write_p2m_frames(DeviceStateWriter& state);
  /// P2M frames, TSC, shared info, vCPUs: the guest must stand still.
  Status write(DeviceStateWriter& state);

 private:
  /// What the guest tells Xen's tools in its shared information.
  struct Told {
    std::uint64_t list_of_lists{};  ///< frame of the tree's root
    std::uint64_t p2m_cr3{};        ///< 0: there is the tree only
    std::uint64_t p2m_address{};
    std::uint64_t p2m_generation{};
  };
  [[nodiscard]] Told told() const noexcept;
  Status map_m2p();
  Status find_compat_m2p();
  Status read_p2m();
  Result<std::uint64_t> leaf_by_address(const GuestMemory& memory, std::uint64_t address) const;
  Result<std::uint64_t> leaf_by_tree(const GuestMemory& memory, std::size_t index) const;
  Status write_vcpu(std::uint32_t vcpu, DeviceStateWriter& state);
  Status write_vcpu_basic(std::uint32_t vcpu, DeviceStateWriter& state);
  /// `Context`: vcpu_guest_context_x86_64_t or _x86_32_t. Frames become pfns.
  template <typename Context>
  Status make_canonical(std::uint32_t vcpu, Context& context) const;
  Status write_vcpu_extended(std::uint32_t vcpu, DeviceStateWriter& state);
  Status write_vcpu_xsave(std::uint32_t vcpu, DeviceStateWriter& state);
  Status write_vcpu_msrs(std::uint32_t vcpu, DeviceStateWriter& state);

  std::shared_ptr<Handles> handles_;
  std::uint32_t domid_;
  PvShape shape_;
  PagingForm form_{};
  std::uint32_t vcpu_id_max_{};
  void* m2p_{};
  std::size_t m2p_pages_{};
  const volatile shared_info_any_t* shared_info_{};
  std::uint64_t generation_{};
  std::vector<std::uint64_t> mfn_of_pfn_{};
  FrameTable table_{};
  std::vector<std::uint64_t> p2m_pfns_{};  ///< of the pages the guest's own table lies in
};

}  // namespace remus::hypervisor::xen
