// Through which Xen asks a domain's device model for what the guest does to emulated devices: its "ioreq servers".
//
// QEMU disables its own while it is stopped, and Xen takes what nobody serves for done: a read gives all ones, a write is
// lost. So a guest must not run before its server is enabled again; whether QEMU is at work by then is no matter, for its
// requests wait.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "hypervisor/xen/handles.hpp"

namespace remus::hypervisor::xen {

class IoreqServers final {
 public:
  IoreqServers(std::shared_ptr<Handles> handles, std::uint32_t domid, unsigned vcpus)
      : handles_{std::move(handles)}, domid_{domid}, vcpus_{vcpus} {}
  ~IoreqServers() { close(); }
  IoreqServers(const IoreqServers&) = delete;
  IoreqServers& operator=(const IoreqServers&) = delete;

  /// Maps their pages. Idempotent.
  void open();
  void close();
  /// False where Xen does not let us see them (before 4.11), and before open().
  [[nodiscard]] bool visible() const noexcept { return !servers_.empty(); }
  /// Whether the device model has a request, or an answer that the guest has not taken. Ask it of a paused guest.
  [[nodiscard]] bool in_hand() const;
  /// Enables the only one there is, as QEMU does when it goes on. False if that cannot be done, or if there are more, of
  /// which not all may be QEMU's.
  [[nodiscard]] bool enable() const { return enabler()(); }
  /// enable() for whoever outlives this session: to be called on any thread, also after close().
  [[nodiscard]] std::function<bool()> enabler() const;

 private:
  struct Server {
    ioservid_t id{};
    xenforeignmemory_resource_handle* resource{};
    const void* pages{};  ///< buffered requests, then one request a vCPU
  };
  std::shared_ptr<Handles> handles_;
  std::uint32_t domid_;
  unsigned vcpus_;
  std::vector<Server> servers_{};
};

}  // namespace remus::hypervisor::xen
