// What the encoder hands to the link: bytes that are sent once (synchronization, verification) or kept until they are
// acknowledged (epochs).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "checkpoint/encoded_epoch.hpp"
#include "engine/types.hpp"
#include "guard/disk_batches.hpp"
#include "link/messages.hpp"

namespace remus::guard {

struct Outbound {
  enum class Kind { sync, epoch, messages };
  Kind kind{Kind::epoch};
  engine::Session session{};
  engine::Epoch epoch{};
  std::uint64_t captured_pages{};
  std::shared_ptr<const checkpoint::EncodedEpoch> data{};  ///< sync and epoch: memory
  std::shared_ptr<const DiskBatches> disks{};              ///< sync and epoch: disks; may be null
  std::vector<link::Message> messages{};                   ///< messages: sent as they are
};

/// Encoded epochs that are not in use, so that their memory is not given back and asked for again 40 times a second.
/// What take() gives returns by itself when its last user (store, link) drops it. Thread-safe.
class EncodedPool final : public std::enable_shared_from_this<EncodedPool> {
 public:
  explicit EncodedPool(checkpoint::Layout layout) : layout_{std::move(layout)} {}

  [[nodiscard]] Result<std::shared_ptr<checkpoint::EncodedEpoch>> take(std::function<void()> on_return = {}) {
    std::unique_ptr<checkpoint::EncodedEpoch> free;
    {
      const std::lock_guard lock{mutex_};
      if (!free_.empty()) {
        free = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (!free) {
      auto made = checkpoint::EncodedEpoch::create(layout_, 4UL << 20);
      if (!made) return std::unexpected(made.error());
      free = std::move(*made);
    }
    free->recycle();
    return std::shared_ptr<checkpoint::EncodedEpoch>(
        free.release(),
        [self = shared_from_this(), done = std::move(on_return)](checkpoint::EncodedEpoch* used) {
          if (done) done();
          self->put(std::unique_ptr<checkpoint::EncodedEpoch>{used});
        });
  }

 private:
  static constexpr std::size_t kept_max = 32;
  void put(std::unique_ptr<checkpoint::EncodedEpoch> used) {
    const std::lock_guard lock{mutex_};
    if (free_.size() < kept_max) free_.push_back(std::move(used));
  }

  checkpoint::Layout layout_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<checkpoint::EncodedEpoch>> free_{};
};

}  // namespace remus::guard
