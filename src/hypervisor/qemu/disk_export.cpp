#include "hypervisor/qemu/disk_export.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "hypervisor/qemu/leftovers.hpp"
#include "hypervisor/qemu/marks.hpp"

namespace remus::hypervisor::qemu {

using json = nlohmann::json;

namespace {

constexpr std::string_view listener_name = "remus-exports";

Status stop_server(Qmp& qmp) {
  // Ends all its exports, and waits for their requests.
  auto stopped = qmp.execute("nbd-server-stop", json::object(), std::chrono::milliseconds{10'000});
  if (stopped || stopped.error().kind == Errc::refused) return {};  // refused: it does not run (any more)
  return std::unexpected(stopped.error());
}

Result<Fd> listening_socket(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof address.sun_path)
    return fail(Errc::invalid, fmt::format("the socket path {} is longer than {} bytes", path.native(),
                                           sizeof address.sun_path - 1));
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!fd) return fail_errno(errno, "cannot create a socket");
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(path.c_str(), 0600) != 0 || ::listen(fd.get(), 8) != 0)
    return fail_errno(errno, fmt::format("cannot listen at {}", path.native()));
  return fd;
}

}  // namespace

DiskExport::DiskExport(std::shared_ptr<Qmp> qmp, const std::filesystem::path& directory)
    : qmp_{std::move(qmp)}, socket_{directory / "disks.nbd"} {}

DiskExport::~DiskExport() {
  if (Status done = remove(); !done) spdlog::warn("ending the export of disks: {}", done.error().text());
}

Status DiskExport::start_server() {
  auto listener = listening_socket(socket_);
  if (!listener) return std::unexpected(listener.error());
  if (Status sent = qmp_->send_fd(listener_name, listener->get()); !sent) return sent;
  if (Status marked = put_mark(*qmp_, server_mark); !marked)
    return std::unexpected(marked.error().in("reading the guest's disks through its QEMU"));
  auto started =
      qmp_->execute("nbd-server-start", {{"addr", {{"type", "fd"}, {"data", {{"str", listener_name}}}}}});
  if (!started) {
    static_cast<void>(qmp_->execute("closefd", {{"fdname", listener_name}}));
    static_cast<void>(take_mark(*qmp_, server_mark));
    Error error = started.error();
    if (error.kind == Errc::refused)
      error.fix =
          "if an NBD server runs in the guest's QEMU already, end it (QMP: nbd-server-stop): it has but one";
    return std::unexpected(error.in("reading the guest's disks through its QEMU"));
  }
  serving_ = true;
  return {};
}

Status DiskExport::add(const Disk& disk, const std::string& bitmap) {
  if (!serving_)
    if (Status started = start_server(); !started) return started;
  const std::string id = fmt::format("{}export-{}", leftover_prefix, exports_.size());
  json words{{"type", "nbd"}, {"id", id}, {"node-name", disk.node}, {"name", disk.node}, {"writable", false}};
  if (!bitmap.empty()) words["bitmaps"] = json::array({bitmap});
  auto added = qmp_->execute("block-export-add", words);
  if (!added) return std::unexpected(added.error().in(fmt::format("reading disk '{}'", disk.device)));
  exports_.push_back(id);
  return {};
}

Status DiskExport::remove() {
  std::error_code ignored;
  if (serving_) std::filesystem::remove(socket_, ignored);
  if (qmp_->closed()) serving_ = false;  // went with QEMU
  if (!serving_) {
    exports_.clear();
    return {};
  }
  if (Status stopped = stop_server(*qmp_); !stopped) return stopped;
  serving_ = false;
  exports_.clear();
  return take_mark(*qmp_, server_mark);
}

Status remove_exports(Qmp& qmp) {
  const auto ours = has_mark(qmp, server_mark);
  if (!ours) return std::unexpected(ours.error());
  if (!*ours) return {};
  if (Status stopped = stop_server(qmp); !stopped) return stopped;
  return take_mark(qmp, server_mark);
}

}  // namespace remus::hypervisor::qemu
