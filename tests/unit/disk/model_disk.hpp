// A WriteSink for tests that is a disk in memory, and fails, or makes its caller wait, when told to.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

#include "disk/write_sink.hpp"

namespace remus::test {

class ModelDisk final : public disk::WriteSink {
 public:
  explicit ModelDisk(std::size_t bytes, std::byte fill = std::byte{0x55}) : image_(bytes, fill) {}

  Status write(std::uint64_t offset, std::span<const std::byte> data) override {
    std::unique_lock lock{mutex_};
    if (Status ready = enter(lock, offset, data.size()); !ready) return ready;
    std::ranges::copy(data, image_.begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }
  Status zero(std::uint64_t offset, std::uint64_t bytes, bool may_unmap) override {
    std::unique_lock lock{mutex_};
    if (Status ready = enter(lock, offset, bytes); !ready) return ready;
    unmappable_ += may_unmap ? 1U : 0U;
    clear(offset, bytes);
    return {};
  }
  Status trim(std::uint64_t offset, std::uint64_t bytes) override {
    std::unique_lock lock{mutex_};
    if (Status ready = enter(lock, offset, bytes); !ready) return ready;
    clear(offset, bytes);
    return {};
  }
  Status flush() override {
    std::unique_lock lock{mutex_};
    ++flushes_;
    return enter(lock, 0, 0);
  }

  void fail_with(std::optional<Error> error) {
    const std::lock_guard lock{mutex_};
    error_ = std::move(error);
  }
  /// Writers wait until they are let go on.
  void stall(bool on) {
    const std::lock_guard lock{mutex_};
    stalled_ = on;
    go_on_.notify_all();
  }
  [[nodiscard]] bool somebody_waits() const {
    const std::lock_guard lock{mutex_};
    return waiting_ != 0;
  }
  [[nodiscard]] std::vector<std::byte> content() const {
    const std::lock_guard lock{mutex_};
    return image_;
  }
  [[nodiscard]] unsigned flushes() const {
    const std::lock_guard lock{mutex_};
    return flushes_;
  }
  [[nodiscard]] unsigned unmappable() const {
    const std::lock_guard lock{mutex_};
    return unmappable_;
  }
  [[nodiscard]] bool out_of_bounds() const {
    const std::lock_guard lock{mutex_};
    return out_of_bounds_;
  }

 private:
  Status enter(std::unique_lock<std::mutex>& lock, std::uint64_t offset, std::uint64_t bytes) {
    ++waiting_;
    go_on_.wait(lock, [&] { return !stalled_; });
    --waiting_;
    if (error_) return std::unexpected(*error_);
    if (offset <= image_.size() && bytes <= image_.size() - offset) return {};
    out_of_bounds_ = true;
    return fail(Errc::invalid, "beyond the disk's end");
  }
  void clear(std::uint64_t offset, std::uint64_t bytes) {
    std::fill_n(image_.begin() + static_cast<std::ptrdiff_t>(offset), bytes, std::byte{0});
  }

  mutable std::mutex mutex_{};
  std::condition_variable go_on_{};
  std::vector<std::byte> image_;
  std::optional<Error> error_{};
  bool stalled_{};
  unsigned waiting_{};
  unsigned flushes_{};
  unsigned unmappable_{};
  bool out_of_bounds_{};
};

}  // namespace remus::test
