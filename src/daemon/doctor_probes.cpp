// Looking at the real host.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/kvm.h>
#include <netdb.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>

#include "base/fd.hpp"
#include "daemon/doctor.hpp"
#include "daemon/doctor_xen.hpp"
#include "link/tls.hpp"

namespace remus::daemon::doctor {
namespace {

constexpr int program_limit_ms = 2000;

std::string kernel_release() {
  utsname names{};
  return ::uname(&names) == 0 ? std::string{names.release} : std::string{};
}

Status kvm() {
  const Fd fd{::open("/dev/kvm", O_RDWR | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "/dev/kvm cannot be opened");
  if (::ioctl(fd.get(), KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
    return fail(Errc::unsupported, "/dev/kvm does not speak KVM's interface");
  const Fd machine{::ioctl(fd.get(), KVM_CREATE_VM, 0)};
  if (!machine) return fail_errno(errno, "KVM cannot create a machine");
  return {};
}

/// First line of what the program prints; it is given two seconds.
Result<std::string> first_line(const char* program, const char* argument) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno(errno, "cannot create a pipe");
  const Fd reader{ends[0]};
  Fd writer{ends[1]};
  posix_spawn_file_actions_t actions{};
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, writer.get(), STDOUT_FILENO);
  std::string name{program};
  std::string word{argument};
  std::array<char*, 3> argv{name.data(), word.data(), nullptr};
  pid_t pid{};
  const int code = ::posix_spawnp(&pid, program, &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return fail_errno(code, fmt::format("cannot run {}", program), "install it");
  writer.reset();
  std::string text;
  pollfd wait{reader.get(), POLLIN, 0};
  std::array<char, 512> buffer{};
  while (text.find('\n') == std::string::npos && text.size() < 4096 &&
         ::poll(&wait, 1, program_limit_ms) == 1) {
    const auto got = ::read(reader.get(), buffer.data(), buffer.size());
    if (got <= 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  if (text.empty()) return fail(Errc::timeout, fmt::format("{} {} says nothing", program, argument));
  return text.substr(0, text.find('\n'));
}

Status bind_to(const std::string& address, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found{};
  if (::getaddrinfo(address.c_str(), fmt::format("{}", port).c_str(), &hints, &found) != 0)
    return fail(Errc::invalid, fmt::format("'{}' is not an address", address));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner{found, &::freeaddrinfo};
  const Fd fd{::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const int yes = 1;
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      ::bind(fd.get(), found->ai_addr, found->ai_addrlen) != 0 || ::listen(fd.get(), 1) != 0)
    return fail_errno(errno, fmt::format("{}:{}", address, port));
  return {};
}

Result<std::uint64_t> free_bytes(const std::filesystem::path& path) {
  // The directory may not be created yet: what counts is the file system it will be on.
  auto existing = path;
  std::error_code code;
  while (!existing.empty() && existing != existing.root_path() && !std::filesystem::exists(existing, code))
    existing = existing.parent_path();
  struct statvfs info {};
  if (::statvfs(existing.c_str(), &info) != 0)
    return fail_errno(errno, fmt::format("cannot examine '{}'", path.string()));
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

std::uint64_t memory_available() {
  std::ifstream in{"/proc/meminfo"};
  std::string key;
  std::uint64_t kib{};
  std::string unit;
  while (in >> key >> kib) {
    if (key == "MemAvailable:") return kib << 10;
    std::getline(in, unit);
  }
  return 0;
}

Status open_device(const std::filesystem::path& path) {
  const Fd fd{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, fmt::format("{} cannot be opened", path.string()));
  return {};
}

std::vector<std::string> bridges() {
  std::vector<std::string> out;
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator{"/sys/class/net", code})
    if (std::filesystem::exists(entry.path() / "bridge", code))
      out.push_back(entry.path().filename().string());
  return out;
}

bool clock_synchronized() {
  timex state{};
  const int answer = ::adjtimex(&state);
  return answer >= 0 && answer != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
}

}  // namespace

std::optional<Room> room_for_standbys(const std::filesystem::path& image) {
  const auto free = free_bytes(image);
  if (!free) return std::nullopt;
  return Room{memory_available(), *free};
}

Probes real_probes() {
  Probes probes;
  probes.kernel_release = kernel_release;
  probes.kvm = kvm;
  probes.qemu_version = [] { return first_line("qemu-system-x86_64", "--version"); };
  probes.bind = bind_to;
  probes.free_bytes = free_bytes;
  probes.memory_available = memory_available;
  probes.certificate = [](const std::filesystem::path& file) { return link::describe_certificate(file); };
  probes.identity = [](const std::filesystem::path& pki) -> Status {
    auto opened = link::Pki::open(pki);
    if (!opened) return std::unexpected(opened.error());
    return {};
  };
  probes.open_device = open_device;
  probes.bridges = bridges;
  probes.clock_synchronized = clock_synchronized;
  probes.executable = [](const std::filesystem::path& path) { return ::access(path.c_str(), X_OK) == 0; };
  probes.xen = [](const Config& config) -> std::optional<std::vector<Check>> {
    if (!hypervisor::xen::on_xen_host()) return std::nullopt;
    const auto standby = config.guard_binary.parent_path() / "remus-xen-standby";
    return judge_xen({.facts = hypervisor::xen::xen_facts(),
                      .missing_modules = missing_modules(kernel_release()),
                      .standby_program = ::access(standby.c_str(), X_OK) == 0});
  };
  return probes;
}

}  // namespace remus::daemon::doctor
