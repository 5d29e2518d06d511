#include "hypervisor/qemu/disk_tap.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "hypervisor/qemu/leftovers.hpp"
#include "hypervisor/qemu/marks.hpp"

namespace remus::hypervisor::qemu {

using json = nlohmann::json;

namespace {

/// The job's entry of query-block-jobs; null if it is not there.
json entry_of(const json& jobs, const std::string& id) {
  for (const json& entry : jobs)
    if (entry.value("device", "") == id) return entry;
  return {};
}

Result<json> job_entry(Qmp& qmp, const std::string& id) {
  auto jobs = qmp.execute("query-block-jobs");
  if (!jobs) return std::unexpected(jobs.error());
  return json(entry_of(*jobs, id));
}

/// Whether every write since the job began is in its target. ("paused" does not tell: QEMU pauses jobs itself, to drain disks.)
bool is_whole(const json& entry) {
  return entry.value("io-status", "ok") == "ok";
}

Status not_ended(const std::string& id, std::chrono::milliseconds timeout) {
  return fail(Errc::timeout,
              fmt::format("QEMU has not ended block job '{}' within {} ms", id, timeout.count()));
}

/// Waits until the job is gone (true) or, if `whole_only`, until it has broken (false).
Result<bool> await_end(Qmp& qmp, const std::string& id, bool whole_only, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    auto entry = job_entry(qmp, id);
    if (!entry) return std::unexpected(entry.error());
    if (entry->is_null()) return true;
    if (whole_only && !is_whole(*entry)) return false;
    if (std::chrono::steady_clock::now() > deadline) return std::unexpected(not_ended(id, timeout).error());
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
}

/// Stops the guest for `body`.
Status while_stopped(Qmp& qmp, std::chrono::milliseconds timeout, const std::function<Status()>& body) {
  auto state = qmp.execute("query-status");
  if (!state) return std::unexpected(state.error());
  const bool runs = state->value("running", false);
  Status ended{};
  // Should we die in between, a rescue lets it go on.
  if (runs)
    if (Status marked = put_mark(qmp, stop_mark); !marked) return marked;
  if (runs)
    if (auto stopped = qmp.execute("stop", json::object(), timeout); !stopped)
      ended = std::unexpected(stopped.error());
  if (ended) ended = body();
  // Also when the stop was answered late: it is carried out all the same.
  if (runs)
    if (auto resumed = qmp.execute("cont", json::object(), timeout); !resumed && ended)
      ended = std::unexpected(resumed.error().in("resuming the guest"));
  if (runs)
    if (Status unmarked = take_mark(qmp, stop_mark); !unmarked && ended) ended = unmarked;
  return ended;
}

/// Runs `body` while nothing of the guest's is under way or begins.
Status while_still(Qmp& qmp, std::chrono::milliseconds timeout, const Standstill& standstill,
                   const std::function<Status()>& body) {
  const auto stopped = [&] { return while_stopped(qmp, timeout, body); };
  return standstill ? standstill(stopped) : stopped();
}

/// Ends a job that has broken, in a moment in which the guest writes nothing: QEMU (7.2 at least) frees what it keeps of writes
/// to the target when such a job ends, without waiting for those under way, and then writes to it.
Status end_broken_job(Qmp& qmp, const std::string& id, std::chrono::milliseconds timeout) {
  auto cancelled = qmp.execute("block-job-cancel", {{"device", id}, {"force", true}}, timeout);
  // It may have been gone, and QEMU knew of none to cancel.
  auto gone = await_end(qmp, id, false, cancelled ? timeout : std::chrono::milliseconds{0});
  if (gone) return {};
  return std::unexpected(cancelled ? gone.error() : cancelled.error());
}

}  // namespace

Status end_job(Qmp& qmp, const std::string& id, std::chrono::milliseconds timeout,
               const Standstill& standstill) {
  auto entry = job_entry(qmp, id);
  if (!entry) return std::unexpected(entry.error());
  if (entry->is_null()) return {};
  if (entry->value("ready", false) && is_whole(*entry)) {
    // Not by force: a job that is ready then ends as one that has done its work does, after all writes under way.
    static_cast<void>(qmp.execute("block-job-cancel", {{"device", id}}, timeout));
    auto ended = await_end(qmp, id, true, timeout);
    if (!ended) return std::unexpected(ended.error());
    if (*ended) return {};
  }
  return while_still(qmp, timeout, standstill, [&] { return end_broken_job(qmp, id, timeout); });
}

DiskTap::DiskTap(std::shared_ptr<Qmp> qmp, Disk disk, unsigned number, Standstill standstill)
    : qmp_{std::move(qmp)},
      disk_{std::move(disk)},
      standstill_{std::move(standstill)},
      job_{fmt::format("{}mirror-{}", leftover_prefix, number)},
      target_{fmt::format("{}{}", disk_target_prefix, number)},
      filter_{fmt::format("{}tap-{}", leftover_prefix, number)} {}

DiskTap::~DiskTap() {
  if (Status done = remove(); !done) spdlog::warn("leaving disk '{}': {}", disk_.device, done.error().text());
}

Status DiskTap::insert(const std::function<Status(Fd)>& serve) {
  if (Status added = add_target(serve); !added) return added;
  const auto begin = [this] { return start_job(); };
  // Such a thread may write through the mirror before its job has begun, and what the job keeps of writes is there (QEMU 7.2
  // at least): QEMU dies of that.
  const Status begun = disk_.threaded ? while_still(*qmp_, job_timeout, standstill_, begin) : begin();
  if (!begun) static_cast<void>(remove());
  return begun;
}

Status DiskTap::start_job() {
  auto started =
      qmp_->execute("blockdev-mirror",
                    {{"job-id", job_},
                     {"device", disk_.node},
                     {"target", target_},
                     {"sync", "none"},
                     {"copy-mode", "write-blocking"},
                     // Ours failing is no failure of the guest's. Nor does it end the job (end_broken_job()):
                     // that stands still, the guest goes on.
                     {"on-target-error", "stop"},
                     {"filter-node-name", filter_}},
                    job_timeout);
  if (!started)
    return std::unexpected(
        started.error().in(fmt::format("following the writes to disk '{}'", disk_.device)));
  has_job_ = true;
  return await_ready();
}

/// Before it is ready a job can only be ended as if it had broken.
Status DiskTap::await_ready() {
  const auto deadline = std::chrono::steady_clock::now() + job_timeout;
  for (;;) {
    auto entry = job_entry(*qmp_, job_);
    if (!entry) return std::unexpected(entry.error());
    if (entry->is_null() || !is_whole(*entry)) return broken();
    if (entry->value("ready", false)) return {};
    if (std::chrono::steady_clock::now() > deadline)
      return fail(Errc::timeout,
                  fmt::format("QEMU does not begin to mirror the writes to disk '{}' within {} ms",
                              disk_.device, job_timeout.count()));
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
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
    if (Status ended = end_job(*qmp_, job_, job_timeout, standstill_); !ended) return ended;
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
  if (!entry->is_null() && is_whole(*entry)) return {};
  return broken();
}

bool DiskTap::intact(const json& jobs) const {
  const json entry = has_job_ ? entry_of(jobs, job_) : json{};
  return !entry.is_null() && is_whole(entry);
}

Status DiskTap::broken() const {
  return fail(Errc::io, fmt::format("QEMU has stopped mirroring the writes to disk '{}'", disk_.device),
              "the replica is to be synchronized anew");
}

}  // namespace remus::hypervisor::qemu
