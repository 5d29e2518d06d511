#include "reference.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xen/hvm/save.h>

#include <cstring>
#include <map>
#include <vector>

#include "base/fd.hpp"
#include "clocks.hpp"
#include "hypervisor/xen/device_state.hpp"
#include "hypervisor/xen/handles.hpp"
#include "late_writes.hpp"
#include "save_file.hpp"

namespace remus::test {

using namespace remus::hypervisor::xen;

namespace {

constexpr std::uint64_t shown_max = 20;
// What Xen itself may change in a guest that stands still: the words of events which a back end or xenstored sends it.
constexpr std::size_t event_pages_max = 4;
constexpr std::size_t event_bytes_max = 16;  // of a page

/// What xc_domain_save writes about a domain that stands still.
Result<std::vector<std::byte>> stock_stream(Handles& handles, std::uint32_t domid) {
  const auto state = domain_state(handles, domid);
  if (!state) return fail(Errc::not_found, "the domain is gone");
  // Stock save insists on a domain that is shut down for suspension; one that is paused stays paused all the
  // same.
  const bool shut = state->suspended() || xc_domain_shutdown(handles.xc(), domid, SHUTDOWN_suspend) == 0;
  if (!shut) return handles.fail_call("shutting down for the reference");
  const Fd file{::memfd_create("stock", 0)};
  save_callbacks callbacks{};
  callbacks.suspend = [](void*) { return 1; };
  callbacks.switch_qemu_logdirty = [](std::uint32_t, unsigned, void*) { return 0; };
  if (xc_domain_save(handles.xc(), file.get(), domid, 0, &callbacks, XC_STREAM_PLAIN, -1) != 0)
    return handles.fail_call("xc_domain_save");
  if (!state->suspended()) static_cast<void>(xc_domain_resume(handles.xc(), domid, 0));
  std::vector<std::byte> bytes(static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END)));
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t got = ::pread(file.get(), bytes.data() + at, bytes.size() - at, static_cast<off_t>(at));
    if (got <= 0) return fail(Errc::io, "reading the reference back");
    at += static_cast<std::size_t>(got);
  }
  return bytes;
}

/// Whether this is now in the guest's memory.
bool is_in_memory(Handles& handles, std::uint32_t domid, xen_pfn_t gfn, std::span<const std::byte> content) {
  int error = 0;
  void* const page = xenforeignmemory_map(handles.memory(), domid, PROT_READ, 1, &gfn, &error);
  if (page == nullptr) return false;
  const bool same = error == 0 && std::memcmp(page, content.data(), content.size()) == 0;
  xenforeignmemory_unmap(handles.memory(), page, 1);
  return same;
}

/// Which part of HVM_CONTEXT a byte is in, for the message.
std::string part_of(std::span<const std::byte> context, std::size_t wanted) {
  for (std::size_t at = 0; at + sizeof(hvm_save_descriptor) <= context.size();) {
    hvm_save_descriptor header;
    std::memcpy(&header, context.data() + at, sizeof header);
    at += sizeof header;
    if (wanted < at + header.length)
      return fmt::format(", byte {:#x} of part {}", wanted - at, header.typecode);
    at += header.length;
  }
  return {};
}

class Comparison final {
 public:
  /// `granted`: what back ends may write while the guest stands still.
  Comparison(const ImageSink& image, std::set<std::uint64_t> granted)
      : image_{image}, granted_{std::move(granted)} {
    for (const auto& block : image.guest().blocks)
      for (std::uint32_t i = 0; i < block.pages(); ++i) ours_[first_gfn(block) + i] = block.first_page + i;
  }
  Status pages(std::span<const std::byte> body, const std::map<std::uint64_t, std::uint64_t>& types) {
    PageDataHeader header;
    std::memcpy(&header, body.data(), sizeof header);
    const std::byte* contents = body.data() + sizeof header + header.count * sizeof(std::uint64_t);
    for (std::uint32_t i = 0; i < header.count; ++i) {
      std::uint64_t coded = 0;
      std::memcpy(&coded, body.data() + sizeof header + i * sizeof coded, sizeof coded);
      if (type_of(coded) >= page_type::broken) continue;
      page(pfn_of(coded), type_of(coded), contents, types);
      contents += checkpoint::page_bytes;
    }
    return {};
  }
  void page(std::uint64_t pfn, std::uint64_t type, const std::byte* content,
            const std::map<std::uint64_t, std::uint64_t>& types) {
    const auto found = ours_.find(pfn);
    if (found == ours_.end()) return differ(fmt::format("page {:#x} was not captured", pfn));
    const auto ours = types.find(pfn);
    if ((ours == types.end() ? 0 : ours->second) != type)
      differ(fmt::format("page {:#x} has type {:#x}, was captured as {:#x}", pfn, type,
                         ours == types.end() ? 0 : ours->second));
    const std::byte* captured = image_.at(found->second);
    if (std::memcmp(captured, content, checkpoint::page_bytes) != 0) {
      std::size_t at = 0;
      std::size_t count = 0;
      for (std::size_t i = 0; i < checkpoint::page_bytes; ++i)
        if (captured[i] != content[i] && count++ == 0) at = i;
      const auto what =
          fmt::format("page {:#x} (type {:#x}): {} bytes differ from {:#x} on", pfn, type, count, at);
      if (!granted_.contains(pfn) && count <= event_bytes_max && perhaps_events_.size() < event_pages_max)
        perhaps_events_.push_back({pfn, what, {content, content + checkpoint::page_bytes}});
      else if (!granted_.contains(pfn))
        differ(what);
      else if (written_by_others_++ < shown_max)
        fmt::print("granted, and written meanwhile: {}\n", what);
    }
    ours_.erase(found);
    ++pages_;
  }
  void differ(const std::string& what) {
    if (differences_++ < shown_max) fmt::print("difference: {}\n", what);
  }
  /// Of pages in which a few bytes differ, those which `is_in_memory(pfn, stock's content)`: what was captured was the guest's
  /// memory just before (that is verified first), so it has changed since, and nobody but Xen writes where nothing is granted.
  template <typename IsInMemory>
  void judge_events(IsInMemory is_in_memory) {
    for (const auto& [pfn, what, content] : perhaps_events_) {
      if (is_in_memory(pfn, std::span{content}))
        fmt::print("written by Xen meanwhile: {}\n", what);
      else
        differ(what);
    }
    perhaps_events_.clear();
  }
  std::uint64_t finish() {
    for (const auto& perhaps : perhaps_events_) differ(perhaps.what);
    for (const auto& [pfn, index] : ours_) differ(fmt::format("page {:#x} is not in the reference", pfn));
    fmt::print("reference: {} pages compared, {} differences, {} of {} granted pages written meanwhile\n",
               pages_, differences_, written_by_others_, granted_.size());
    return differences_;
  }

