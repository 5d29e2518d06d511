#include "hypervisor/qemu/change_records.hpp"

#include <fmt/format.h>
#include <libnbd.h>

#include <algorithm>
#include <utility>

namespace remus::hypervisor::qemu {

using json = nlohmann::json;

namespace {

constexpr std::string_view bitmap_prefix = "remus-changes-";
constexpr std::uint32_t state_dirty = 1;  // of the meta context qemu:dirty-bitmap

std::string bitmap_of(const std::string& name) {
  return fmt::format("{}{}", bitmap_prefix, name);
}

bool is_among(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

Status command(Qmp& qmp, const char* what, const std::string& node, const std::string& bitmap,
               json words = json::object()) {
  words["node"] = node;
  words["name"] = bitmap;
  if (auto done = qmp.execute(what, words); !done) return std::unexpected(done.error());
  return {};
}

}  // namespace

Status ChangeRecords::begin(const std::string& name) {
  for (const auto& node : nodes_) {
    Status added = command(*qmp_, "block-dirty-bitmap-add", node, bitmap_of(name),
                           {{"granularity", region_bytes}, {"persistent", false}});
    if (added) continue;
    for (const auto& before : nodes_) {
      if (before == node) break;
      static_cast<void>(command(*qmp_, "block-dirty-bitmap-remove", before, bitmap_of(name)));
    }
    return std::unexpected(added.error().in("recording which regions of the guest's disks change"));
  }
  return {};
}

Result<std::vector<ChangeRecords::Bitmap>> ChangeRecords::list() {
  auto nodes = qmp_->execute("query-named-block-nodes", {{"flat", true}});
  if (!nodes) return std::unexpected(nodes.error());
  std::vector<Bitmap> out;
  for (const json& entry : *nodes) {
    const auto node = entry.value("node-name", "");
    const auto bitmaps = entry.find("dirty-bitmaps");
    if (!is_among(nodes_, node) || bitmaps == entry.end()) continue;
    for (const json& bitmap : *bitmaps) {
      const auto name = bitmap.value("name", "");
      if (!name.starts_with(bitmap_prefix)) continue;
      const bool sound = bitmap.value("recording", false) && !bitmap.value("inconsistent", false) &&
                         bitmap.value("granularity", std::uint64_t{0}) == region_bytes;
      out.push_back({node, name.substr(bitmap_prefix.size()), sound});
    }
  }
  return out;
}

Result<std::vector<std::string>> ChangeRecords::names() {
  const auto bitmaps = list();
  if (!bitmaps) return std::unexpected(bitmaps.error());
  std::vector<std::string> out;
  for (const Bitmap& one : *bitmaps) {
    const auto kept = std::ranges::count_if(
        *bitmaps, [&](const Bitmap& other) { return other.sound && other.name == one.name; });
    if (std::cmp_equal(kept, nodes_.size()) && !is_among(out, one.name)) out.push_back(one.name);
  }
  return out;
}

Status ChangeRecords::end(const std::vector<std::string>& except) {
  if (qmp_->closed()) return {};  // went with QEMU
  const auto bitmaps = list();
  if (!bitmaps) return std::unexpected(bitmaps.error());
  for (const Bitmap& one : *bitmaps)
    if (!is_among(except, one.name))
      if (Status gone = command(*qmp_, "block-dirty-bitmap-remove", one.node, bitmap_of(one.name)); !gone)
        return gone;
  return {};
}

Result<std::string> ChangeRecords::stop(const std::string& node, const std::string& name) {
  // QEMU serves none that is still recording (read-only as the export is).
  if (Status stopped = command(*qmp_, "block-dirty-bitmap-disable", node, bitmap_of(name)); !stopped)
    return std::unexpected(stopped.error());
  return bitmap_of(name);
}

Result<std::vector<GuestDisks::Range>> read_bitmap(const std::filesystem::path& socket,
                                                   const std::string& export_name,
                                                   const std::string& bitmap) {
  const std::unique_ptr<nbd_handle, decltype(&::nbd_close)> handle{::nbd_create(), ::nbd_close};
  const auto words = [] {
    const char* said = ::nbd_get_error();
    return said == nullptr ? "no reason given" : said;
  };
  const auto failed = [&](Errc kind) {
    return fail(kind, fmt::format("cannot read bitmap '{}' of disk '{}': {}", bitmap, export_name, words()));
  };
  const std::string context = "qemu:dirty-bitmap:" + bitmap;
  nbd_handle* nbd = handle.get();
  if (nbd == nullptr || ::nbd_set_export_name(nbd, export_name.c_str()) != 0 ||
      ::nbd_add_meta_context(nbd, context.c_str()) != 0 || ::nbd_connect_unix(nbd, socket.c_str()) != 0)
    return failed(Errc::unreachable);
  const std::int64_t bytes = ::nbd_get_size(nbd);
  if (bytes < 0 || ::nbd_can_meta_context(nbd, context.c_str()) != 1) return failed(Errc::unreachable);

  struct Answer {
    const std::string& context;
    std::uint64_t at{};
    std::uint64_t end{};
    std::vector<GuestDisks::Range> dirty{};
  } answer{context, 0, static_cast<std::uint64_t>(bytes), {}};
  nbd_extent_callback callback{};
  callback.user_data = &answer;
  callback.callback = [](void* data, const char* of, std::uint64_t, std::uint32_t* entries, std::size_t count,
                         int*) {
    auto& to = *static_cast<Answer*>(data);
    if (to.context != of) return 0;
    for (std::size_t i = 0; i + 1 < count && to.at < to.end; i += 2) {
      const std::uint64_t length = std::min<std::uint64_t>(entries[i], to.end - to.at);
      if ((entries[i + 1] & state_dirty) != 0) {
        if (!to.dirty.empty() && to.dirty.back().offset + to.dirty.back().bytes == to.at)
          to.dirty.back().bytes += length;
        else
          to.dirty.push_back({to.at, length});
      }
      to.at += length;
    }
    return 0;
  };
  constexpr std::uint64_t window_bytes = 1ULL << 30U;
  while (answer.at < answer.end) {
    const std::uint64_t before = answer.at;
    if (::nbd_block_status(nbd, std::min(window_bytes, answer.end - before), before, callback, 0) != 0)
      return failed(Errc::io);
    if (answer.at == before)
      return fail(Errc::corrupt, fmt::format("bitmap '{}' says nothing of byte {}", bitmap, before));
  }
  return std::move(answer.dirty);
}

}  // namespace remus::hypervisor::qemu
