// One running guard, as the daemon sees it: is it there, what did it say last, what can be asked of it.
//
// Whether it is there is asked of the kernel (pidfd), so that a guard that is stopped or busy is never taken
// for dead. What it says is polled and kept with its age, so that every reader can tell news from memories.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "daemon/process.hpp"
#include "daemon/task.hpp"
#include "guard/api.hpp"
#include "http/client.hpp"

namespace remus::daemon {

class GuardHandle final : public std::enable_shared_from_this<GuardHandle> {
 public:
  static constexpr std::chrono::milliseconds poll_interval{250};
  static constexpr std::chrono::milliseconds poll_timeout{2000};

  struct Handlers {
    std::function<void(const guard::GuardStatus& status)> on_status{};
    std::function<void(const guard::GuardEvent& event)> on_event{};
    std::function<void(const std::string& how)> on_exit{};  ///< neither guard nor keeper exists any more
  };

  /// `pid`: of the process that was started (the keeper, on a primary); `ticks` 0: just started by us.
  [[nodiscard]] static Result<std::shared_ptr<GuardHandle>> open(boost::asio::io_context& io,
                                                                 std::filesystem::path socket, pid_t pid,
                                                                 std::uint64_t ticks, Handlers handlers);
  ~GuardHandle();
  GuardHandle(const GuardHandle&) = delete;
  GuardHandle& operator=(const GuardHandle&) = delete;

  /// Begins polling. close(): no handler is called any more.
  void run();
  void close();

  /// The started process (keeper or guard) exists.
  [[nodiscard]] bool exists() const noexcept;
  /// The guard proper exists: what a host report says.
  [[nodiscard]] bool guard_exists() const noexcept;

  /// For a guard that does not end when asked. Its keeper leaves the guest running.
  void kill() const noexcept { (guard_ ? guard_ : started_)->kill(); }

  [[nodiscard]] const std::optional<guard::GuardStatus>& status() const noexcept { return status_; }
  /// Since the status was true; the longest duration if there never was one.
  [[nodiscard]] std::chrono::milliseconds status_age() const noexcept;

  /// One request over a connection of its own.
  [[nodiscard]] Task<Result<nlohmann::json>> call(std::string method, std::string target, nlohmann::json body,
                                                  std::chrono::milliseconds timeout);
  /// Asks for the status now, and for the events that are new with it.
  [[nodiscard]] Task<Result<guard::GuardStatus>> refresh();
  /// False when it still exists after `limit`.
  [[nodiscard]] Task<bool> wait_for_exit(std::chrono::milliseconds limit);

 private:
  GuardHandle(boost::asio::io_context& io, std::filesystem::path socket, Handlers handlers);
  [[nodiscard]] Task<void> poll();
  [[nodiscard]] Task<void> fetch_events();
  void ended();
  void accept(guard::GuardStatus status);

  boost::asio::io_context& io_;
  std::filesystem::path socket_;
  Handlers handlers_;
  http::AsyncClient client_;
  std::unique_ptr<ProcessWatch> started_{};
  std::unique_ptr<ProcessWatch> guard_{};
  std::optional<guard::GuardStatus> status_{};
  std::chrono::steady_clock::time_point status_time_{};
  std::uint64_t events_seen_{};
  bool closed_{};
};

}  // namespace remus::daemon
