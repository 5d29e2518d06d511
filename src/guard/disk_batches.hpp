// Encoded disk writes on their way to the backup, kept until they are acknowledged: the same bytes can be sent again.
//
// Memory comes in blocks, which go back to an account shared by all of a guest's batches; it also tells how much is on
// its way, so that copying a disk waits for the link.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "checkpoint/page_batch.hpp"

namespace remus::guard {

class DiskBatches final : public checkpoint::BatchOutput {
 public:
  static constexpr std::size_t block_bytes = 4 * checkpoint::batch_payload_bytes_max;

  /// Thread-safe.
  class Account final {
   public:
    [[nodiscard]] std::size_t bytes_out() const noexcept { return bytes_out_; }

   private:
    friend class DiskBatches;
    using Block = std::unique_ptr<std::byte[]>;
    static constexpr std::size_t idle_max = 8;

    Block take() {
      {
        const std::lock_guard lock{mutex_};
        if (!idle_.empty()) {
          Block block = std::move(idle_.back());
          idle_.pop_back();
          return block;
        }
      }
      return std::make_unique_for_overwrite<std::byte[]>(block_bytes);
    }
    void give_back(std::vector<Block>& blocks) {
      const std::lock_guard lock{mutex_};
      for (Block& block : blocks)
        if (idle_.size() < idle_max) idle_.push_back(std::move(block));
      blocks.clear();
    }

    std::mutex mutex_{};
    std::vector<Block> idle_{};
    std::atomic<std::size_t> bytes_out_{};
  };

  explicit DiskBatches(std::shared_ptr<Account> account) : account_{std::move(account)} {}
  ~DiskBatches() override {
    account_->bytes_out_ -= bytes_;
    account_->give_back(blocks_);
  }

  [[nodiscard]] std::span<std::byte> batch_space() override {
    if (blocks_.empty() || block_bytes - used_ < checkpoint::batch_payload_bytes_max) {
      blocks_.push_back(account_->take());
      used_ = 0;
    }
    return {blocks_.back().get() + used_, block_bytes - used_};
  }
  void batch_ready(std::size_t bytes) override {
    batches_.emplace_back(blocks_.back().get() + used_, bytes);
    used_ += bytes;
    bytes_ += bytes;
    account_->bytes_out_ += bytes;
  }

  [[nodiscard]] std::size_t size() const noexcept { return batches_.size(); }
  [[nodiscard]] std::span<const std::byte> batch(std::size_t i) const { return batches_.at(i); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::shared_ptr<Account> account_;
  std::vector<Account::Block> blocks_{};
  std::vector<std::span<const std::byte>> batches_{};
  std::size_t used_{};  ///< of the newest block
  std::size_t bytes_{};
};

}  // namespace remus::guard
