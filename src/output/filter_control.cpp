#include "output/filter_control.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <tuple>
#include <utility>

namespace remus::output {

using json = nlohmann::json;

namespace {

constexpr std::uint32_t safeguard_interval_us = 1'000'000;

void enlarge(int fd) noexcept {
  constexpr int bytes = FilterControl::socket_buffer_bytes;
  // Without the privilege the kernel's limit stays.
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0)
    static_cast<void>(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes));
}

}  // namespace

FilterControl::FilterControl(std::shared_ptr<hypervisor::qemu::Qmp> qmp, std::string netdev, unsigned number)
    : qmp_{std::move(qmp)},
      netdev_{std::move(netdev)},
      out_chardev_{fmt::format("remus-out{}", number)},
      in_chardev_{fmt::format("remus-in{}", number)},
      redirector_{fmt::format("remus-redirector{}", number)},
      gate_{fmt::format("remus-gate{}", number)},
      inbound_{fmt::format("remus-inbound{}", number)} {}

Status FilterControl::add() {
  const auto steps = [&]() -> Status {
    if (auto done = add_chardev(out_chardev_, from_guest_); !done) return done;
    if (auto done = add_chardev(in_chardev_, to_network_); !done) return done;
    if (auto done = add_filter(redirector_, "filter-redirector", "rx",
                               {{"outdev", out_chardev_}, {"indev", in_chardev_}});
        !done)
      return done;
    const json interval{{"interval", safeguard_interval_us}};
    if (auto done = add_filter(gate_, "filter-buffer", "rx", interval); !done) return done;
    return add_filter(inbound_, "filter-buffer", "tx", interval);
  };
  auto done = steps();
  if (!done) {
    std::ignore = remove();
    return std::unexpected(done.error().in(fmt::format("holding the output of netdev '{}'", netdev_)));
  }
  return {};
}

Status FilterControl::add_chardev(const std::string& id, Fd& ours) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0)
    return fail_errno(errno, "cannot create a socket pair");
  Fd mine{ends[0]};
  const Fd theirs{ends[1]};
  enlarge(mine.get());
  enlarge(theirs.get());
  if (auto given = qmp_->send_fd(id, theirs.get()); !given) return given;
  const json address{{"type", "fd"}, {"data", {{"str", id}}}};
  const json backend{{"type", "socket"}, {"data", {{"addr", address}, {"server", false}}}};
  auto added = qmp_->execute("chardev-add", {{"id", id}, {"backend", backend}});
  if (!added) return std::unexpected(added.error());
  ours = std::move(mine);
  return {};
}

Status FilterControl::add_filter(const std::string& id, const char* type, const char* queue, json more) {
  more["qom-type"] = type;
  more["id"] = id;
  more["netdev"] = netdev_;
  more["queue"] = queue;
  more["status"] = "off";
  auto added = qmp_->execute("object-add", std::move(more));
  if (!added) return std::unexpected(added.error());
  return {};
}

Status FilterControl::set(const std::string& id, bool on) {
  auto done = qmp_->execute(
      "qom-set", {{"path", "/objects/" + id}, {"property", "status"}, {"value", on ? "on" : "off"}});
  if (!done) return std::unexpected(done.error());
  return {};
}

void FilterControl::post_inbound(bool on) {
  std::ignore = qmp_->post(
      "qom-set", {{"path", "/objects/" + inbound_}, {"property", "status"}, {"value", on ? "on" : "off"}});
}

Status FilterControl::settle(std::chrono::milliseconds timeout) {
  // The cheapest command there is: commands are done in order, so its answer stands for those before it.
  auto done = qmp_->execute("query-name", json::object(), timeout);
  if (!done) return std::unexpected(done.error());
  return {};
}

Status FilterControl::remove() {
  Status result{};
  const auto tell = [&](const char* command, const std::string& id) {
    auto done = qmp_->execute(command, {{"id", id}});
    // "not found" is what we want.
    if (!done && done.error().kind == Errc::closed) return;
    if (!done && done.error().what.find("not found") == std::string::npos &&
        done.error().kind != Errc::not_found && result)
      result = std::unexpected(done.error());
  };
  for (const auto* id : {&inbound_, &redirector_, &gate_}) tell("object-del", *id);
  for (const auto* id : {&in_chardev_, &out_chardev_}) tell("chardev-remove", *id);
  from_guest_.reset();
  to_network_.reset();
  return result;
}

}  // namespace remus::output
