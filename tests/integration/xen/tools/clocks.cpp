#include "clocks.hpp"

#include <xen/hvm/save.h>

#include <cstring>
#include <span>

#include "hypervisor/xen/xen_headers.hpp"

namespace remus::test {

using namespace remus::hypervisor::xen;

namespace {

/// Xen moves the comparator of a periodic timer on whenever it saves it, by a clock that goes on while the guest stands
/// still (hpet_get_comparator() of Xen's arch/x86/hvm/hpet.c).
void forget_periodic_comparators(std::span<std::byte> body) {
  constexpr std::uint64_t periodic = 1 << 3;  // HPET specification, 2.3.8: Tn_TYPE_CNF
  hvm_hw_hpet hpet;
  if (body.size() < sizeof hpet) return;
  std::memcpy(&hpet, body.data(), sizeof hpet);
  for (auto& timer : hpet.timers)
    if ((timer.config & periodic) != 0) timer.cmp = 0;
  std::memcpy(body.data(), &hpet, sizeof hpet);
}

/// Zeroes the clocks within a body of HVM_CONTEXT: a sequence of {u16 type, u16 instance, u32 length, body}.
void forget_clocks(std::vector<std::byte>& context) {
  struct Clock {
    std::uint16_t type;
    std::size_t offset;
    std::size_t bytes;
  };
  constexpr std::uint16_t hpet_type = 12;
  const Clock clocks[] = {
      // CPU, HPET, PMTIMER, PIT, as Xen's public/arch-x86/hvm/save.h numbers them
      {2, offsetof(hvm_hw_cpu, tsc), sizeof(hvm_hw_cpu::tsc)},
      {hpet_type, offsetof(hvm_hw_hpet, mc64), sizeof(hvm_hw_hpet::mc64)},
      {13, offsetof(hvm_hw_pmtimer, tmr_val), sizeof(hvm_hw_pmtimer::tmr_val)},
      {10, offsetof(hvm_hw_pit, channels), sizeof(hvm_hw_pit::channels)},
  };
  for (std::size_t at = 0; at + sizeof(hvm_save_descriptor) <= context.size();) {
    hvm_save_descriptor header;
    std::memcpy(&header, context.data() + at, sizeof header);
    at += sizeof header;
    for (const Clock& clock : clocks)
      if (clock.type == header.typecode && at + clock.offset + clock.bytes <= context.size())
        std::memset(context.data() + at + clock.offset, 0, clock.bytes);
    if (header.typecode == hpet_type && at + header.length <= context.size())
      forget_periodic_comparators(std::span{context}.subspan(at, header.length));
    at += header.length;
  }
}

/// Zeroes which events wait for a PV guest: back ends raise them while it stands still, and restore clears
/// them.
template <typename SharedInfo>
void forget_events(std::vector<std::byte>& body) {
  SharedInfo info;
  if (body.size() < sizeof info) return;
  std::memcpy(&info, body.data(), sizeof info);
  std::memset(info.evtchn_pending, 0, sizeof info.evtchn_pending);
  for (auto& vcpu : info.vcpu_info) vcpu.evtchn_pending_sel = 0;
  std::memcpy(body.data(), &info, sizeof info);
}

}  // namespace

std::vector<std::byte> without_clocks(const Record& record, unsigned width_bytes) {
  std::vector<std::byte> body{record.body.begin(), record.body.end()};
  if (record.type == static_cast<std::uint32_t>(Libxc::shared_info)) {
    if (width_bytes == sizeof(std::uint32_t))
      forget_events<shared_info_x86_32_t>(body);
    else
      forget_events<shared_info_x86_64_t>(body);
  }
  if (record.type == static_cast<std::uint32_t>(Libxc::hvm_context)) forget_clocks(body);
  if (record.type == static_cast<std::uint32_t>(Libxc::x86_tsc_info) && body.size() == sizeof(TscInfo))
    std::memset(body.data() + offsetof(TscInfo, nsec), 0, sizeof(TscInfo::nsec));
  return body;
}

}  // namespace remus::test
