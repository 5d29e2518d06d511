#include "disk/nbd_session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace remus::disk {

using nbd::Command;
using nbd::Errno;
using nbd::Request;

NbdSession::NbdSession(NbdExport exported, WriteSink& sink) : export_{std::move(exported)}, sink_{&sink} {}

Result<std::size_t> NbdSession::take(std::span<const std::byte> input, std::vector<std::byte>& output) {
  std::size_t taken = 0;
  while (state_ != State::ended) {
    const auto rest = input.subspan(taken);
    Result<std::size_t> step = state_ == State::transmission ? take_request(rest, output)
                               : flags_seen_                 ? take_option(rest, output)
                                                             : take_client_flags(rest);
    if (!step) {
      state_ = State::ended;
      return step;
    }
    if (*step == 0) break;
    taken += *step;
  }
  return taken;
}

Result<std::size_t> NbdSession::take_request(std::span<const std::byte> input,
                                             std::vector<std::byte>& output) {
  if (input.size() < nbd::request_bytes) return 0;
  if (const auto magic = nbd::load(input.first(4)); magic != nbd::request_magic)
    return fail(Errc::corrupt,
                fmt::format("NBD client of '{}' sent {:#x} where a request begins", export_.name, magic));
  const Request request = nbd::load_request(input);
  const auto type = static_cast<Command>(request.type);
  if (type == Command::disconnect) {
    state_ = State::ended;
    return nbd::request_bytes;
  }
  std::size_t payload_bytes = 0;
  if (type == Command::write) {
    if (request.length > payload_bytes_max)
      return fail(Errc::corrupt, fmt::format("NBD client of '{}' writes {} bytes at once; it was told {}",
                                             export_.name, request.length, payload_bytes_max));
    payload_bytes = request.length;
  }
  if (input.size() - nbd::request_bytes < payload_bytes) return 0;
  Errno error = check(request);
  if (error == Errno::none) error = carry_out(request, input.subspan(nbd::request_bytes, payload_bytes));
  if (error != Errno::none) ++counts_.refused;
  std::array<std::byte, nbd::reply_bytes> reply{};
  nbd::store(std::span{reply}.first(4), nbd::reply_magic);
  nbd::store(std::span{reply}.subspan(4, 4), static_cast<std::uint32_t>(error));
  nbd::store(std::span{reply}.subspan(8, 8), request.cookie);
  output.insert(output.end(), reply.begin(), reply.end());
  return nbd::request_bytes + payload_bytes;
}

Errno NbdSession::check(const Request& request) const {
  const auto type = static_cast<Command>(request.type);
  std::uint16_t known = nbd::flag_fua;
  switch (type) {
    case Command::read: return Errno::perm;
    case Command::write:
    case Command::trim: break;
    case Command::write_zeroes: known = nbd::flag_fua | nbd::flag_no_hole | nbd::flag_fast_zero; break;
    case Command::flush: return request.flags == 0 ? Errno::none : Errno::invalid;
    default: return Errno::invalid;
  }
  if ((request.flags & ~known) != 0 || request.length == 0) return Errno::invalid;
  if (request.offset > export_.bytes || export_.bytes - request.offset < request.length)
    return type == Command::trim ? Errno::invalid : Errno::no_space;
  return Errno::none;
}

Errno NbdSession::carry_out(const Request& request, std::span<const std::byte> payload) {
  Status status{};
  switch (static_cast<Command>(request.type)) {
    case Command::write:
      ++counts_.writes;
      counts_.written_bytes += payload.size();
      status = sink_->write(request.offset, payload);
      break;
    case Command::write_zeroes:
      ++counts_.zeroes;
      status = sink_->zero(request.offset, request.length, (request.flags & nbd::flag_no_hole) == 0);
      break;
    case Command::trim:
      ++counts_.trims;
      status = sink_->trim(request.offset, request.length);
      break;
    default:  // a flush, which check() has let pass
      ++counts_.flushes;
      return outcome(sink_->flush());
  }
  if (status && (request.flags & nbd::flag_fua) != 0) status = sink_->flush();
  return outcome(status);
}

Errno NbdSession::outcome(const Status& status) {
  if (status) return Errno::none;
  sink_error_ = status.error();
  switch (status.error().kind) {
    case Errc::exhausted: return Errno::no_space;
    case Errc::invalid: return Errno::invalid;
    default: return Errno::io;
  }
}

}  // namespace remus::disk
