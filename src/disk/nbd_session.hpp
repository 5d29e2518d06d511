// One client's conversation with our NBD server, without sockets.
//
// QEMU mirrors a guest's writes to an NBD export; this takes the bytes it sends and hands each write, zero, trim and
// flush to a WriteSink, in the order they come. Bytes in, bytes out: the server's threads move them, and tests and the
// fuzzer do so without any.
//
//   handshake:  greeting ▶ ◀ flags   ◀ option ▶ answers  ...  ◀ GO ▶ size, block sizes, ack
//   after it:   ◀ request [payload] ▶ reply              (write data goes to the sink where it lies: no copy here)
//
// The export takes writes and gives nothing back: whoever mirrors to it keeps the disk, so reads are refused (EPERM).
// Every request is answered when the sink has returned, in order. FUA and flush mean what the sink's flush() means.
// What breaks the protocol ends the conversation (Errc::corrupt); what is merely out of bounds is answered by an error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "disk/nbd_wire.hpp"
#include "disk/write_sink.hpp"

namespace remus::disk {

struct NbdExport {
  std::string name{};             ///< clients ask for it, or for "", the default
  std::uint64_t bytes{};          ///< of the disk
  std::uint32_t preferred{4096};  ///< bytes of the unit clients do best to write in
};

class NbdSession final {
 public:
  /// The longest payload, told to the client as the largest block; a longer one breaks the protocol.
  static constexpr std::uint32_t payload_bytes_max = 4U << 20U;
  static constexpr std::uint32_t option_bytes_max = 8192;  ///< more than the longest legal name, 4096
  static constexpr unsigned options_max = 64;

  enum class State : std::uint8_t { handshake, transmission, ended };

  /// What was served. `refused`: requests answered by an error.
  struct Counts {
    std::uint64_t writes{};
    std::uint64_t written_bytes{};
    std::uint64_t zeroes{};
    std::uint64_t trims{};
    std::uint64_t flushes{};
    std::uint64_t refused{};
  };

  /// `sink` outlives the session.
  NbdSession(NbdExport exported, WriteSink& sink);

  /// Takes as many whole messages off the front of `input` as there are, and appends the answers to `output`. Returns
  /// how many bytes it took; call again with the rest and what came after it. 0: the message at the front needs more
  /// (at most input_bytes_max together). Errors: corrupt, after which the connection is to be closed once `output`
  /// was sent.
  Result<std::size_t> take(std::span<const std::byte> input, std::vector<std::byte>& output);

  static constexpr std::size_t input_bytes_max = nbd::request_bytes + payload_bytes_max;

  [[nodiscard]] std::vector<std::byte> greeting() const;
  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] const Counts& counts() const noexcept { return counts_; }
  /// The last error of the sink, for whoever must know why the client was refused.
  [[nodiscard]] const std::optional<Error>& sink_error() const noexcept { return sink_error_; }

 private:
  Result<std::size_t> take_client_flags(std::span<const std::byte> input);
  Result<std::size_t> take_option(std::span<const std::byte> input, std::vector<std::byte>& output);
  void answer_info(std::uint32_t option, std::span<const std::byte> data, std::vector<std::byte>& output);
  void answer_export_name(std::vector<std::byte>& output);
  void answer_list(std::uint32_t option, std::span<const std::byte> data, std::vector<std::byte>& output);
  Result<std::size_t> take_request(std::span<const std::byte> input, std::vector<std::byte>& output);
  nbd::Errno carry_out(const nbd::Request& request, std::span<const std::byte> payload);
  nbd::Errno check(const nbd::Request& request) const;
  nbd::Errno outcome(const Status& status);
  [[nodiscard]] bool is_ours(std::span<const std::byte> name) const;
  [[nodiscard]] static std::uint16_t flags() noexcept;

  NbdExport export_;
  WriteSink* sink_;
  State state_{State::handshake};
  bool flags_seen_{};
  bool no_zeroes_{};
  unsigned options_seen_{};
  Counts counts_{};
  std::optional<Error> sink_error_{};
};

}  // namespace remus::disk
