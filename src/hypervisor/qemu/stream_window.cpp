#include "hypervisor/qemu/stream_window.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/assert.hpp"

namespace remus::hypervisor::qemu {

namespace {

template <typename T>
T big_endian(const std::byte* data) noexcept {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value =
        static_cast<T>(static_cast<T>(value << 8U) | static_cast<T>(std::to_integer<std::uint8_t>(data[i])));
  return value;
}

}  // namespace

std::uint8_t StreamWindow::u8() {
  const std::byte* data = take(1);
  return data == nullptr ? std::uint8_t{0} : std::to_integer<std::uint8_t>(*data);
}

std::uint16_t StreamWindow::be16() {
  const std::byte* data = take(2);
  if (data == nullptr) return 0;
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(data[0]) << 8U |
                                    std::to_integer<unsigned>(data[1]));
}

std::uint32_t StreamWindow::be32() {
  const std::byte* data = take(4);
  return data == nullptr ? 0 : big_endian<std::uint32_t>(data);
}

std::uint64_t StreamWindow::be64() {
  const std::byte* data = take(8);
  return data == nullptr ? 0 : big_endian<std::uint64_t>(data);
}

std::string_view StreamWindow::name() {
  const std::size_t length = u8();
  const std::byte* data = length == 0 ? nullptr : take(length);
  if (data == nullptr) return {};
  return {reinterpret_cast<const char*>(data), length};
}

void StreamWindow::commit() {
  if (parsed_ == committed_) return;
  sink_.advance(static_cast<std::size_t>(parsed_ - committed_));
  committed_ = parsed_;
}

void StreamWindow::append(std::size_t bytes) noexcept {
  REMUS_ASSERT("pre", parsed_ == filled_ && static_cast<std::size_t>(limit_ - parsed_) >= bytes,
               "only the room after the last bytes received may be written");
  parsed_ += bytes;
  filled_ += bytes;
}

bool StreamWindow::receive_more() {
  return fetch(static_cast<std::size_t>(filled_ - parsed_) + 1, 0);
}

void StreamWindow::fail_at(std::string_view expected) {
  if (error_) return;
  error_ = Error{Errc::corrupt,
                 fmt::format("QEMU's stream is malformed at byte {}: expected {}", offset_, expected),
                 "this QEMU's version may not be supported: see docs/qemu.md"};
}

void StreamWindow::fail_with(Error error) {
  if (!error_) error_ = std::move(error);
}

bool StreamWindow::fetch(std::size_t bytes, std::size_t room) {
  if (error_) return false;
  const auto waiting = static_cast<std::size_t>(filled_ - parsed_);
  if (static_cast<std::size_t>(limit_ - parsed_) < bytes + room) {
    commit();
    const auto fresh = sink_.space(std::max(bytes + room, chunk_bytes));
    if (fresh.size() < bytes + room) {
      fail_with({Errc::exhausted,
                 fmt::format("the checkpoint buffer is full: no room for {} bytes", bytes + room), ""});
      return false;
    }
    // The same place as before unless the sink's current piece of memory was too short for what is to come.
    if (waiting > 0 && fresh.data() != parsed_) std::memmove(fresh.data(), parsed_, waiting);
    committed_ = parsed_ = fresh.data();
    filled_ = parsed_ + waiting;
    limit_ = parsed_ + fresh.size();
  }
  while (static_cast<std::size_t>(filled_ - parsed_) < bytes) {
    // Not more at a time than a chunk: memory beyond is not touched for nothing.
    const auto free = std::min(static_cast<std::size_t>(limit_ - filled_), std::max(chunk_bytes, bytes));
    auto got = source_.read({filled_, free});
    if (!got) {
      fail_with(got.error().in(fmt::format("reading QEMU's stream at byte {}", offset_ + waiting)));
      return false;
    }
    filled_ += *got;
  }
  return true;
}

}  // namespace remus::hypervisor::qemu
