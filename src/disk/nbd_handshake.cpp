// The part of NbdSession before the first request: which export, how large, what it can do.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "disk/nbd_session.hpp"

namespace remus::disk {

using nbd::append;
using nbd::OptionReply;

namespace {

constexpr std::size_t option_header_bytes = 16;

void append_name(std::vector<std::byte>& out, std::string_view text) {
  const auto bytes = std::as_bytes(std::span{text.data(), text.size()});
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void begin_option_reply(std::vector<std::byte>& out, std::uint32_t option, OptionReply kind,
                        std::size_t bytes) {
  append(out, nbd::option_reply_magic, 8);
  append(out, option, 4);
  append(out, static_cast<std::uint32_t>(kind), 4);
  append(out, bytes, 4);
}

}  // namespace

std::uint16_t NbdSession::flags() noexcept {
  // Several connections are one: all of them end in the same sink. Zeroing is never slower than writing.
  return nbd::has_flags | nbd::send_flush | nbd::send_fua | nbd::send_trim | nbd::send_write_zeroes |
         nbd::can_multi_conn | nbd::send_fast_zero;
}

bool NbdSession::is_ours(std::span<const std::byte> name) const {
  return name.empty() ||
         std::ranges::equal(name, std::as_bytes(std::span{export_.name.data(), export_.name.size()}));
}

std::vector<std::byte> NbdSession::greeting() const {
  std::vector<std::byte> out;
  append(out, nbd::init_magic, 8);
  append(out, nbd::option_magic, 8);
  append(out, nbd::handshake_fixed_newstyle | nbd::handshake_no_zeroes, 2);
  return out;
}

Result<std::size_t> NbdSession::take_client_flags(std::span<const std::byte> input) {
  if (input.size() < 4) return 0;
  const auto flags = nbd::load(input.first(4));
  if ((flags & ~std::uint64_t{nbd::handshake_fixed_newstyle | nbd::handshake_no_zeroes}) != 0 ||
      (flags & nbd::handshake_fixed_newstyle) == 0)
    return fail(Errc::corrupt,
                fmt::format("NBD client of '{}' answered the greeting by flags {:#x}", export_.name, flags));
  no_zeroes_ = (flags & nbd::handshake_no_zeroes) != 0;
  flags_seen_ = true;
  return 4;
}

Result<std::size_t> NbdSession::take_option(std::span<const std::byte> input,
                                            std::vector<std::byte>& output) {
  if (input.size() < option_header_bytes) return 0;
  if (const auto magic = nbd::load(input.first(8)); magic != nbd::option_magic)
    return fail(Errc::corrupt,
                fmt::format("NBD client of '{}' sent {:#x} where an option begins", export_.name, magic));
  const auto option = static_cast<std::uint32_t>(nbd::load(input.subspan(8, 4)));
  const auto length = nbd::load(input.subspan(12, 4));
  if (length > option_bytes_max)
    return fail(Errc::corrupt, fmt::format("NBD client of '{}' sent option {} of {} bytes, more than {}",
                                           export_.name, option, length, option_bytes_max));
  if (++options_seen_ > options_max)
    return fail(Errc::corrupt,
                fmt::format("NBD client of '{}' sent more than {} options", export_.name, options_max));
  const std::size_t whole = option_header_bytes + length;
  if (input.size() < whole) {
    --options_seen_;  // it is counted when it is there
    return 0;
  }
  const auto data = input.subspan(option_header_bytes, length);
  switch (option) {
    case std::to_underlying(nbd::Option::export_name):
      if (!is_ours(data))
        return fail(Errc::corrupt,
                    fmt::format("NBD client asked for an export other than '{}'", export_.name));
      answer_export_name(output);
      break;
    case std::to_underlying(nbd::Option::abort):
      begin_option_reply(output, option, OptionReply::ack, 0);
      state_ = State::ended;
      break;
    case std::to_underlying(nbd::Option::list): answer_list(option, data, output); break;
    case std::to_underlying(nbd::Option::info):
    case std::to_underlying(nbd::Option::go): answer_info(option, data, output); break;
    default: begin_option_reply(output, option, OptionReply::unsupported, 0);
  }
  return whole;
}

void NbdSession::answer_export_name(std::vector<std::byte>& output) {
  append(output, export_.bytes, 8);
  append(output, flags(), 2);
  if (!no_zeroes_) output.resize(output.size() + 124);
  state_ = State::transmission;
}

void NbdSession::answer_list(std::uint32_t option, std::span<const std::byte> data,
                             std::vector<std::byte>& output) {
  if (!data.empty()) return begin_option_reply(output, option, OptionReply::invalid, 0);
  begin_option_reply(output, option, OptionReply::server, 4 + export_.name.size());
  append(output, export_.name.size(), 4);
  append_name(output, export_.name);
  begin_option_reply(output, option, OptionReply::ack, 0);
}

void NbdSession::answer_info(std::uint32_t option, std::span<const std::byte> data,
                             std::vector<std::byte>& output) {
  // be32 length of the name, name, be16 number of items wanted, be16 each.
  const auto invalid = [&] { begin_option_reply(output, option, OptionReply::invalid, 0); };
  if (data.size() < 6) return invalid();
  const auto name_bytes = nbd::load(data.first(4));
  if (name_bytes > data.size() - 6) return invalid();
  const auto name = data.subspan(4, name_bytes);
  const auto wanted = nbd::load(data.subspan(4 + name_bytes, 2));
  if (data.size() - 6 - name_bytes != 2 * wanted) return invalid();
  if (!is_ours(name)) return begin_option_reply(output, option, OptionReply::unknown, 0);
  begin_option_reply(output, option, OptionReply::info, 12);
  append(output, nbd::info_export, 2);
  append(output, export_.bytes, 8);
  append(output, flags(), 2);
  begin_option_reply(output, option, OptionReply::info, 14);
  append(output, nbd::info_block_size, 2);
  append(output, 1, 4);
  append(output, export_.preferred, 4);
  append(output, payload_bytes_max, 4);
  begin_option_reply(output, option, OptionReply::ack, 0);
  if (option == static_cast<std::uint32_t>(nbd::Option::go)) state_ = State::transmission;
}

}  // namespace remus::disk
