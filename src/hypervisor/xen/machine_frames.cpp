#include "hypervisor/xen/machine_frames.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <memory>
#include <numeric>
#include <span>

#include "hypervisor/xen/xen_headers.hpp"

namespace remus::hypervisor::xen {

namespace {

// Xen's machine-to-physical table: a u64 for each machine frame, handed out in pieces of 2 MiB.
constexpr std::uint64_t entries_per_page = 4096 / sizeof(std::uint64_t);
constexpr std::uint64_t pages_per_piece = (std::uint64_t{2} << 20) / 4096;
constexpr std::size_t asked_at_once = 1024;  // Xen answers no more

using Control = std::unique_ptr<xc_interface, decltype(&xc_interface_close)>;

Result<std::vector<xen_pfn_t>> table_pieces(xc_interface* control) {
  unsigned long last = 0;
  if (xc_maximum_ram_page(control, &last) < 0)
    return fail_errno(errno, "cannot ask Xen for this host's last frame");
  const std::uint64_t pieces = last / (entries_per_page * pages_per_piece) + 1;
  std::vector<xen_pfn_t> out(pieces);
  if (xc_machphys_mfn_list(control, pieces, out.data()) != 0)
    return fail_errno(errno, "cannot find Xen's machine-to-physical table");
  return out;
}

/// Collects frames that may be the domain's, and asks Xen, many at a time, whether they are.
class Finder final {
 public:
  Finder(xc_interface* control, std::uint32_t domid, std::uint64_t pfn_end)
      : control_{control}, domid_{domid}, found_(pfn_end, no_frame) {}

  /// Entries of the table from frame `first` on.
  Status look(std::span<const std::uint64_t> entries, std::uint64_t first) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (entries[i] >= found_.size()) continue;
      frames_.push_back(first + i);
      pfns_.push_back(entries[i]);
      if (frames_.size() == asked_at_once)
        if (auto asked = ask(); !asked) return asked;
    }
    return {};
  }

  Status ask() {
    if (frames_.empty()) return {};
    types_.assign(frames_.begin(), frames_.end());
    if (xc_get_pfn_type_batch(control_, domid_, static_cast<unsigned>(types_.size()), types_.data()) != 0)
      return fail_errno(errno, fmt::format("cannot ask Xen which frames are domain {}'s", domid_));
    for (std::size_t i = 0; i < frames_.size(); ++i)
      if ((types_[i] & XEN_DOMCTL_PFINFO_LTAB_MASK) != XEN_DOMCTL_PFINFO_XTAB) found_[pfns_[i]] = frames_[i];
    frames_.clear();
    pfns_.clear();
    return {};
  }

  [[nodiscard]] std::vector<std::uint64_t> take() { return std::move(found_); }

 private:
  xc_interface* control_;
  std::uint32_t domid_;
  std::vector<std::uint64_t> found_;
  std::vector<std::uint64_t> frames_{};  ///< to be asked for,
  std::vector<std::uint64_t> pfns_{};    ///< and where they would belong
  std::vector<xen_pfn_t> types_{};
};

}  // namespace

Result<std::vector<std::uint64_t>> machine_frames_of(xenforeignmemory_handle* foreign, std::uint32_t domid,
                                                     std::uint64_t pfn_end) {
  const Control control{xc_interface_open(nullptr, nullptr, 0), &xc_interface_close};
  if (!control) return fail_errno(errno, "cannot reach Xen", "run as root in dom0");
  auto pieces = table_pieces(control.get());
  if (!pieces) return std::unexpected(pieces.error());

  Finder finder{control.get(), domid, pfn_end};
  for (std::size_t piece = 0; piece < pieces->size(); ++piece) {
    std::array<xen_pfn_t, pages_per_piece> pages{};
    std::iota(pages.begin(), pages.end(), (*pieces)[piece]);
    std::array<int, pages_per_piece> errors{};
    void* const table =
        xenforeignmemory_map(foreign, DOMID_XEN, PROT_READ, pages.size(), pages.data(), errors.data());
    if (table == nullptr) return fail_errno(errno, "cannot map Xen's machine-to-physical table");
    Status looked{};
    for (std::size_t page = 0; page < pages.size() && looked; ++page) {
      if (errors[page] != 0) continue;  // no memory behind this part
      const std::span entries{static_cast<const std::uint64_t*>(table) + page * entries_per_page,
                              entries_per_page};
      looked = finder.look(entries, (piece * pages_per_piece + page) * entries_per_page);
    }
    xenforeignmemory_unmap(foreign, table, pages.size());
    if (!looked) return std::unexpected(looked.error());
  }
  if (auto last = finder.ask(); !last) return std::unexpected(last.error());
  return finder.take();
}

}  // namespace remus::hypervisor::xen
