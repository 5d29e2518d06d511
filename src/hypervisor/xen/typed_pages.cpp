#include "hypervisor/xen/typed_pages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "hypervisor/xen/restore_stream.hpp"

namespace remus::hypervisor::xen {

Result<std::vector<std::vector<std::byte>>> typed_pages(const DeviceState& state,
                                                        const IncomingMemory& memory) {
  std::vector<std::vector<std::byte>> out;
  const std::size_t count = state.page_type_count();
  for (std::size_t done = 0; done < count; done += page_data_count_max) {
    std::vector<std::uint64_t> coded(std::min<std::size_t>(page_data_count_max, count - done));
    std::vector<const std::byte*> contents;
    for (std::size_t i = 0; i < coded.size(); ++i) {
      coded[i] = state.page_type(done + i);
      if (!is_page_table(type_of(coded[i]))) continue;
      const std::byte* page = memory.page(pfn_of(coded[i]));
      if (page == nullptr)
        return fail(Errc::corrupt,
                    fmt::format("page table {:x} is not in the guest's memory", pfn_of(coded[i])));
      contents.push_back(page);
    }
    std::vector<std::byte> record = page_data_head(coded, contents.size());
    record.reserve(record.size() + contents.size() * checkpoint::page_bytes);
    for (const std::byte* page : contents) record.insert(record.end(), page, page + checkpoint::page_bytes);
    out.push_back(std::move(record));
  }
  return out;
}

std::vector<std::byte> missing_p2m_bound(std::span<const std::byte> static_records, std::uint64_t last_pfn) {
  bool there = false;
  unsigned width_bytes = sizeof(std::uint64_t);
  const auto seen = visit_records(static_records, [&](const Record& record) -> Status {
    there = there || record.type == static_cast<std::uint32_t>(Libxc::x86_pv_p2m_frames);
    if (record.type == static_cast<std::uint32_t>(Libxc::x86_pv_info) &&
        record.body.size() >= sizeof(PvInfo)) {
      PvInfo info;
      std::memcpy(&info, record.body.data(), sizeof info);
      if (info.guest_width_bytes == sizeof(std::uint32_t)) width_bytes = sizeof(std::uint32_t);
    }
    return {};
  });
  if (there || !seen) return {};
  return p2m_bound(last_pfn, width_bytes);
}

}  // namespace remus::hypervisor::xen
