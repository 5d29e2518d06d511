// Replica's part in a verification: what the primary says of its guest's memory and disks against what is here.
#include <fmt/format.h>

#include <utility>

#include "checkpoint/page_hash.hpp"
#include "guard/replica.hpp"

namespace remus::guard {

using engine::Epoch;
using engine::Session;

// --- verification: an epoch's image against the primary's memory ---

void Replica::receive(const link::VerifyBegin& message, std::size_t bulk_bytes) {
  credit(bulk_bytes);
  if (!current(message.session)) return;
  // The apply thread works in order, so asked for is as good as applied.
  verification_ =
      Verification{.begin = message, .parts = {}, .applied = apply_asked_ && *apply_asked_ >= message.epoch};
}

void Replica::receive(link::VerifyHashes message, std::size_t bulk_bytes) {
  credit(bulk_bytes);
  if (!verification_ || message.id != verification_->begin.id) return;
  verification_->complete = message.last;
  verification_->parts.push_back(std::move(message));
  compare_if_ready();
}

void Replica::compare_if_ready() {
  if (!verification_ || !verification_->complete || !verification_->applied) return;
  const Session session = session_;
  apply_->post([this, session, verification = std::move(*verification_)] {
    link::VerifyResult result{.id = verification.begin.id, .epoch = verification.begin.epoch};
    for (const auto& part : verification.parts) {
      if (!image_ || part.page_count == 0) {
        result.failure = image_ ? "the primary could not read its guest's memory" : "there is no image";
        break;
      }
      std::vector<checkpoint::Hash128> expected(part.page_count);
      for (std::size_t i = 0; i < expected.size(); ++i)
        expected[i] = checkpoint::hash_at(part.hashes.bytes(), i);
      if (part.first_page + part.page_count > image_->pages()) {
        result.failure = "the primary's memory is larger than the image";
        break;
      }
      const auto differing = image_->differing(part.first_page, expected, part.page_count);
      result.compared_pages += part.page_count;
      result.differing_pages += differing.size();
      for (const auto index : differing)
        if (result.differing.size() < link::differing_pages_max) result.differing.push_back(index);
    }
    const bool with_disks = verification.begin.disks && disks_.replicas && result.failure.empty();
    post([this, session, with_disks, result = std::move(result)] {
      verification_.reset();
      for (auto& [of, held] : std::exchange(deferred_, {}))
        if (current(of)) apply_now(of, held);
      if (!current(session)) return;
      if (with_disks)
        awaiting_disks_ = result;
      else
        events_.verified(result);
    });
  });
  // What is left marks that epochs behind the verified one must still wait.
  verification_->complete = false;
}

// --- disks, block by block, epoch by epoch ---

void Replica::receive(link::VerifyDiskHashes message, std::size_t bulk_bytes) {
  if (!last_received_ || !disks_.replicas) return credit(bulk_bytes);
  const Session session = session_;
  apply_->post([this, session, bulk_bytes, of = DiskHashes{*last_received_, std::move(message)}] {
    post([this, bulk_bytes] { credit(bulk_bytes); });
    if (!current(session)) return;
    disk_hashes_.push_back(of);
    compare_disks(session);
  });
}

void Replica::compare_disks(Session session) {
  // The next epoch is applied only after these have come: they were sent before it.
  while (!disk_hashes_.empty() && applied_ && disk_hashes_.front().epoch <= *applied_ + 1) {
    const DiskHashes one = std::move(disk_hashes_.front());
    disk_hashes_.pop_front();
    if (disk_result_.id != one.hashes.id) disk_result_ = {.id = one.hashes.id};  // one before was broken off
    if (one.epoch < *applied_)
      disk_result_.failure =
          fmt::format("hashes of disks at epoch {} came when {} was applied", one.epoch, *applied_);
    else
      compare_blocks(one.hashes);
    if (!one.hashes.last) continue;
    post([this, session, disks = std::exchange(disk_result_, {})] {
      if (!current(session) || !awaiting_disks_ || awaiting_disks_->id != disks.id) return;
      link::VerifyResult result = *std::exchange(awaiting_disks_, std::nullopt);
      result.compared_blocks = disks.compared_blocks;
      result.differing_blocks = disks.differing_blocks;
      result.differing_disk_blocks = disks.differing_disk_blocks;
      result.failure = disks.failure;
      events_.verified(result);
    });
  }
}

void Replica::compare_blocks(const link::VerifyDiskHashes& expected) {
  if (expected.blocks == 0) return;
  auto& replicas = *disks_.replicas;
  const checkpoint::PageHasher hasher{session_};
  std::vector<std::byte> block(expected.block_bytes);
  for (std::uint32_t i = 0; i < expected.blocks; ++i) {
    const std::uint64_t offset = expected.offset + std::uint64_t{i} * expected.block_bytes;
    if (expected.disk >= replicas.disks() || offset >= replicas.bytes(expected.disk)) {
      disk_result_.failure = fmt::format("disk {} has no byte {} here", expected.disk, offset);
      return;
    }
    const auto bytes = static_cast<std::size_t>(
        std::min<std::uint64_t>(expected.block_bytes, replicas.bytes(expected.disk) - offset));
    const std::span part{block.data(), bytes};
    if (const Status read = replicas.file(expected.disk).read(offset, part); !read) {
      disk_result_.failure = read.error().what;
      return;
    }
    ++disk_result_.compared_blocks;
    if (hasher.of(part) == checkpoint::hash_at(expected.hashes.bytes(), i)) continue;
    ++disk_result_.differing_blocks;
    if (disk_result_.differing_disk_blocks.size() < link::differing_disk_blocks_max)
      disk_result_.differing_disk_blocks.push_back({expected.disk, offset});
  }
}

}  // namespace remus::guard
