// Threads that share a copy out among themselves and whoever asks for it: in a pause, copying is what takes longest.
//
// They are there from the beginning, and wait; the caller takes parts like any of them, and takes all where they are late. A
// call returns when every part is done.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace remus::hypervisor::xen {

class CopyCrew final {
 public:
  /// Does [first, end). On any of the threads.
  using Part = std::function<void(std::size_t first, std::size_t end)>;

  /// `helpers` beside the caller; 0: the caller does it all.
  explicit CopyCrew(unsigned helpers);
  ~CopyCrew();
  CopyCrew(const CopyCrew&) = delete;
  CopyCrew& operator=(const CopyCrew&) = delete;

  /// As many helpers as leave the host's guests and the guard's other threads room: three at most.
  [[nodiscard]] static unsigned usual_helpers();

  [[nodiscard]] bool alone() const noexcept { return threads_.empty(); }
  /// `part` for [0, count), a few dozen at a time, in no order. One caller at a time.
  void share(std::size_t count, const Part& part);

 private:
  void help();
  void take_parts();

  std::vector<std::thread> threads_{};
  std::atomic<std::uint32_t> call_{0};  ///< number of the call; helpers wait for the next
  std::atomic<bool> open_{false};       ///< whether there is one that may be joined
  std::atomic<unsigned> inside_{0};     ///< helpers that have joined, and not left
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> done_{0};
  std::atomic<bool> ending_{false};
  std::size_t count_{0};
  const Part* part_{nullptr};
};

}  // namespace remus::hypervisor::xen
