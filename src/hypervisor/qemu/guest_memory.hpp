// The guest's true memory, read out of QEMU's process: what `remus verify` compares the backup's image with.
#pragma once

#include <vector>

#include "hypervisor/domain.hpp"
#include "hypervisor/qemu/guest_facts.hpp"

namespace remus::hypervisor::qemu {

class GuestMemory final {
 public:
  /// Where QEMU keeps the machine's memory. Blocks it cannot tell the address of (ROMs, video memory) are
  /// left out.
  static Result<GuestMemory> locate(Qmp& qmp, const GuestFacts& facts);

  /// As Domain::read_memory(), of every located block of `layout`.
  Status visit(const checkpoint::Layout& layout, checkpoint::PageIndex from, const MemoryVisit& visit) const;

 private:
  struct Place {
    std::string ramblock;
    std::uint64_t host_address;
    std::uint64_t bytes;
  };
  pid_t pid_{};
  std::vector<Place> places_{};
};

}  // namespace remus::hypervisor::qemu
