// What a guard that was killed in the midst of a checkpoint leaves to whoever rescues its guest: a small
// file, mapped, so that a word in it costs no system call and outlives the process.
//
// Without it nobody could tell a domain we have paused from one its user has.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include "base/error.hpp"

namespace remus::hypervisor::xen {

struct MarkFields {
  std::uint32_t magic{};
  std::uint32_t domid{};
  char uuid[40]{};                ///< of the domain: numbers are used again
  std::uint32_t pausing{};        ///< xc_domain_pause was, or is about to be, called by us
  std::uint32_t requested{};      ///< the guest was asked to suspend, and has not been resumed since
  std::uint32_t model_stopped{};  ///< the device model was told to stop
  std::uint32_t model_logging{};  ///< the device model was told to log its writes
  std::uint32_t shutting{};       ///< xc_domain_shutdown(suspend) was called by us
};

class SessionMark final {
 public:
  /// `what`: tells a second file of one domain from the first.
  explicit SessionMark(std::string what = {}) : what_{std::move(what)} {}
  ~SessionMark();
  SessionMark(const SessionMark&) = delete;
  SessionMark& operator=(const SessionMark&) = delete;

  /// Makes the file anew.
  Status create(std::uint32_t domid, const std::string& uuid);
  /// The file a predecessor has left. Errors: not_found.
  Status open(std::uint32_t domid, const std::string& uuid);
  /// Nothing is left of it. Idempotent.
  void remove();
  [[nodiscard]] bool exists() const noexcept { return fields_ != nullptr; }
  /// Where there is no file, fields that nobody reads.
  [[nodiscard]] volatile MarkFields& fields() noexcept { return fields_ != nullptr ? *fields_ : nowhere_; }

 private:
  Status map(std::uint32_t domid, int flags);

  std::string what_;
  std::filesystem::path path_{};
  volatile MarkFields* fields_{};
  volatile MarkFields nowhere_{};
};

}  // namespace remus::hypervisor::xen