 private:
  struct PerhapsEvents {
    std::uint64_t pfn{};
    std::string what{};
    std::vector<std::byte> content{};
  };

  const ImageSink& image_;
  std::set<std::uint64_t> granted_;
  std::vector<PerhapsEvents> perhaps_events_{};
  std::map<std::uint64_t, checkpoint::PageIndex> ours_{};
  std::uint64_t pages_{};
  std::uint64_t differences_{};
  std::uint64_t written_by_others_{};
};

}  // namespace

Result<std::uint64_t> compare_with_stock(std::uint32_t domid, const ImageSink& image, bool verified) {
  auto handles = Handles::open();
  if (!handles) return std::unexpected(handles.error());
  auto late = late_writes(**handles, domid);  // before stock, which ends the log
  if (!late) return std::unexpected(late.error());
  auto stream = stock_stream(**handles, domid);
  if (!stream) return std::unexpected(stream.error());
  unsigned width_bytes = 0;  // Xen knows it of PV guests only
  const auto now = domain_state(**handles, domid);
  if (now && !now->hvm && xc_domain_get_guest_width((*handles)->xc(), domid, &width_bytes) != 0)
    return (*handles)->fail_call("asking for the guest's word size");
  auto state = parse_device_state(image.state());
  if (!state) return std::unexpected(state.error());
  std::map<std::uint64_t, std::uint64_t> types;
  for (std::size_t i = 0; i < state->page_type_count(); ++i)
    types[pfn_of(state->page_type(i))] = type_of(state->page_type(i));
  std::vector<Record> ours;
  auto listed = visit_records(state->records, [&](const Record& record) -> Status {
    ours.push_back(record);
    return {};
  });
  if (!listed) return std::unexpected(listed.error());
  Comparison comparison{image, std::move(late->granted)};
  std::size_t next = 0;
  auto visited = visit_records(
      std::span{*stream}.subspan(sizeof(ImageHeader) + sizeof(DomainHeader)),
      [&](const Record& record) -> Status {
        switch (static_cast<Libxc>(record.type)) {
          case Libxc::page_data: return comparison.pages(record.body, types);
          case Libxc::end:
          case Libxc::static_data_end:
          case Libxc::x86_pv_info:
          case Libxc::x86_cpuid_policy:
          case Libxc::x86_msr_policy: return {};
          default: break;
        }
        if (next == ours.size() || ours[next].type != record.type) {
          comparison.differ(fmt::format("record {:#x} was not captured in its place", record.type));
        } else {
          const auto body = without_clocks(ours[next++], width_bytes);
          const auto stock = without_clocks(record, width_bytes);
          std::size_t count = 0;
          std::size_t first = 0;
          for (std::size_t i = 0; i < std::min(body.size(), stock.size()); ++i)
            if (body[i] != stock[i] && count++ == 0) first = i;
          if (count > 0 || body.size() != stock.size())
            comparison.differ(fmt::format("record {:#x}: {} and {} bytes, {} differ from {:#x} on{}",
                                          record.type, body.size(), stock.size(), count, first,
                                          record.type == static_cast<std::uint32_t>(Libxc::hvm_context)
                                              ? part_of(stock, first)
                                              : std::string{}));
        }
        return {};
      });
  if (!visited) return std::unexpected(visited.error());
  if (verified && now && now->hvm)
    comparison.judge_events([&](std::uint64_t pfn, std::span<const std::byte> content) {
      return is_in_memory(**handles, domid, pfn, content);
    });
  return comparison.finish();
}

}  // namespace remus::test
