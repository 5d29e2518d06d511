#include "hypervisor/qemu/stream_parser.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

namespace remus::hypervisor::qemu {

namespace {

// Section types of QEMU's migration/savevm.h.
enum Section : std::uint8_t {
  section_eof = 0x00,
  section_start = 0x01,
  section_part = 0x02,
  section_end = 0x03,
  section_subsection = 0x05,
  section_description = 0x06,
  section_configuration = 0x07,
  section_command = 0x08,
  section_footer = 0x7e,
};

// Flags of QEMU's migration/ram.c, in the low bits of each record's address.
constexpr std::uint64_t flag_zero = 0x02;
constexpr std::uint64_t flag_mem_size = 0x04;
constexpr std::uint64_t flag_page = 0x08;
constexpr std::uint64_t flag_eos = 0x10;
constexpr std::uint64_t flag_continue = 0x20;
constexpr std::uint64_t flag_multifd_flush = 0x200;
constexpr std::uint64_t flags_mask = checkpoint::page_bytes - 1;

constexpr std::uint32_t file_magic = 0x5145564d;  // "QEVM"
constexpr std::uint32_t file_version = 3;
constexpr std::uint16_t command_ping = 2;
constexpr std::size_t subsections_max = 16;
constexpr std::uint64_t report_every_bytes = 8ULL << 20;

void keep(std::vector<std::byte>& out, const std::byte* data, std::size_t bytes) {
  if (data != nullptr) out.insert(out.end(), data, data + bytes);
}

/// Length of the JSON description if `data` is whole devices + 00 + 06 + description: the position of that
/// 00.
std::optional<std::size_t> devices_end(std::span<const std::byte> data) {
  const auto at = [&](std::size_t i) { return std::to_integer<std::uint32_t>(data[i]); };
  if (data.size() < 8 || data.back() != std::byte{'}'}) return std::nullopt;
  for (std::size_t i = 0; i + 7 < data.size(); ++i) {
    if (at(i) != section_eof || at(i + 1) != section_description || at(i + 6) != '{') continue;
    const std::size_t length = at(i + 2) << 24U | at(i + 3) << 16U | at(i + 4) << 8U | at(i + 5);
    if (i + 6 + length != data.size()) continue;
    const auto* text = reinterpret_cast<const char*>(data.data()) + i + 6;
    if (nlohmann::json::accept(text, text + length)) return i;
  }
  return std::nullopt;
}

}  // namespace

Result<StreamCounts> StreamParser::initial(ByteSource& source, checkpoint::CheckpointSink& sink,
                                           const StreamHooks& hooks) {
  StreamWindow in{source, sink};
  Run run{in, sink, hooks, {}, {}};
  *this = StreamParser{};
  if (in.be32() != file_magic) in.fail_at("QEMU's magic number");
  if (in.be32() != file_version) in.fail_at("stream version 3");
  bool done = false;
  while (!done && !in.failed()) {
    switch (const std::uint8_t type = in.u8(); type) {
      case section_configuration: configuration(run); break;
      case section_command: command(run); break;
      case section_start: ram_section(run, true); break;
      case section_part: ram_section(run, false); break;
      case section_end:
        if (hooks.paused) hooks.paused();
        ram_section(run, false);
        done = true;
        break;
      default: in.fail_at(fmt::format("a section, not {:#04x}", type));
    }
  }
  if (!in.failed() && hooks.ram_done) hooks.ram_done();
  if (!in.failed()) initial_devices(run);
  if (in.failed()) return std::unexpected(in.error());
  return run.counts;
}

Result<StreamCounts> StreamParser::checkpoint(ByteSource& source, checkpoint::CheckpointSink& sink,
                                              const StreamHooks& hooks) {
  StreamWindow in{source, sink};
  Run run{in, sink, hooks, {}, ~std::uint64_t{0}};
  bool done = false;
  while (!done && !in.failed()) {
    switch (const std::uint8_t type = in.u8(); type) {
      case section_command: command(run); break;
      case section_start:
      case section_part:
      case section_end: ram_section(run, type == section_start); break;
      case section_eof: done = true; break;
      default: in.fail_at(fmt::format("a ram section or its end, not {:#04x}", type));
    }
  }
  if (!in.failed() && hooks.ram_done) hooks.ram_done();
  if (!in.failed()) checkpoint_devices(run);
  if (in.failed()) return std::unexpected(in.error());
  return run.counts;
}

void StreamParser::configuration(Run& run) {
  StreamWindow& in = run.in;
  auto& out = preamble_.configuration;
  if (!out.empty()) return in.fail_at("only one configuration section");
  out.push_back(std::byte{section_configuration});
  const auto keep_name = [&] {
    const std::string_view name = in.name();
    out.push_back(static_cast<std::byte>(name.size()));
    keep(out, reinterpret_cast<const std::byte*>(name.data()), name.size());
    return name;
  };
  const auto keep_be32 = [&] {
    const std::byte* data = in.take(4);
    keep(out, data, 4);
    std::uint32_t value = 0;
    for (int i = 0; data != nullptr && i < 4; ++i)
      value = value << 8U | std::to_integer<std::uint32_t>(data[i]);
    return value;
  };
  const std::uint32_t length = keep_be32();
  if (length == 0 || length > 256) return in.fail_at("a machine name of at most 256 bytes");
  keep(out, in.take(length), length);
  // A subsection follows if the next byte says so; only pending bytes tell, and there is always a next
  // section.
  for (std::size_t count = 0; !in.failed(); ++count) {
    if (in.pending().empty() && !in.receive_more()) return;
    if (in.pending().front() != std::byte{section_subsection}) return;
    if (count == subsections_max) return in.fail_at("at most 16 subsections of the configuration");
    out.push_back(static_cast<std::byte>(in.u8()));
    const std::string subsection{keep_name()};
    static_cast<void>(keep_be32());
    if (subsection == "configuration/capabilities") {
      const std::uint32_t capabilities = keep_be32();
      if (capabilities > 64) return in.fail_at("at most 64 capabilities");
      for (std::uint32_t i = 0; i < capabilities && !in.failed(); ++i) static_cast<void>(keep_name());
    } else if (subsection == "configuration/target-page-bits") {
      if (keep_be32() != 12) return in.fail_at("a guest with pages of 4096 bytes");
    } else if (subsection == "configuration/uuid") {
      keep(out, in.take(16), 16);
    } else {
      return in.fail_at(fmt::format("a known subsection of the configuration, not '{:.40}'", subsection));
    }
  }
}

void StreamParser::command(Run& run) {
  const std::uint16_t number = run.in.be16();
  const std::uint16_t length = run.in.be16();
  const std::byte* data = run.in.take(length);
  if (data == nullptr || number != command_ping || length != 4 || !run.hooks.ping) return;
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8U | std::to_integer<std::uint32_t>(data[i]);
  run.hooks.ping(value);
}

void StreamParser::ram_section(Run& run, bool start) {
  StreamWindow& in = run.in;
  const std::uint32_t id = in.be32();
  if (start) {
    if (const std::string_view name = in.name(); name != "ram" && !in.failed())
      return in.fail_at(
          fmt::format("section 'ram', not '{:.40}': an unsupported device keeps live state", name));
    preamble_.ram_section_id = id;
    preamble_.ram_instance = in.be32();
    preamble_.ram_version = in.be32();
    if (preamble_.ram_version != 4) return in.fail_at("version 4 of section 'ram'");
  } else if (layout_.blocks.empty()) {
    return in.fail_at("the start of section 'ram' first");
  } else if (id != preamble_.ram_section_id) {
    return in.fail_at(fmt::format("section {}, not {}", preamble_.ram_section_id, id));
  }
  ram_records(run);
  footer(run);
}

void StreamParser::footer(Run& run) {
  if (run.in.u8() != section_footer) return run.in.fail_at("a section footer");
  if (run.in.be32() != preamble_.ram_section_id) run.in.fail_at("the footer of section 'ram'");
}

void StreamParser::ram_records(Run& run) {
  StreamWindow& in = run.in;
  while (!in.failed()) {
    const std::uint64_t header = in.be64();
    const std::uint64_t flags = header & flags_mask;
    const std::uint64_t address = header & ~flags_mask;
    if (in.failed()) return;
    if (flags == flag_eos) return in.commit();
    if (flags == flag_mem_size) {
      block_list(run, address);
    } else if ((flags & ~flag_continue) == flag_page || (flags & ~flag_continue) == flag_zero) {
      ram_page(run, flags, address);
    } else if (flags != flag_multifd_flush) {
      in.fail_at(fmt::format("a known ram record, not flags {:#x}", flags));
    }
  }
}

void StreamParser::ram_page(Run& run, std::uint64_t flags, std::uint64_t address) {
  StreamWindow& in = run.in;
  if ((flags & flag_continue) == 0) {
    const std::string_view name = in.name();
    const auto found = std::ranges::find(layout_.blocks, name, &checkpoint::Block::name);
    if (found == layout_.blocks.end())
      return in.fail_at(fmt::format("a known ram block, not '{:.40}'", name));
    current_block_ = static_cast<std::size_t>(found - layout_.blocks.begin());
  }
  if (current_block_ >= layout_.blocks.size()) return in.fail_at("a ram block's name before its first page");
  const checkpoint::Block& block = layout_.blocks[current_block_];
  if (address >= block.bytes)
    return in.fail_at(fmt::format("a page within block '{}', not {:#x}", block.name, address));
  const auto index = block.first_page + static_cast<checkpoint::PageIndex>(address / checkpoint::page_bytes);
  if ((flags & flag_zero) != 0) {
    if (in.u8() != 0) return in.fail_at("a page filled with zero");
    if (in.failed()) return;
    run.sink.zero_page(index);
    ++run.counts.zero_pages;
  } else {
    const std::byte* data = in.take(checkpoint::page_bytes);
    if (data == nullptr) return;
    in.commit();
    run.sink.page(index, data);
    ++run.counts.pages;
  }
  if (in.offset() >= run.next_report_bytes && run.hooks.progress) {
    run.next_report_bytes = in.offset() + report_every_bytes;
    const std::uint64_t done = (run.counts.pages + run.counts.zero_pages) * checkpoint::page_bytes;
    const std::uint64_t total = std::uint64_t{layout_.pages()} * checkpoint::page_bytes;
    run.hooks.progress({std::min(done, total), total});
  }
}

void StreamParser::block_list(Run& run, std::uint64_t total) {
  StreamWindow& in = run.in;
  if (!layout_.blocks.empty()) return in.fail_at("only one list of ram blocks");
  if (total == 0 || total > ram_bytes_max) return in.fail_at("between 4 KiB and 16 TiB of memory");
  checkpoint::Layout layout;
  while (total > 0) {
    std::string name{in.name()};
    const std::uint64_t bytes = in.be64();
    if (in.failed()) return;
    if (layout.blocks.size() == blocks_max) return in.fail_at("at most 1024 ram blocks");
    if (name.empty() ||
        std::ranges::find(layout.blocks, name, &checkpoint::Block::name) != layout.blocks.end())
      return in.fail_at("a ram block's name that was not there before");
    if (bytes == 0 || bytes > total || bytes % checkpoint::page_bytes != 0)
      return in.fail_at(
          fmt::format("whole pages within the total for block '{}', not {} bytes", name, bytes));
    total -= bytes;
    layout.add(std::move(name), bytes);
  }
  layout_ = std::move(layout);
  // All that came before goes to the sink's past; from here on its layout is known.
  in.commit();
  run.sink.layout(layout_);
}

void StreamParser::initial_devices(Run& run) {
  StreamWindow& in = run.in;
  std::optional<std::size_t> end;
  for (;;) {
    end = devices_end(in.pending());
    if (end) break;
    if (in.pending().size() > device_bytes_max) return in.fail_at("at most 256 MiB of device state");
    if (!in.receive_more()) return;
  }
  devices(run, *end + 1, in.pending().size() - *end - 1);
}

void StreamParser::checkpoint_devices(Run& run) {
  StreamWindow& in = run.in;
  if (in.be32() != static_cast<std::uint32_t>(ColoMessage::vmstate_size))
    return in.fail_at("message VMSTATE_SIZE");
  const std::uint64_t bytes = in.be64();
  if (bytes == 0 || bytes > device_bytes_max) return in.fail_at("between 1 byte and 256 MiB of device state");
  devices(run, static_cast<std::size_t>(bytes), 0);
}

/// The next `bytes` bytes are device sections, then `description` bytes that nobody needs.
void StreamParser::devices(Run& run, std::size_t bytes, std::size_t description) {
  StreamWindow& in = run.in;
  const std::size_t trailer = trailer_bytes(preamble_);
  std::byte* data = in.take(bytes + description, trailer);
  if (data == nullptr) return;
  if (data[bytes - 1] != std::byte{section_eof}) return in.fail_at("device state that ends with 00");
  if (!in.pending().empty()) return in.fail_at("silence after the device state");
  if (description < trailer) in.append(trailer);
  write_trailer(data + bytes, preamble_);
  in.commit();
  run.counts.device_bytes = bytes;
  run.sink.device_state({data, bytes + trailer});
}

}  // namespace remus::hypervisor::qemu
