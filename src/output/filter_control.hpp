// The filters we put on one netdev of a running QEMU, by QMP.
//
//   to the network:   NIC ─▶ gate (filter-buffer) ─▶ redirector ─▶ netdev   (RX in QEMU's words: last added is first)
//   to the guest:     netdev ─▶ inbound (filter-buffer) ─▶ NIC               (TX)
//
// All are off when added: packets pass them. The redirector, on, sends what it sees to us over a socket pair
// and puts what we send back behind itself. A filter-buffer, on, keeps packets inside QEMU and lets them go
// in order, in one stroke, when it is switched off: that makes switching other filters invisible. Its
// interval is a safeguard: if we die while one is on, QEMU itself lets its packets go every second.
//
// The socket pairs are handed over by getfd, so that nobody else can connect and their buffers are as large
// as we want: QEMU never waits while it writes a packet to us.
#pragma once

#include <memory>
#include <string>

#include "base/fd.hpp"
#include "hypervisor/qemu/qmp.hpp"

namespace remus::output {

class FilterControl final {
 public:
  static constexpr int socket_buffer_bytes = 16 << 20;

  /// `number` tells the netdevs of one guest apart.
  FilterControl(std::shared_ptr<hypervisor::qemu::Qmp> qmp, std::string netdev, unsigned number);

  /// Adds chardevs and filters, all off. Takes back what it added on failure.
  Status add();
  /// Removes them; goes on after a failure and reports the first.
  Status remove();

  Status set_redirector(bool on) { return set(redirector_, on); }
  Status set_gate(bool on) { return set(gate_, on); }
  /// Not waited for.
  void post_inbound(bool on);
  /// Waits until all that was posted has been done, at most this long.
  Status settle(std::chrono::milliseconds timeout);

  [[nodiscard]] int from_guest() const noexcept { return from_guest_.get(); }
  [[nodiscard]] int to_network() const noexcept { return to_network_.get(); }
  [[nodiscard]] const std::string& netdev() const noexcept { return netdev_; }

 private:
  Status add_chardev(const std::string& id, Fd& ours);
  Status add_filter(const std::string& id, const char* type, const char* queue, nlohmann::json more);
  Status set(const std::string& id, bool on);

  std::shared_ptr<hypervisor::qemu::Qmp> qmp_;
  std::string netdev_;
  std::string out_chardev_;
  std::string in_chardev_;
  std::string redirector_;
  std::string gate_;
  std::string inbound_;
  Fd from_guest_{};
  Fd to_network_{};
};

}  // namespace remus::output
