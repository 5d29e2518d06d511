// Hears of every packet that comes in at an interface, the moment it comes.
//
// plug tells nobody that it holds something, and asking it again and again costs processor time whether anything waits
// or not. A packet socket on the guest's interface is given each packet before the ingress filter sees it, and not again
// when it comes back from our side. Its buffer has room for a packet or two: as long as nobody reads, further
// packets are turned away by one comparison each.
//
// It has a second use: before a packet is handed to a second reader, the kernel copies what still lies in the guest's
// memory. Without it, held packets would keep pages of the guest granted and slots of its transmit ring taken.
#pragma once

#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace remus::output {

class PlugTap final {
 public:
  static Result<PlugTap> open(const std::string& interface, int index);

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// Forgets what has come so far; true if something had.
  bool drain() noexcept;
  /// Hears nothing any more: the interface is gone.
  void close() noexcept { fd_.reset(); }

 private:
  explicit PlugTap(Fd fd) : fd_{std::move(fd)} {}

  Fd fd_;
};

}  // namespace remus::output
