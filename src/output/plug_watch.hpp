// Tells that somebody took something of traffic control away, on whichever interface.
//
// Nobody needs our leave for that. Open vSwitch takes the ingress queueing discipline off each of its ports when it
// starts, and whenever it looks anew at a port that has changed; with it goes the filter that leads a guest's packets
// to us, and they would leave unheld, and nothing would show it. The kernel tells of each deletion (RTNLGRP_TC); of its
// other news, two for each epoch of each guest, a filter at the socket keeps away all.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

namespace remus::output {

class PlugWatch final {
 public:
  PlugWatch() = default;  ///< watches nothing
  static Result<PlugWatch> open();

  /// Readable when there is news.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// Whether something was deleted, or may have been, since the last call. Does not wait.
  [[nodiscard]] bool drain() noexcept;

 private:
  explicit PlugWatch(Fd fd) : fd_{std::move(fd)} {}
  Fd fd_{};
};

}  // namespace remus::output
