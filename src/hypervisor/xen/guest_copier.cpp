#include "hypervisor/xen/guest_copier.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "hypervisor/xen/records.hpp"

namespace remus::hypervisor::xen {

namespace {
constexpr std::size_t batch_pages_max = 8192;
/// Fewer are copied by the time a helper is awake (bench_xen_copy).
constexpr std::size_t shared_pages_min = 2048;
constexpr std::uint32_t call_back_pages = 4096;
constexpr std::uint32_t visit_pages = 256;

std::unexpected<Error> sink_full(std::uint32_t domid) {
  return fail(
      Errc::exhausted,
      fmt::format(
          "the buffer for a checkpoint of domain {} takes no more: its session has ended, or it is full",
          domid),
      "if the link is up: give the guard a larger buffer, or calm the guest");
}

const std::uint64_t* entries_of(const std::byte* page) {
  return reinterpret_cast<const std::uint64_t*>(page);
}
}  // namespace

GuestCopier::GuestCopier(std::shared_ptr<Handles> handles, std::uint32_t domid, const GuestMemory& memory,
                         std::span<const std::uint64_t> frames, FrameTable table, CopyCrew& crew)
    : domid_{domid}, memory_{memory}, frames_{frames}, table_{table}, crew_{crew} {
  batch_.reserve(batch_pages_max);
  batch_copied_.resize(batch_pages_max);
  if (!paravirtual()) return;
  page_types_ = std::make_unique<PageTypes>(std::move(handles), domid);
  batch_types_.reserve(batch_pages_max);
  types_.assign(memory.layout().pages(), 0);
  put_off_.reserve(batch_pages_max);
}

Status GuestCopier::copy_all(PageWriter& writer, const std::function<bool(std::uint64_t pages)>& go_on) {
  std::uint64_t done = 0;
  for (const Run& run : memory_.runs()) {
    for (std::uint32_t i = 0; i < run.pages; ++i) {
      const Page page{run.first_gfn + i, run.first_page + i,
                      run.memory + std::size_t{i} * checkpoint::page_bytes};
      if (auto added = add(writer, page, false); !added) return added;
      ++done;
      if (done % call_back_pages == 0 && !go_on(done)) return {};
    }
  }
  return flush(writer, false);
}

Status GuestCopier::copy_dirty(PageWriter& writer, std::span<const unsigned long> log, bool still) {
  for (const Run& run : memory_.runs()) {
    const std::uint64_t end = run.first_gfn + run.pages;
    for (std::uint64_t word = run.first_gfn / 64; word <= (end - 1) / 64 && word < log.size(); ++word) {
      for (unsigned long bits = log[word]; bits != 0; bits &= bits - 1) {
        const std::uint64_t gfn = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
        if (gfn < run.first_gfn || gfn >= end) continue;
        const auto i = static_cast<std::uint32_t>(gfn - run.first_gfn);
        const Page page{gfn, run.first_page + i, run.memory + std::size_t{i} * checkpoint::page_bytes};
        if (auto added = add(writer, page, still); !added) return added;
      }
    }
  }
  if (still) {
    for (const Page& page : always_)
      if (auto added = add(writer, page, still); !added) return added;
    for (const Page& page : put_off_)
      if (auto added = add(writer, page, still); !added) return added;
    put_off_.clear();
  }
  return flush(writer, still);
}

void GuestCopier::always(std::uint64_t gfn) {
  const std::byte* memory = memory_.page(gfn);
  if (memory == nullptr) return;
  for (const Run& run : memory_.runs())
    if (gfn >= run.first_gfn && gfn - run.first_gfn < run.pages)
      always_.push_back({gfn, run.first_page + static_cast<std::uint32_t>(gfn - run.first_gfn), memory});
}

Status GuestCopier::add(PageWriter& writer, const Page& page, bool still) {
  // Nothing is to be known of it, and nobody helps.
  if (!paravirtual() && (!still || crew_.alone()))
    return writer.write(page.index, page.memory) ? Status{} : sink_full(domid_);
  batch_.push_back(page);
  return batch_.size() < batch_pages_max ? Status{} : flush(writer, still);
}

Status GuestCopier::flush(PageWriter& writer, bool still) {
  if (batch_.empty()) return {};
  batch_types_.clear();
  if (paravirtual()) {
    for (const Page& page : batch_) batch_types_.push_back(frames_[page.gfn]);
    if (auto asked = page_types_->ask(batch_types_); !asked) return asked;
  }
  const bool shared = still && !crew_.alone() && batch_.size() >= shared_pages_min;
  std::byte* const room = shared ? writer.stretch(batch_.size()) : nullptr;
  if (room != nullptr) {
    if (auto written = flush_shared(writer, room); !written) return written;
  } else {
    for (std::size_t i = 0; i < batch_.size(); ++i)
      if (auto written =
              write_one(writer, batch_[i], paravirtual() ? batch_types_[i] : page_type::none, still);
          !written)
        return written;
  }
  batch_.clear();
  return {};
}

Status GuestCopier::flush_shared(PageWriter& writer, std::byte* room) {
  for (std::size_t i = 0; i < batch_types_.size(); ++i) {
    if (auto ours = not_given_away(batch_[i], batch_types_[i]); !ours) return ours;
    types_[batch_[i].index] = static_cast<std::uint8_t>(batch_types_[i]);
  }
  crew_.share(batch_.size(), [this, room](std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i)
      batch_copied_[i] = copy(batch_[i], paravirtual() ? batch_types_[i] : page_type::none,
                              room + i * checkpoint::page_bytes);
  });
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    switch (batch_copied_[i]) {
      case Copied::whole: writer.commit(batch_[i].index, room + i * checkpoint::page_bytes); break;
      case Copied::zero: writer.commit_zero(batch_[i].index); break;
      case Copied::broken: return std::unexpected(broken_table(batch_[i]));
    }
  }
  return {};
}

