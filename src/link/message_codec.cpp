#include "link/message_codec.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "base/assert.hpp"

namespace remus::link::codec {
namespace {

using wire::Reader;
using wire::Writer;

constexpr std::size_t hash_bytes = 16;

void put_name(Writer& w, const std::string& text) {
  REMUS_ASSERT("pre", text.size() <= name_bytes_max, "a name in a message is bounded");
  w.put_string(text);
}
/// A sentence for a person: one that is too long is cut, not refused.
void put_text(Writer& w, std::string_view text) {
  w.put_string(text.substr(0, text_bytes_max));
}

std::string get_name(Reader& r, const char* field) {
  return r.get_string(name_bytes_max, field);
}
std::string get_text(Reader& r, const char* field) {
  return r.get_string(text_bytes_max, field);
}

/// Errc has no fixed numbers of its own; these are the wire's, and never change.
constexpr std::array<std::pair<Errc, std::uint16_t>, 14> errc_numbers{{{Errc::invalid, 1},
                                                                       {Errc::not_found, 2},
                                                                       {Errc::exists, 3},
                                                                       {Errc::refused, 4},
                                                                       {Errc::unsupported, 5},
                                                                       {Errc::incompatible, 6},
                                                                       {Errc::unreachable, 7},
                                                                       {Errc::denied, 8},
                                                                       {Errc::exhausted, 9},
                                                                       {Errc::corrupt, 10},
                                                                       {Errc::io, 11},
                                                                       {Errc::timeout, 12},
                                                                       {Errc::closed, 13},
                                                                       {Errc::internal, 14}}};

constexpr std::array<std::pair<engine::BackupState, std::uint8_t>, 9> state_numbers{
    {{engine::BackupState::empty, 0},
     {engine::BackupState::synchronizing, 1},
     {engine::BackupState::standby, 2},
     {engine::BackupState::suspecting, 3},
     {engine::BackupState::stale, 4},
     {engine::BackupState::claiming, 5},
     {engine::BackupState::activating, 6},
     {engine::BackupState::active, 7},
     {engine::BackupState::ended, 8}}};

template <typename Table, typename Key>
auto number_of(const Table& table, Key key) {
  const auto it = std::ranges::find(table, key, [](const auto& row) { return row.first; });
  REMUS_ASSERT("pre", it != table.end(), "every value has a number on the wire");
  return it->second;
}

template <typename Table, typename Number>
auto value_of(Reader& r, const Table& table, Number number, const char* field) {
  const auto it = std::ranges::find(table, number, [](const auto& row) { return row.second; });
  if (it == table.end()) {
    r.reject(field);
    return table.front().first;
  }
  return it->first;
}

std::int64_t ns_of(engine::Time time) {
  return time.time_since_epoch().count();
}
engine::Time time_of(std::int64_t ns) {
  return engine::Time{engine::Duration{ns}};
}

/// What is left of the payload, bounded, without a copy.
Payload rest(Reader& r, const Payload& whole, std::size_t bytes_max, const char* field) {
  if (r.left() > bytes_max) r.reject(field);
  return r.failed() == nullptr ? whole.from(r.position()) : Payload{};
}

/// Hashes say how many pages they are for, twice; both must agree.
Payload hashes(Reader& r, const Payload& whole, std::uint32_t page_count, checkpoint::PageIndex first) {
  if (r.left() != std::size_t{page_count} * hash_bytes) r.reject("hashes");
  if (std::uint64_t{first} + page_count > (std::uint64_t{1} << 32)) r.reject("page range");
  return rest(r, whole, batch_bytes_max, "hashes");
}

/// Blocks divide the largest disk: a last one that is shorter does not reach beyond it either.
bool check_blocks(Reader& r, std::uint64_t offset, std::uint32_t block_bytes, std::uint32_t blocks) {
  if (block_bytes < disk_block_bytes_min || block_bytes > disk_block_bytes_max ||
      !std::has_single_bit(block_bytes)) {
    r.reject("block_bytes");
    return false;
  }
  if (offset % block_bytes != 0 || offset > disk_bytes_max)
    r.reject("offset");
  else if (std::uint64_t{blocks} * block_bytes > disk_bytes_max - offset)
    r.reject("block range");
  return r.failed() == nullptr;
}

std::uint16_t get_disk(Reader& r) {
  const auto disk = r.get<std::uint16_t>("disk");
  if (disk >= disks_max) r.reject("disk");
  return disk;
}

}  // namespace

void put(Writer& w, const Hello& m) {
  REMUS_ASSERT("pre", m.description_json.size() <= description_bytes_max, "a guest's description is bounded");
  w.put(m.version_min);
  w.put(m.version_max);
  put_name(w, m.product_version);
  put_name(w, m.host);
  put_name(w, m.guest);
  w.put(m.generation);
  w.put(m.session);
  w.put(m.receive_window_bytes);
  w.put_string(m.description_json);
}
void get(Reader& r, const Payload&, Hello& m) {
  m.version_min = r.get<std::uint16_t>("version_min");
  m.version_max = r.get<std::uint16_t>("version_max");
  if (m.version_min > m.version_max) r.reject("version range");
  m.product_version = get_name(r, "product_version");
  m.host = get_name(r, "host");
  m.guest = get_name(r, "guest");
  m.generation = r.get<std::uint64_t>("generation");
  m.session = r.get<std::uint64_t>("session");
  m.receive_window_bytes = r.get<std::uint32_t>("receive_window_bytes");
  if (m.receive_window_bytes < receive_window_bytes_min || m.receive_window_bytes > receive_window_bytes_max)
    r.reject("receive_window_bytes");
  m.description_json = r.get_string(description_bytes_max, "description");
}

void put(Writer& w, const Welcome& m) {
  w.put(m.version);
  put_name(w, m.product_version);
  put_name(w, m.host);
  put_name(w, m.hypervisor_version);
  w.put(m.backup.generation);
  w.put(number_of(state_numbers, m.backup.state));
  w.put(m.backup.session);
  w.put(m.backup.held);
  w.put(m.receive_window_bytes);
  w.put_bool(m.offers_hashes);
}
void get(Reader& r, const Payload&, Welcome& m) {
  m.version = r.get<std::uint16_t>("version");
  m.product_version = get_name(r, "product_version");
  m.host = get_name(r, "host");
  m.hypervisor_version = get_name(r, "hypervisor_version");
  m.backup.generation = r.get<std::uint64_t>("generation");
  m.backup.state = value_of(r, state_numbers, r.get<std::uint8_t>("state"), "state");
  m.backup.session = r.get<std::uint64_t>("session");
  m.backup.held = r.get<std::uint64_t>("held");
  m.receive_window_bytes = r.get<std::uint32_t>("receive_window_bytes");
  if (m.receive_window_bytes < receive_window_bytes_min || m.receive_window_bytes > receive_window_bytes_max)
    r.reject("receive_window_bytes");
  m.offers_hashes = r.get_bool("offers_hashes");
}

void put(Writer& w, const Refuse& m) {
  w.put(number_of(errc_numbers, m.kind));
  put_text(w, m.what);
  put_text(w, m.fix);
}
void get(Reader& r, const Payload&, Refuse& m) {
  m.kind = value_of(r, errc_numbers, r.get<std::uint16_t>("kind"), "kind");
  m.what = get_text(r, "what");
  m.fix = get_text(r, "fix");
}

void put(Writer& w, const Goodbye& m) {
  w.put(static_cast<std::uint16_t>(m.reason));
  w.put(m.session);
  w.put(m.generation);
  w.put(m.epoch);
  put_text(w, m.text);
}
void get(Reader& r, const Payload&, Goodbye& m) {
  const auto reason = r.get<std::uint16_t>("reason");
  if (reason < static_cast<std::uint16_t>(GoodbyeReason::unprotected) ||
      reason > static_cast<std::uint16_t>(GoodbyeReason::guest_crashed)) {
    r.reject("reason");
    return;
  }
  m.reason = static_cast<GoodbyeReason>(reason);
  m.session = r.get<std::uint64_t>("session");
  m.generation = r.get<std::uint64_t>("generation");
  m.epoch = r.get<std::uint64_t>("epoch");
  m.text = get_text(r, "text");
}

void put(Writer& w, const Active& m) {
  w.put(m.session);
  w.put(m.generation);
  w.put(m.epoch);
}
void get(Reader& r, const Payload&, Active& m) {
  m.session = r.get<std::uint64_t>("session");
  m.generation = r.get<std::uint64_t>("generation");
  m.epoch = r.get<std::uint64_t>("epoch");
}

void put(Writer& w, const HeartbeatMsg& m) {
  w.put(m.heartbeat.session);
  w.put(m.heartbeat.generation);
  w.put_signed(ns_of(m.heartbeat.sent));
  w.put_signed(ns_of(m.heartbeat.echo));
}
void get(Reader& r, const Payload&, HeartbeatMsg& m) {
  m.heartbeat.session = r.get<std::uint64_t>("session");
  m.heartbeat.generation = r.get<std::uint64_t>("generation");
  m.heartbeat.sent = time_of(r.get_signed("sent"));
  m.heartbeat.echo = time_of(r.get_signed("echo"));
}

void put(Writer& w, const Ack& m) {
  w.put(m.session);
  w.put(m.epoch);
  w.put(m.consumed_bytes);
  w.put(m.survives);
}
void get(Reader& r, const Payload&, Ack& m) {
  m.session = r.get<std::uint64_t>("session");
  m.epoch = r.get<std::uint64_t>("epoch");
  m.consumed_bytes = r.get<std::uint64_t>("consumed_bytes");
  m.survives = r.get<std::uint64_t>("survives");
}

void put(Writer& w, const WindowUpdate& m) {
  w.put(m.consumed_bytes);
}
void get(Reader& r, const Payload&, WindowUpdate& m) {
  m.consumed_bytes = r.get<std::uint64_t>("consumed_bytes");
}

void put(Writer& w, const SessionBegin& m) {
  REMUS_ASSERT("pre", m.layout.blocks.size() <= layout_blocks_max, "a layout has a bounded number of blocks");
  w.put(m.session);
  w.put(m.generation);
  w.put_bool(m.wants_hashes);
  w.put(m.resync_base);
  w.put(m.resync_epochs);
  w.put(static_cast<std::uint32_t>(m.layout.blocks.size()));
  for (const auto& block : m.layout.blocks) {
    put_name(w, block.name);
    w.put(block.bytes);
  }
}
void get(Reader& r, const Payload&, SessionBegin& m) {
  m.session = r.get<std::uint64_t>("session");
  m.generation = r.get<std::uint64_t>("generation");
  m.wants_hashes = r.get_bool("wants_hashes");
  m.resync_base = r.get<std::uint64_t>("resync_base");
  m.resync_epochs = r.get<std::uint64_t>("resync_epochs");
  const auto count = r.get<std::uint32_t>("block count");
  if (count > layout_blocks_max) r.reject("block count");
  std::uint64_t pages = 0;
  for (std::uint32_t i = 0; i < count && r.failed() == nullptr; ++i) {
    std::string name = get_name(r, "block name");
    const auto bytes = r.get<std::uint64_t>("block bytes");
    // first_page is not on the wire: blocks are numbered through, in their order. All must fit a PageIndex.
    pages += bytes / checkpoint::page_bytes;
    if (bytes % checkpoint::page_bytes != 0 || pages > UINT32_MAX) {
      r.reject("block bytes");
      return;
    }
    m.layout.add(std::move(name), bytes);
  }
}

void put(Writer& w, const SessionReady& m) {
  w.put(m.session);
  w.put_bool(m.hashes_follow);
  w.put(m.disks_base);
}
void get(Reader& r, const Payload&, SessionReady& m) {
  m.session = r.get<std::uint64_t>("session");
  m.hashes_follow = r.get_bool("hashes_follow");
  m.disks_base = r.get<std::uint64_t>("disks_base");
}

void put(Writer& w, const HashOffer& m) {
  w.put(m.session);
  w.put(m.first_page);
  w.put(m.page_count);
  w.put_bool(m.last);
}
void get(Reader& r, const Payload& whole, HashOffer& m) {
  m.session = r.get<std::uint64_t>("session");
  m.first_page = r.get<std::uint32_t>("first_page");
  m.page_count = r.get<std::uint32_t>("page_count");
  m.last = r.get_bool("last");
  m.hashes = hashes(r, whole, m.page_count, m.first_page);
}

void put(Writer& w, const SyncPages& m) {
  w.put(m.session);
  w.put(m.batch);
}
void get(Reader& r, const Payload& whole, SyncPages& m) {
  m.session = r.get<std::uint64_t>("session");
  m.batch = r.get<std::uint32_t>("batch");
  m.data = rest(r, whole, batch_bytes_max, "page batch");
}

void put(Writer& w, const EpochBegin& m) {
  w.put(m.session);
  w.put(m.epoch);
  w.put(m.pages);
  w.put(m.device_bytes);
}
void get(Reader& r, const Payload&, EpochBegin& m) {
  m.session = r.get<std::uint64_t>("session");
  m.epoch = r.get<std::uint64_t>("epoch");
  m.pages = r.get<std::uint64_t>("pages");
  m.device_bytes = r.get<std::uint64_t>("device_bytes");
}

void put(Writer& w, const EpochPages& m) {
  w.put(m.epoch);
  w.put(m.batch);
}
void get(Reader& r, const Payload& whole, EpochPages& m) {
  m.epoch = r.get<std::uint64_t>("epoch");
  m.batch = r.get<std::uint32_t>("batch");
  m.data = rest(r, whole, batch_bytes_max, "page batch");
}

void put(Writer& w, const EpochDevice& m) {
  w.put(m.epoch);
  w.put(m.offset_bytes);
}
void get(Reader& r, const Payload& whole, EpochDevice& m) {
  m.epoch = r.get<std::uint64_t>("epoch");
  m.offset_bytes = r.get<std::uint64_t>("offset_bytes");
  m.data = rest(r, whole, batch_bytes_max, "device state");
}

void put(Writer& w, const EpochEnd& m) {
  w.put(m.session);
  w.put(m.epoch);
  w.put(m.batches);
  w.put(m.pages);
  w.put(m.batch_bytes);
  w.put(m.device_bytes);
  w.put_bytes(m.image_hash);
  w.put(m.disk_batches);
  w.put(m.disk_bytes);
}
void get(Reader& r, const Payload&, EpochEnd& m) {
  m.session = r.get<std::uint64_t>("session");
  m.epoch = r.get<std::uint64_t>("epoch");
  m.batches = r.get<std::uint32_t>("batches");
  m.pages = r.get<std::uint64_t>("pages");
  m.batch_bytes = r.get<std::uint64_t>("batch_bytes");
  m.device_bytes = r.get<std::uint64_t>("device_bytes");
  r.get_bytes(m.image_hash, "image_hash");
  m.disk_batches = r.get<std::uint32_t>("disk_batches");
  m.disk_bytes = r.get<std::uint64_t>("disk_bytes");
}

void put(Writer& w, const VerifyBegin& m) {
  w.put(m.id);
  w.put(m.session);
  w.put(m.epoch);
  w.put_bool(m.disks);
}
void get(Reader& r, const Payload&, VerifyBegin& m) {
  m.id = r.get<std::uint64_t>("id");
  m.session = r.get<std::uint64_t>("session");
  m.epoch = r.get<std::uint64_t>("epoch");
  m.disks = r.get_bool("disks");
}

void put(Writer& w, const VerifyHashes& m) {
  w.put(m.id);
  w.put(m.first_page);
  w.put(m.page_count);
  w.put_bool(m.last);
}
void get(Reader& r, const Payload& whole, VerifyHashes& m) {
  m.id = r.get<std::uint64_t>("id");
  m.first_page = r.get<std::uint32_t>("first_page");
  m.page_count = r.get<std::uint32_t>("page_count");
  m.last = r.get_bool("last");
  m.hashes = hashes(r, whole, m.page_count, m.first_page);
}

void put(Writer& w, const VerifyResult& m) {
  REMUS_ASSERT("pre", m.differing.size() <= differing_pages_max, "the list of differing pages is bounded");
  REMUS_ASSERT("pre", m.differing_disk_blocks.size() <= differing_disk_blocks_max,
               "the list of differing blocks is bounded");
  w.put(m.id);
  w.put(m.epoch);
  w.put(m.compared_pages);
  w.put(m.differing_pages);
  w.put(static_cast<std::uint32_t>(m.differing.size()));
  for (const checkpoint::PageIndex page : m.differing) w.put(page);
  put_text(w, m.failure);
  w.put(m.compared_blocks);
  w.put(m.differing_blocks);
  w.put(static_cast<std::uint32_t>(m.differing_disk_blocks.size()));
  for (const DiskBlock& block : m.differing_disk_blocks) {
    w.put(block.disk);
    w.put(block.offset);
  }
}
void get(Reader& r, const Payload&, VerifyResult& m) {
  m.id = r.get<std::uint64_t>("id");
  m.epoch = r.get<std::uint64_t>("epoch");
  m.compared_pages = r.get<std::uint64_t>("compared_pages");
  m.differing_pages = r.get<std::uint64_t>("differing_pages");
  const auto count = r.get<std::uint32_t>("differing count");
  if (count > differing_pages_max || count > m.differing_pages) r.reject("differing count");
  for (std::uint32_t i = 0; i < count && r.failed() == nullptr; ++i)
    m.differing.push_back(r.get<std::uint32_t>("differing page"));
  m.failure = get_text(r, "failure");
  m.compared_blocks = r.get<std::uint64_t>("compared_blocks");
  m.differing_blocks = r.get<std::uint64_t>("differing_blocks");
  const auto blocks = r.get<std::uint32_t>("differing blocks count");
  if (blocks > differing_disk_blocks_max || blocks > m.differing_blocks) r.reject("differing blocks count");
  for (std::uint32_t i = 0; i < blocks && r.failed() == nullptr; ++i) {
    const std::uint16_t disk = get_disk(r);
    m.differing_disk_blocks.push_back({disk, r.get<std::uint64_t>("differing block")});
    if (m.differing_disk_blocks.back().offset >= disk_bytes_max) r.reject("differing block");
  }
}

void put(Writer& w, const DiskSync& m) {
  w.put(m.session);
  w.put(m.batch);
}
void get(Reader& r, const Payload& whole, DiskSync& m) {
  m.session = r.get<std::uint64_t>("session");
  m.batch = r.get<std::uint32_t>("batch");
  m.data = rest(r, whole, batch_bytes_max, "write batch");
}

void put(Writer& w, const DiskWrites& m) {
  w.put(m.epoch);
  w.put(m.batch);
}
void get(Reader& r, const Payload& whole, DiskWrites& m) {
  m.epoch = r.get<std::uint64_t>("epoch");
  m.batch = r.get<std::uint32_t>("batch");
  m.data = rest(r, whole, batch_bytes_max, "write batch");
}

void put(Writer& w, const VerifyDiskHashes& m) {
  w.put(m.id);
  w.put(m.disk);
  w.put(m.offset);
  w.put(m.block_bytes);
  w.put(m.blocks);
  w.put_bool(m.last);
}
void get(Reader& r, const Payload& whole, VerifyDiskHashes& m) {
  m.id = r.get<std::uint64_t>("id");
  m.disk = get_disk(r);
  m.offset = r.get<std::uint64_t>("offset");
  m.block_bytes = r.get<std::uint32_t>("block_bytes");
  m.blocks = r.get<std::uint32_t>("blocks");
  m.last = r.get_bool("last");
  if (!check_blocks(r, m.offset, m.block_bytes, m.blocks)) return;
  if (r.left() != std::size_t{m.blocks} * hash_bytes) r.reject("hashes");
  m.hashes = rest(r, whole, batch_bytes_max, "hashes");
}

void put(Writer& w, const DiskHashesWanted& m) {
  w.put(m.session);
  w.put(m.disk);
  w.put(m.offset);
  w.put(m.block_bytes);
  w.put(m.blocks);
}
void get(Reader& r, const Payload&, DiskHashesWanted& m) {
  m.session = r.get<std::uint64_t>("session");
  m.disk = get_disk(r);
  m.offset = r.get<std::uint64_t>("offset");
  m.block_bytes = r.get<std::uint32_t>("block_bytes");
  m.blocks = r.get<std::uint32_t>("blocks");
  if (m.blocks == 0 || m.blocks > disk_hashes_max) r.reject("blocks");
  check_blocks(r, m.offset, m.block_bytes, m.blocks);
}

void put(Writer& w, const DiskHashes& m) {
  put(w, m.of);
  w.put(std::to_underlying(m.content));
}
void get(Reader& r, const Payload& whole, DiskHashes& m) {
  get(r, whole, m.of);
  const auto content = r.get<std::uint8_t>("content");
  if (content > std::to_underlying(DiskContent::unknown)) r.reject("content");
  m.content = static_cast<DiskContent>(content);
  const std::size_t blocks = m.content == DiskContent::hashed ? m.of.blocks : 0;
  if (r.left() != blocks * hash_bytes) r.reject("hashes");
  m.hashes = rest(r, whole, batch_bytes_max, "hashes");
}

}  // namespace remus::link::codec
