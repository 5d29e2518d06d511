#include "guard/replica_hashes.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace remus::guard {

void ReplicaHashes::begin(engine::Session session, Ask ask) {
  session_ = session;
  ask_ = std::move(ask);
  silent_ = false;
  choose(0, {});
}

void ReplicaHashes::choose(std::uint16_t disk, const std::vector<disk::CopyRange>& ranges) {
  disk_ = disk;
  pieces_.clear();
  next_ = to_ask_ = 0;
  for (auto range : ranges)
    while (range.bytes != 0) {
      const std::uint64_t bytes = std::min(range.bytes, piece_bytes - range.offset % piece_bytes);
      pieces_.push_back({range.offset, bytes});
      range = {range.offset + bytes, range.bytes - bytes};
    }
  const std::lock_guard lock{mutex_};
  asked_.clear();
}

std::optional<ReplicaHashes::Piece> ReplicaHashes::next(const std::stop_token& stop) {
  for (; !silent_ && to_ask_ < pieces_.size() && to_ask_ < next_ + ahead_max; ++to_ask_) {
    const auto& piece = pieces_[to_ask_];
    const link::DiskHashesWanted wanted{
        .session = session_,
        .disk = disk_,
        .offset = piece.offset,
        .block_bytes = block_bytes,
        .blocks = static_cast<std::uint32_t>((piece.bytes + block_bytes - 1) / block_bytes)};
    {
      const std::lock_guard lock{mutex_};
      asked_.push_back({wanted, {}});
    }
    ask_(wanted);
  }
  if (next_ == pieces_.size()) return std::nullopt;
  Piece piece{pieces_[next_++], {}};
  if (silent_) return piece;
  std::unique_lock lock{mutex_};
  if (!changed_.wait_for(lock, stop, silence_max, [this] { return asked_.front().answer.has_value(); })) {
    silent_ = true;
    if (!stop.stop_requested())
      spdlog::warn("the backup does not say what its replicas hold: the rest of the disks is copied whole");
    return piece;
  }
  piece.known = std::move(asked_.front().answer);
  asked_.erase(asked_.begin());
  return piece;
}

void ReplicaHashes::answered(link::DiskHashes answer) {
  {
    const std::lock_guard lock{mutex_};
    const auto asked = std::ranges::find(asked_, answer.of, &Asked::what);
    if (asked == asked_.end()) return;
    asked->answer = std::move(answer);
  }
  changed_.notify_all();
}

}  // namespace remus::guard