GuestCopier::Copied GuestCopier::copy(const Page& page, std::uint64_t type, std::byte* room) const {
  if (is_page_table(type))
    return canonicalize(table_, type, entries_of(page.memory), reinterpret_cast<std::uint64_t*>(room))
               ? Copied::whole
               : Copied::broken;
  if (is_zero_page(page.memory)) return Copied::zero;
  std::memcpy(room, page.memory, checkpoint::page_bytes);
  return Copied::whole;
}

Status GuestCopier::not_given_away(const Page& page, std::uint64_t type) const {
  if (type < page_type::broken) return {};
  return fail(Errc::io, fmt::format("domain {} has given page {:#x} away", domid_, page.gfn),
              "it is synchronized anew");
}

Error GuestCopier::broken_table(const Page& page) const {
  return {Errc::io,
          fmt::format("the page table {:#x} of domain {} names a frame that is not the domain's", page.gfn,
                      domid_),
          ""};
}

Status GuestCopier::write_one(PageWriter& writer, const Page& page, std::uint64_t type, bool still) {
  if (paravirtual()) {
    if (auto ours = not_given_away(page, type); !ours) return ours;
    types_[page.index] = static_cast<std::uint8_t>(type);
  }
  if (!is_page_table(type)) return writer.write(page.index, page.memory) ? Status{} : sink_full(domid_);
  std::byte* room = writer.begin();
  if (room == nullptr) return sink_full(domid_);
  if (canonicalize(table_, type, entries_of(page.memory), reinterpret_cast<std::uint64_t*>(room))) {
    writer.commit(page.index, room);
    return {};
  }
  if (still) return std::unexpected(broken_table(page));
  put_off_.push_back(page);
  return {};
}

void GuestCopier::write_types(DeviceStateWriter& state) const {
  if (!paravirtual()) return;
  // The guest stands still, and has few typed pages among all of its: those without a type are passed over
  // eight at a time.
  static_assert(page_type::none == 0);
  state.begin(Section::page_types);
  for (const Run& run : memory_.runs()) {
    const std::uint8_t* types = types_.data() + run.first_page;
    for (std::uint32_t i = 0; i < run.pages; ++i) {
      std::uint64_t eight = 1;
      if (run.pages - i >= sizeof eight) std::memcpy(&eight, types + i, sizeof eight);
      if (eight == 0)
        i += sizeof eight - 1;
      else if (types[i] != page_type::none)
        state.append(bytes_of(coded_pfn(run.first_gfn + i, types[i])));
    }
  }
  state.end();
}

Status GuestCopier::visit(checkpoint::PageIndex from, const MemoryVisit& visit) const {
  std::vector<xen_pfn_t> types;
  for (const Run& run : memory_.runs()) {
    for (std::uint32_t at = from > run.first_page ? from - run.first_page : 0; at < run.pages;) {
      const std::uint32_t pages = std::min(visit_pages, run.pages - at);
      const Result<bool> more =
          paravirtual() ? visit_canonical(run, at, pages, types, visit)
                        : visit(run.first_page + at, {run.memory + std::size_t{at} * checkpoint::page_bytes,
                                                      std::size_t{pages} * checkpoint::page_bytes});
      if (!more) return std::unexpected(more.error());
      if (!*more) return {};
      at += pages;
    }
  }
  return {};
}

Result<bool> GuestCopier::visit_canonical(const Run& run, std::uint32_t at, std::uint32_t pages,
                                          std::vector<xen_pfn_t>& types, const MemoryVisit& visit) const {
  const auto frame = frames_.begin() + static_cast<std::ptrdiff_t>(run.first_gfn + at);
  types.assign(frame, frame + pages);
  if (auto asked = page_types_->ask(types); !asked) return std::unexpected(asked.error());
  alignas(8) std::array<std::byte, checkpoint::page_bytes> canonical{};
  bool more = true;
  for (std::uint32_t i = 0; i < pages && more; ++i) {
    const std::byte* page = run.memory + std::size_t{at + i} * checkpoint::page_bytes;
    if (!is_page_table(types[i])) {
      more = visit(run.first_page + at + i, {page, checkpoint::page_bytes});
    } else if (canonicalize(table_, types[i], entries_of(page),
                            reinterpret_cast<std::uint64_t*>(canonical.data()))) {
      more = visit(run.first_page + at + i, canonical);
    } else {
      return fail(Errc::io,
                  fmt::format("the page table {:#x} of domain {} is broken", run.first_gfn + at + i, domid_));
    }
  }
  return more;
}

}  // namespace remus::hypervisor::xen
