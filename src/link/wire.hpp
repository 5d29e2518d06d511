// Fixed-width little-endian integers and bounded strings, written to and read from bytes.
//
// The reader never throws and never reads beyond its input: the first thing that does not fit makes it fail
// for good, so a message decoder reads all its fields and asks once at the end.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace remus::link::wire {

template <std::unsigned_integral T>
[[nodiscard]] constexpr T little(T value) noexcept {
  if constexpr (std::endian::native == std::endian::big) {
    T swapped{0};
    for (std::size_t i = 0; i < sizeof(T); ++i)
      swapped = static_cast<T>(swapped | (((value >> (8 * i)) & 0xff) << (8 * (sizeof(T) - 1 - i))));
    return swapped;
  }
  return value;
}

template <std::unsigned_integral T>
void store(std::byte* to, T value) noexcept {
  value = little(value);
  std::memcpy(to, &value, sizeof value);
}

template <std::unsigned_integral T>
[[nodiscard]] T load(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return little(value);
}

class Writer final {
 public:
  template <std::unsigned_integral T>
  void put(T value) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    store(bytes_.data() + at, value);
  }
  void put_signed(std::int64_t value) { put(static_cast<std::uint64_t>(value)); }
  void put_bool(bool value) { put(static_cast<std::uint8_t>(value ? 1 : 0)); }
  void put_bytes(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  /// u32 length, then the bytes.
  void put_string(std::string_view text) {
    put(static_cast<std::uint32_t>(text.size()));
    put_bytes(std::as_bytes(std::span{text}));
  }
  [[nodiscard]] std::vector<std::byte> take() && { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_{};
};

class Reader final {
 public:
  explicit Reader(std::span<const std::byte> bytes) noexcept : bytes_{bytes} {}

  template <std::unsigned_integral T>
  [[nodiscard]] T get(const char* field) noexcept {
    if (!need(sizeof(T), field)) return 0;
    const T value = load<T>(bytes_.data() + at_);
    at_ += sizeof(T);
    return value;
  }
  [[nodiscard]] std::int64_t get_signed(const char* field) noexcept {
    return static_cast<std::int64_t>(get<std::uint64_t>(field));
  }
  /// 0 or 1; anything else fails.
  [[nodiscard]] bool get_bool(const char* field) noexcept {
    const auto value = get<std::uint8_t>(field);
    if (value > 1) reject(field);
    return value == 1;
  }
  [[nodiscard]] std::string get_string(std::size_t bytes_max, const char* field) {
    const auto length = get<std::uint32_t>(field);
    if (length > bytes_max) reject(field);
    if (!need(length, field)) return {};
    std::string text(length, '\0');
    if (length > 0) std::memcpy(text.data(), bytes_.data() + at_, length);
    at_ += length;
    return text;
  }
  void get_bytes(std::span<std::byte> to, const char* field) noexcept {
    if (!need(to.size(), field)) return;
    if (!to.empty()) std::memcpy(to.data(), bytes_.data() + at_, to.size());
    at_ += to.size();
  }
  /// The field just read holds a value that is not allowed.
  void reject(const char* field) noexcept {
    if (failed_ == nullptr) failed_ = field;
  }

  [[nodiscard]] std::size_t position() const noexcept { return at_; }
  [[nodiscard]] std::size_t left() const noexcept { return bytes_.size() - at_; }
  /// The first field that did not fit, or nullptr.
  [[nodiscard]] const char* failed() const noexcept { return failed_; }

 private:
  [[nodiscard]] bool need(std::size_t bytes, const char* field) noexcept {
    if (failed_ != nullptr) return false;
    if (left() < bytes) {
      failed_ = field;
      return false;
    }
    return true;
  }

  std::span<const std::byte> bytes_;
  std::size_t at_{0};
  const char* failed_{nullptr};
};

}  // namespace remus::link::wire
