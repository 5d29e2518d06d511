#include "hypervisor/qemu/activation_stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace remus::hypervisor::qemu {

namespace {

using checkpoint::page_bytes;

constexpr std::string_view capabilities_subsection = "configuration/capabilities";
constexpr std::string_view ignore_shared = "x-ignore-shared";

class Writer final {
 public:
  void u8(std::uint8_t value) { bytes_.push_back(static_cast<std::byte>(value)); }
  void be32(std::uint32_t value) { big_endian(value, 4); }
  void be64(std::uint64_t value) { big_endian(value, 8); }
  void raw(std::span<const std::byte> data) { bytes_.insert(bytes_.end(), data.begin(), data.end()); }
  void text(std::string_view value) { raw(std::as_bytes(std::span{value})); }
  void name(std::string_view value) {
    u8(static_cast<std::uint8_t>(value.size()));
    text(value);
  }
  void reserve(std::size_t bytes) { bytes_.reserve(bytes); }
  std::vector<std::byte> take() && { return std::move(bytes_); }

 private:
  void big_endian(std::uint64_t value, unsigned width) {
    for (unsigned i = width; i > 0; --i) u8(static_cast<std::uint8_t>(value >> (8U * (i - 1))));
  }
  std::vector<std::byte> bytes_{};
};

bool is_zero(const std::byte* page) noexcept {
  static constexpr std::array<std::byte, page_bytes> zeros{};
  return std::memcmp(page, zeros.data(), page_bytes) == 0;
}

const MemoryBackend* shared_backend(const std::vector<MemoryBackend>& shared, const std::string& block) {
  const auto found = std::ranges::find(shared, block, &MemoryBackend::ramblock);
  return found == shared.end() ? nullptr : &*found;
}

/// A waiting QEMU's video memory is all zero; ROMs are not, so there zero pages must be sent as well.
bool begins_as_zeros(std::string_view block) {
  return block.find("vram") != std::string_view::npos;
}

void write_block_pages(Writer& out, const checkpoint::Block& block, std::span<const std::byte> memory) {
  constexpr std::uint64_t flag_zero = 0x02;
  constexpr std::uint64_t flag_page = 0x08;
  constexpr std::uint64_t flag_continue = 0x20;
  bool named = false;
  for (std::uint64_t offset = 0; offset < block.bytes; offset += page_bytes) {
    const std::byte* page = memory.data() + offset;
    const bool zero = is_zero(page);
    if (zero && begins_as_zeros(block.name)) continue;
    out.be64(offset | (zero ? flag_zero : flag_page) | (named ? flag_continue : 0));
    if (!named) out.name(block.name);
    named = true;
    if (zero) {
      out.u8(0);
    } else {
      out.raw({page, page_bytes});
    }
  }
}

}  // namespace

Result<std::vector<std::byte>> activation_stream(const DeviceBlob& blob, const StandbyMemory& memory,
                                                 const std::vector<MemoryBackend>& shared) {
  if (memory.blocks.size() != memory.layout.blocks.size())
    return fail(Errc::internal, "the standby's memory does not fit its layout");
  const std::string_view configuration{reinterpret_cast<const char*>(blob.configuration.data()),
                                       blob.configuration.size()};
  if (configuration.find(capabilities_subsection) != std::string_view::npos)
    return fail(Errc::incompatible,
                "the primary's QEMU sent migration capabilities that the standby cannot repeat");
  Writer out;
  out.reserve(blob.sections.size() + (4UL << 20));
  out.text("QEVM");
  out.be32(3);
  out.raw(blob.configuration);
  // x-ignore-shared changes the stream, so QEMU wants to see that the sender had it, too.
  out.u8(0x05);
  out.name(capabilities_subsection);
  out.be32(1);
  out.be32(1);
  out.name(ignore_shared);

  constexpr std::uint64_t flag_mem_size = 0x04;
  constexpr std::uint64_t flag_eos = 0x10;
  const auto footer = [&] {
    out.be64(flag_eos);
    out.u8(0x7e);
    out.be32(blob.ram_section_id);
  };
  std::uint64_t total = 0;
  for (const auto& block : memory.layout.blocks) total += block.bytes;
  out.u8(0x01);
  out.be32(blob.ram_section_id);
  out.name("ram");
  out.be32(blob.ram_instance);
  out.be32(blob.ram_version);
  out.be64(total | flag_mem_size);
  for (const auto& block : memory.layout.blocks) {
    const MemoryBackend* backend = shared_backend(shared, block.name);
    out.name(block.name);
    out.be64(block.bytes);
    out.be64(backend == nullptr ? 0 : backend->address);
  }
  footer();
  out.u8(0x03);
  out.be32(blob.ram_section_id);
  for (std::size_t i = 0; i < memory.blocks.size(); ++i)
    if (shared_backend(shared, memory.layout.blocks[i].name) == nullptr)
      write_block_pages(out, memory.layout.blocks[i], memory.blocks[i]);
  footer();
  out.raw(blob.sections);
  out.u8(0x06);
  out.be32(2);
  out.text("{}");
  return std::move(out).take();
}

}  // namespace remus::hypervisor::qemu
