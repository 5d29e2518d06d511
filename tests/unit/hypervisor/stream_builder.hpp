// Builds QEMU streams byte by byte, as tests and seeds of the fuzzer want them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hypervisor/qemu/byte_source.hpp"

namespace remus::test {

class StreamBuilder final {
 public:
  StreamBuilder& u8(std::uint64_t value) { return number(value, 1); }
  StreamBuilder& be16(std::uint64_t value) { return number(value, 2); }
  StreamBuilder& be32(std::uint64_t value) { return number(value, 4); }
  StreamBuilder& be64(std::uint64_t value) { return number(value, 8); }
  StreamBuilder& text(std::string_view value) {
    for (const char c : value) u8(static_cast<std::uint8_t>(c));
    return *this;
  }
  StreamBuilder& name(std::string_view value) { return u8(value.size()).text(value); }

  StreamBuilder& head(std::string_view machine = "pc-i440fx-7.2") {
    return text("QEVM").be32(3).u8(7).be32(machine.size()).text(machine);
  }
  StreamBuilder& command(std::uint16_t number, std::string_view data = "") {
    return u8(8).be16(number).be16(data.size()).text(data);
  }
  StreamBuilder& ram_start() { return u8(1).be32(2).name("ram").be32(0).be32(4); }
  StreamBuilder& ram(std::uint8_t type) { return u8(type).be32(2); }
  StreamBuilder& ram_done() { return be64(0x10).u8(0x7e).be32(2); }
  StreamBuilder& blocks(const std::vector<std::pair<std::string, std::uint64_t>>& list) {
    std::uint64_t total = 0;
    for (const auto& [block, bytes] : list) total += bytes;
    be64(total | 4);
    for (const auto& [block, bytes] : list) name(block).be64(bytes);
    return *this;
  }
  StreamBuilder& page(std::uint64_t offset, char fill, std::string_view block = "") {
    be64(offset | 8 | (block.empty() ? 0x20 : 0));
    if (!block.empty()) name(block);
    return text(std::string(4096, fill));
  }
  StreamBuilder& zero(std::uint64_t offset, std::string_view block = "") {
    be64(offset | 2 | (block.empty() ? 0x20 : 0));
    if (!block.empty()) name(block);
    return u8(0);
  }
  StreamBuilder& description(std::string_view json = R"({"devices":[]})") {
    return u8(6).be32(json.size()).text(json);
  }

  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  StreamBuilder& number(std::uint64_t value, unsigned width) {
    for (unsigned i = width; i > 0; --i) bytes_.push_back(static_cast<std::byte>(value >> (8U * (i - 1))));
    return *this;
  }
  std::vector<std::byte> bytes_{};
};

/// Gives bytes out in pieces of at most `piece` bytes, then says closed.
class MemorySource final : public hypervisor::qemu::ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> bytes, std::size_t piece = 1UL << 20)
      : bytes_{bytes}, piece_{piece} {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    const std::size_t count = std::min({into.size(), piece_, bytes_.size()});
    if (count == 0) return fail(Errc::closed, "the stream ends");
    std::copy_n(bytes_.begin(), count, into.begin());
    bytes_ = bytes_.subspan(count);
    return count;
  }
  [[nodiscard]] std::size_t left() const { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  std::size_t piece_;
};

/// An initial stream of two blocks, 6 pages, and a checkpoint's stream that follows it.
inline StreamBuilder sample_initial() {
  StreamBuilder out;
  out.head().u8(5).name("configuration/target-page-bits").be32(1).be32(12);
  out.command(8).ram_start().blocks({{"pc.ram", 16384}, {"pc.bios", 8192}}).ram_done();
  out.ram(2).page(0, 'a', "pc.ram").page(4096, 'b').zero(8192).ram_done();
  out.ram(3).page(12288, 'd').page(0, 'X', "pc.bios").zero(4096).ram_done();
  out.u8(4).be32(7).name("timer").text("device state").u8(0x7e).be32(7).u8(0).description();
  return out;
}
inline StreamBuilder sample_checkpoint() {
  StreamBuilder out;
  out.ram(3).page(4096, 'Y').page(4096, 'B', "pc.ram").zero(0).ram_done().u8(0);
  out.be32(4).be64(10).text("DEVSTATE!").u8(0);
  return out;
}

}  // namespace remus::test
