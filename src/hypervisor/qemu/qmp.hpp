// A client for QEMU's machine protocol (QMP) that can never hang its caller.
//
// The problem: the guard steers a guest through one socket that QEMU gives to one client at a time, from two
// threads, while events arrive in between; and the socket may belong to something that is not QEMU, or to a
// QEMU that is stuck. The answer: one reader thread takes lines off the socket, hands replies to whoever
// waits for that `id`, and events to subscribers. Every wait has a deadline. Lines are bounded; what is not
// QMP ends the connection with a clear error.
//
// Thread-safe. Callbacks run on the reader thread: they must be quick and must not call execute().
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <tuple>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace remus::hypervisor::qemu {

/// QEMU's version triple, comparable: Version{7,2,0} <= v.
struct Version {
  int major{};
  int minor{};
  int micro{};
  std::string package{};  ///< distribution's suffix, e.g. "Debian 1:7.2+dfsg-7+deb12u18"
  [[nodiscard]] std::string text() const;
  [[nodiscard]] auto triple() const noexcept { return std::tuple{major, minor, micro}; }
  [[nodiscard]] bool at_least(int want_major, int want_minor = 0) const noexcept {
    return std::tuple{major, minor} >= std::tuple{want_major, want_minor};
  }
};

struct Event {
  std::string name{};      ///< "STOP", "RESUME", "COLO_EXIT", ...
  nlohmann::json data{};   ///< object, may be empty
  std::int64_t time_us{};  ///< QEMU's own CLOCK_REALTIME stamp
};

class Qmp final {
 public:
  using Milliseconds = std::chrono::milliseconds;
  static constexpr Milliseconds greeting_timeout{3000};
  static constexpr Milliseconds command_timeout{5000};
  static constexpr std::size_t line_bytes_max = 16UL << 20;  ///< a longer line ends the connection (corrupt)

  /// Connects and negotiates. Errors: not_found (no such socket), refused (not a socket), unreachable (nobody
  /// listens, or no greeting: another client may hold the monitor), corrupt (not QMP).
  static Result<std::shared_ptr<Qmp>> connect(const std::filesystem::path& socket,
                                              Milliseconds timeout = greeting_timeout);
  ~Qmp();
  Qmp(const Qmp&) = delete;
  Qmp& operator=(const Qmp&) = delete;

  /// Runs one command and returns its "return" value. Errors: refused with QEMU's own words (kind not_found
  /// for CommandNotFound/DeviceNotFound), timeout, closed. After a timeout a late reply is thrown away.
  Result<nlohmann::json> execute(std::string_view command,
                                 nlohmann::json arguments = nlohmann::json::object(),
                                 Milliseconds timeout = command_timeout);

  /// Sends a command and does not wait: QEMU carries commands of one client out in order, so a later
  /// execute() returns after this has been done. Its outcome is not told. Errors: closed, timeout (could not
  /// even be sent).
  Status post(std::string_view command, nlohmann::json arguments);

  /// Sends all of a command but its last byte. QEMU reads a command byte by byte, each at several system calls:
  /// what it has read beforehand need not be read while a guest stands still. Any other command first takes it
  /// back. Errors: closed, timeout (could not even be sent).
  Status arm(std::string_view command, nlohmann::json arguments);
  /// Sends the last byte of what is armed. Errors: closed, timeout; invalid (nothing is armed).
  Status fire();
  /// Whether what was fired has been answered, or never will be.
  [[nodiscard]] bool fired_is_answered() const;
  /// Waits for the answer to what was fired; errors as of execute().
  Result<nlohmann::json> await_fired(Milliseconds timeout = command_timeout);

  /// A command of the human monitor; returns what it prints.
  Result<std::string> human(std::string_view line, Milliseconds timeout = command_timeout);

  /// Gives QEMU a duplicate of `fd` under `name` (getfd), for use by a following command of this client.
  Status send_fd(std::string_view name, int fd, Milliseconds timeout = command_timeout);

  /// Calls `callback` for every event until the returned handle is destroyed.
  [[nodiscard]] std::shared_ptr<void> subscribe(std::function<void(const Event&)> callback);

  /// Calls `callback` once when the connection ends (at once if it has). The guest's process may have died.
  void on_closed(std::function<void()> callback);

  [[nodiscard]] bool closed() const;
  void close();

  [[nodiscard]] const Version& version() const noexcept;
  [[nodiscard]] pid_t peer_pid()
      const noexcept;  ///< of the process that created the listening socket; 0 unknown
  [[nodiscard]] const std::filesystem::path& path() const noexcept;

 private:
  class Impl;
  explicit Qmp(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace remus::hypervisor::qemu
