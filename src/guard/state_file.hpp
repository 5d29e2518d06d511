// The few facts about a guest that must outlive power cuts and full disks: its generation, and who speaks for
// it.
//
//   ┌── slot 0, 512 B ──┬── slot 1, 512 B ──┐   a write goes to the older slot, in place, and is made durable
//   before │ sequence n        │ sequence n+1      │   write() returns; a torn slot fails its checksum and
//   the other one, └───────────────────┴───────────────────┘   written before, is still whole
//
// The file is allocated to its full size when it is created, so recording a new generation never needs disk
// space: on a full disk a failover can still be recorded. One file per guest and host, whichever side this
// host has. One writer at a time (the guard); readers (the daemon) need no lock.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace remus::guard {

/// What this host is for the guest.
enum class HostRole : std::uint8_t {
  none,     ///< nothing of it here
  primary,  ///< the guest runs here, and this host speaks for `generation`
  backup,   ///< a standby is kept here; the guest of `generation` runs elsewhere
};

struct StateRecord {
  std::uint64_t generation{};
  std::uint64_t superseded_by{};  ///< primary that was fenced: the later generation another host runs; else 0
  HostRole role{HostRole::none};
  bool alone{};  ///< primary: output may have gone out that no backup holds
  bool operator==(const StateRecord&) const = default;
};

class StateFile final {
 public:
  /// Opens `path`, creating and allocating it (exhausted: the disk is full, nothing is left behind).
  [[nodiscard]] static Result<StateFile> open(const std::filesystem::path& path);
  /// Reads without creating. not_found, or corrupt when neither slot is whole.
  [[nodiscard]] static Result<StateRecord> peek(const std::filesystem::path& path);

  [[nodiscard]] const StateRecord& record() const noexcept { return record_; }
  /// Durable when it returns. Refuses (internal) a generation that falls.
  [[nodiscard]] Status write(const StateRecord& record);

 private:
  StateFile(std::filesystem::path path, Fd fd) : path_{std::move(path)}, fd_{std::move(fd)} {}

  std::filesystem::path path_;
  Fd fd_;
  StateRecord record_{};
  std::uint64_t sequence_{};
};

}  // namespace remus::guard
