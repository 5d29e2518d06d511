#include "hypervisor/qemu/disk_tap.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "hypervisor/qemu/leftovers.hpp"

namespace remus::hypervisor::qemu {

using json = nlohmann::json;

namespace {

/// The job's entry of query-block-jobs; null if it is not there.
Result<json> job_entry(Qmp& qmp, const std::string& id) {
  auto jobs = qmp.execute("query-block-jobs");
  if (!jobs) return std::unexpected(jobs.error());
  for (const json& entry : *jobs)
    if (entry.value("device", "") == id) return entry;
  return json{};
}

}  // namespace

Status end_job(Qmp& qmp, const std::string& id, std::chrono::milliseconds timeout) {
  auto cancelled = qmp.execute("block-job-cancel", {{"device", id}, {"force", true}}, timeout);
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    auto entry = job_entry(qmp, id);
    if (!entry) return std::unexpected(entry.error());
    if (entry->is_null()) return {};  // also if it had ended by itself, and QEMU knew of none to cancel
    if (!cancelled) return std::unexpected(cancelled.error());
    if (std::chrono::steady_clock::now() > deadline)
      return fail(Errc::timeout,
                  fmt::format("QEMU has not ended block job '{}' within {} ms", id, timeout.count()));
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
}

DiskTap::DiskTap(std::shared_ptr<Qmp> qmp, Disk disk, unsigned number)
    : qmp_{std::move(qmp)},
      disk_{std::move(disk)},
      job_{fmt::format("{}mirror-{}", leftover_prefix, number)},
      target_{fmt::format("{}{}", disk_target_prefix, number)},
      filter_{fmt::format("{}tap-{}", leftover_prefix, number)} {}

DiskTap::~DiskTap() {
  if (Status done = remove(); !done) spdlog::warn("leaving disk '{}': {}", disk_.device, done.error().text());
}

Status DiskTap::insert(const std::function<Status(Fd)>& serve) {
  if (Status added = add_target(serve); !added) return added;
  auto started = qmp_->execute("blockdev-mirror",
                               {{"job-id", job_},
                                {"device", disk_.node},
                                {"target", target_},
                                {"sync", "none"},
                                {"copy-mode", "write-blocking"},
                                // Ours failing is no failure of the guest's: the job ends, the guest goes on.
                                {"on-target-error", "report"},
                                {"filter-node-name", filter_}},
                               job_timeout);
  if (!started) {
    static_cast<void>(remove());
    return std::unexpected(
        started.error().in(fmt::format("following the writes to disk '{}'", disk_.device)));
  }
  has_job_ = true;
  return {};
}

Status DiskTap::add_target(const std::function<Status(Fd)>& serve) {
  int pair[2] = {};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return fail_errno(errno, "cannot make a socket pair");
  Fd ours{pair[0]};
  const Fd theirs{pair[1]};
  for (const int fd : pair)  // as much as the kernel allows: fewer wake-ups
    for (const int which : {SO_SNDBUF, SO_RCVBUF})
      static_cast<void>(
          ::setsockopt(fd, SOL_SOCKET, which, &socket_buffer_bytes, sizeof socket_buffer_bytes));
  if (Status serving = serve(std::move(ours)); !serving) return serving;
  if (Status sent = qmp_->send_fd(target_, theirs.get()); !sent) return sent;
  auto added = qmp_->execute("blockdev-add",
                             {{"driver", "nbd"},
                              {"node-name", target_},
                              {"server", {{"type", "fd"}, {"str", target_}}},
                              {"discard", "unmap"}},
                             job_timeout);
  // QEMU keeps a duplicate; what stays under the name would keep the connection open for ever.
  static_cast<void>(qmp_->execute("closefd", {{"fdname", target_}}));
  if (!added)
    return std::unexpected(
        added.error().in(fmt::format("connecting QEMU to the log of disk '{}'", disk_.device)));
  has_target_ = true;
  return {};
}

Status DiskTap::remove() {
  if (qmp_->closed()) has_job_ = has_target_ = false;  // went with QEMU
  if (has_job_) {
    if (Status ended = end_job(*qmp_, job_); !ended) return ended;
    has_job_ = false;
  }
  if (has_target_) {
    auto gone = qmp_->execute("blockdev-del", {{"node-name", target_}}, job_timeout);
    if (!gone) return std::unexpected(gone.error());
    has_target_ = false;
  }
  return {};
}

Status DiskTap::intact() {
  if (!has_job_)
    return fail(Errc::closed, fmt::format("the writes to disk '{}' are not followed", disk_.device));
  auto entry = job_entry(*qmp_, job_);
  if (!entry) return std::unexpected(entry.error());
  if (!entry->is_null()) return {};
  return fail(Errc::io, fmt::format("QEMU has stopped mirroring the writes to disk '{}'", disk_.device),
              "the replica is to be synchronized anew");
}

}  // namespace remus::hypervisor::qemu
