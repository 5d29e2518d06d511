// What a disk's writes come in by, whichever log they go to: each session has a log of its own, while the guest's write path
// stays as it is.
#pragma once

#include <memory>
#include <mutex>
#include <shared_mutex>

#include "disk/write_log.hpp"

namespace remus::guard {

class WriteInlet final : public disk::WriteSink {
 public:
  /// Waits for the writes that are on their way into the old log, which must not keep them waiting: it is closed. When
  /// this has returned the disk holds all that the new log will not be told of.
  void lead_to(std::shared_ptr<disk::WriteLog> log) {
    const std::lock_guard lock{mutex_};
    log_ = std::move(log);
  }

  [[nodiscard]] Status write(std::uint64_t offset, std::span<const std::byte> data) override {
    const std::shared_lock lock{mutex_};
    return log_->write(offset, data);
  }
  [[nodiscard]] Status zero(std::uint64_t offset, std::uint64_t bytes, bool may_unmap) override {
    const std::shared_lock lock{mutex_};
    return log_->zero(offset, bytes, may_unmap);
  }
  [[nodiscard]] Status trim(std::uint64_t offset, std::uint64_t bytes) override {
    const std::shared_lock lock{mutex_};
    return log_->trim(offset, bytes);
  }
  [[nodiscard]] Status flush() override {
    const std::shared_lock lock{mutex_};
    return log_->flush();
  }

 private:
  std::shared_mutex mutex_{};
  std::shared_ptr<disk::WriteLog> log_{};
};

}  // namespace remus::guard
