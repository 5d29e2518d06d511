// The guard's end of remus-xen-standby: feeds it the stream, hears what it reports (restorer/restore.hpp).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "hypervisor/child_process.hpp"

namespace remus::hypervisor::xen {

class RestoreProcess final {
 public:
  /// Starts it; `log` is truncated and takes all that it and libxl say.
  static Result<RestoreProcess> start(const std::filesystem::path& program,
                                      const std::filesystem::path& config, const std::string& name,
                                      const std::filesystem::path& log);

  /// Sends all of it. Errors: timeout, closed (with what libxl said).
  Status feed(std::span<const std::byte> bytes, std::chrono::milliseconds within);
  /// Waits until it has read all that was fed. Errors as feed().
  Status drained(std::chrono::milliseconds within);
  /// The rest of the line that begins with `word`. Errors: io ("failed", or it ended; with what libxl said),
  /// timeout.
  Result<std::string> await(const std::string& word, std::chrono::milliseconds within);
  /// "run".
  Status release();
  /// The stream is over, whole or not.
  void end_stream() noexcept { stream_.reset(); }
  /// Forgets it; it goes on by itself.
  void let_go() noexcept;

  [[nodiscard]] bool running() const noexcept { return process_.running(); }
  [[nodiscard]] ChildProcess& process() noexcept { return process_; }
  [[nodiscard]] const ChildProcess& process() const noexcept { return process_; }
  /// True once it has closed its end or said anything that was not asked for: it failed.
  [[nodiscard]] bool spoke() const noexcept;

 private:
  Error died(const std::string& what) const;

  ChildProcess process_{};
  Fd stream_{};
  Fd control_{};
  std::string heard_{};
  std::filesystem::path log_{};
};

/// What libxl complained of, from its log; at most a few hundred bytes, on one line.
[[nodiscard]] std::string complaints_in(const std::filesystem::path& log);

}  // namespace remus::hypervisor::xen
