#include "hypervisor/qemu/guest_memory.hpp"

#include <fmt/format.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <sstream>

namespace remus::hypervisor::qemu {

namespace {

constexpr std::size_t chunk_bytes = 1UL << 20;

/// "Host virtual address for 0x0 (pc.ram) is 0x7fb81be00000"
std::optional<std::uint64_t> parse_host_address(std::string_view text, std::string_view block) {
  const auto mark = text.find(fmt::format("({}) is 0x", block));
  if (mark == std::string_view::npos) return std::nullopt;
  const auto digits = text.find("0x", mark) + 2;
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data() + digits, text.data() + text.size(), value, 16);
  return parsed.ec == std::errc{} ? std::optional{value} : std::nullopt;
}

}  // namespace

Result<GuestMemory> GuestMemory::locate(Qmp& qmp, const GuestFacts& facts) {
  GuestMemory out;
  out.pid_ = facts.pid;
  for (const MemoryBackend& backend : facts.memory) {
    // A block is one stretch of host memory, also where the guest sees a hole in it, so its first byte is
    // enough; and below 640 KiB, and from 1 MiB to where the hole begins, guest addresses are offsets.
    auto text = qmp.human(fmt::format("gpa2hva {:#x}", backend.address));
    if (!text) return std::unexpected(text.error());
    if (const auto address = parse_host_address(*text, backend.ramblock))
      out.places_.push_back({backend.ramblock, *address, backend.bytes});
  }
  if (out.places_.empty())
    return fail(Errc::unsupported, "QEMU does not tell where it keeps the guest's memory (gpa2hva)");
  return out;
}

Status GuestMemory::visit(const checkpoint::Layout& layout, checkpoint::PageIndex from,
                          const MemoryVisit& visit) const {
  std::vector<std::byte> chunk(chunk_bytes);
  for (const auto& block : layout.blocks) {
    const auto place = std::ranges::find(places_, block.name, &Place::ramblock);
    if (place == places_.end()) continue;
    const std::uint64_t total = std::min(block.bytes, place->bytes);
    std::uint64_t done =
        from > block.first_page ? std::uint64_t{from - block.first_page} * checkpoint::page_bytes : 0;
    while (done < total) {
      const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(chunk_bytes, total - done));
      iovec local{chunk.data(), bytes};
      // NOLINTNEXTLINE(performance-no-int-to-ptr): an address in another process, never followed here
      iovec remote{reinterpret_cast<void*>(place->host_address + done), bytes};
      const ssize_t got = ::process_vm_readv(pid_, &local, 1, &remote, 1, 0);
      if (got != static_cast<ssize_t>(bytes))
        return fail_errno(got < 0 ? errno : EIO, fmt::format("cannot read memory of QEMU (process {})", pid_),
                          "run as root");
      if (!visit(block.first_page + static_cast<checkpoint::PageIndex>(done / checkpoint::page_bytes),
                 std::span{chunk}.first(bytes)))
        return {};
      done += bytes;
    }
  }
  return {};
}

}  // namespace remus::hypervisor::qemu
