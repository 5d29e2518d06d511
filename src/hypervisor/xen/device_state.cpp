#include "hypervisor/xen/device_state.hpp"

#include <fmt/format.h>

#include <cstring>
#include <string_view>

#include "base/assert.hpp"

namespace remus::hypervisor::xen {

namespace {

constexpr std::string_view magic = "RXENDS01";

struct SectionHeader {
  std::uint32_t kind{};
  std::uint32_t zero{};
  std::uint64_t length_bytes{};
};
static_assert(sizeof(SectionHeader) == 16);

template <typename T>
T load(std::span<const std::byte> bytes) noexcept {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

bool all_zero(std::span<const std::byte> bytes) noexcept {
  for (const std::byte each : bytes)
    if (each != std::byte{0}) return false;
  return true;
}

Status check_page_types(const DeviceState& state) {
  if (state.page_types.size() % sizeof(std::uint64_t) != 0)
    return fail(Errc::corrupt,
                fmt::format("device state: {} bytes of page types are no whole number of entries",
                            state.page_types.size()));
  std::uint64_t next_pfn = 0;
  for (std::size_t i = 0; i < state.page_type_count(); ++i) {
    const std::uint64_t entry = state.page_type(i);
    const std::uint64_t type = type_of(entry);
    if (entry >> 52 != type << 8 || pfn_of(entry) < next_pfn ||
        (!is_page_table(type) && type < page_type::broken))
      return fail(Errc::corrupt,
                  fmt::format("device state: page type {} ({:#x}) is not one or out of order", i, entry));
    next_pfn = pfn_of(entry) + 1;
  }
  return {};
}

}  // namespace

void DeviceStateWriter::clear() {
  buffer_.clear();
  section_at_ = 0;
  last_ = 0;
  append(std::as_bytes(std::span{magic}));
}

void DeviceStateWriter::begin(Section section) {
  const auto kind = static_cast<std::uint32_t>(section);
  REMUS_ASSERT("pre", section_at_ == 0 && kind > last_,
               "sections come one after the other, in ascending order");
  section_at_ = buffer_.size();
  last_ = kind;
  append(bytes_of(SectionHeader{kind, 0, 0}));
}

void DeviceStateWriter::append(std::span<const std::byte> bytes) {
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void DeviceStateWriter::record(Libxc type, std::initializer_list<std::span<const std::byte>> body) {
  std::size_t length = 0;
  for (const auto piece : body) length += piece.size();
  REMUS_ASSERT("pre", last_ == static_cast<std::uint32_t>(Section::records) && length <= record_bytes_max,
               "records stand in the section of records, and have a bound");
  append(bytes_of(RecordHeader{static_cast<std::uint32_t>(type), static_cast<std::uint32_t>(length)}));
  for (const auto piece : body) append(piece);
  pad();
}

std::span<std::byte> DeviceStateWriter::grow(std::size_t bytes) {
  const std::size_t at = buffer_.size();
  buffer_.resize(at + bytes);
  return std::span{buffer_}.subspan(at);
}

void DeviceStateWriter::end() {
  REMUS_ASSERT("pre", section_at_ != 0, "only a section that was begun can end");
  const std::uint64_t length = buffer_.size() - section_at_ - sizeof(SectionHeader);
  std::memcpy(buffer_.data() + section_at_ + offsetof(SectionHeader, length_bytes), &length, sizeof length);
  section_at_ = 0;
  pad();
}

void DeviceStateWriter::pad() {
  buffer_.resize(static_cast<std::size_t>(padded(buffer_.size())));
}

std::uint64_t DeviceState::page_type(std::size_t index) const noexcept {
  return load<std::uint64_t>(page_types.subspan(index * sizeof(std::uint64_t)));
}

Result<DeviceState> parse_device_state(std::span<const std::byte> bytes) {
  if (bytes.size() > device_state_bytes_max)
    return fail(Errc::exhausted, fmt::format("device state of {} bytes: more than the {} allowed",
                                             bytes.size(), device_state_bytes_max));
  if (bytes.size() < magic.size() || std::memcmp(bytes.data(), magic.data(), magic.size()) != 0)
    return fail(Errc::corrupt, "this is no device state of a Xen guest (it does not begin with RXENDS01)",
                "use the same version of Remus on both hosts");
  DeviceState state;
  std::uint32_t last = 0;
  std::size_t at = magic.size();
  while (at < bytes.size()) {
    if (bytes.size() - at < sizeof(SectionHeader))
      return fail(Errc::corrupt, fmt::format("device state ends within a section's header, at byte {}", at));
    const auto header = load<SectionHeader>(bytes.subspan(at));
    at += sizeof(SectionHeader);
    if (header.kind <= last || header.kind > static_cast<std::uint32_t>(Section::emulator_context) ||
        header.zero != 0)
      return fail(Errc::corrupt,
                  fmt::format("device state has a section of unknown or repeated kind {}", header.kind));
    if (header.length_bytes > bytes.size() - at || padded(header.length_bytes) > bytes.size() - at)
      return fail(Errc::corrupt, fmt::format("device state ends within section {}, which is {} bytes long",
                                             header.kind, header.length_bytes));
    const auto body = bytes.subspan(at, static_cast<std::size_t>(header.length_bytes));
    at += static_cast<std::size_t>(padded(header.length_bytes));
    if (!all_zero({body.data() + body.size(), bytes.data() + at}))
      return fail(Errc::corrupt,
                  fmt::format("device state: section {} is not padded with zeros", header.kind));
    last = header.kind;
    switch (static_cast<Section>(header.kind)) {
      case Section::records: state.records = body; break;
      case Section::page_types: state.page_types = body; break;
      case Section::emulator_xenstore: state.emulator_xenstore = body; break;
      case Section::emulator_context: state.emulator_context = body; break;
    }
  }
  if (auto good = visit_records(state.records, [](const Record&) -> Status { return {}; }); !good)
    return std::unexpected(good.error().in("device state"));
  if (auto good = check_page_types(state); !good) return std::unexpected(good.error());
  return state;
}

Status visit_records(std::span<const std::byte> records, const std::function<Status(const Record&)>& visit) {
  for (std::size_t at = 0; at < records.size();) {
    if (records.size() - at < sizeof(RecordHeader))
      return fail(Errc::corrupt, fmt::format("a record's header is cut off at byte {}", at));
    const auto header = load<RecordHeader>(records.subspan(at));
    at += sizeof(RecordHeader);
    const std::uint64_t whole = padded(header.length_bytes);
    if (header.length_bytes > record_bytes_max || whole > records.size() - at)
      return fail(Errc::corrupt,
                  fmt::format("a record of type {:#x} at byte {} claims {} bytes; {} are left", header.type,
                              at - sizeof(RecordHeader), header.length_bytes, records.size() - at));
    if (auto seen = visit({header.type, records.subspan(at, header.length_bytes)}); !seen) return seen;
    at += static_cast<std::size_t>(whole);
  }
  return {};
}

}  // namespace remus::hypervisor::xen
