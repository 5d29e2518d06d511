// Address space now, memory when touched.
//
// An epoch may hold any number of pages up to the whole guest, and nothing may move or allocate while the
// guest is paused. So the largest size that can ever be needed is reserved once; the kernel gives memory on
// first touch, and release() gives it back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.hpp"

namespace remus::checkpoint {

class Reservation final {
 public:
  Reservation() noexcept = default;
  /// Zero-filled memory of at least `bytes` bytes, which may be more than this machine can address. `what`
  /// names its purpose in the error (Errc::exhausted).
  [[nodiscard]] static Result<Reservation> create(std::uint64_t bytes, std::string_view what);

  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Gives the memory of [from, to) back, inward to whole pages; it reads as zeros afterwards.
  void release(std::size_t from, std::size_t to) noexcept;
  /// Makes the first `bytes` resident, so that no page fault falls into a pause. As much as the kernel gives.
  void prefault(std::size_t bytes) noexcept;

 private:
  Reservation(std::byte* data, std::size_t size) noexcept : data_{data}, size_{size} {}

  std::byte* data_{nullptr};
  std::size_t size_{0};
};

}  // namespace remus::checkpoint
