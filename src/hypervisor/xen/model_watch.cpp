#include "hypervisor/xen/model_watch.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <string>

namespace remus::hypervisor::xen {

Status ModelWatch::open(const Handles& handles, std::uint32_t domid) {
  const std::string path = Handles::domain_path(domid) + "/image/device-model-pid";
  const std::string text = handles.read(path).value_or("");
  pid_t pid = 0;
  std::from_chars(text.data(), text.data() + text.size(), pid);
  if (pid <= 0) return fail(Errc::not_found, fmt::format("xenstore has no {}", path));
  Fd process{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  // The number may be another process's by now.
  std::ifstream in{fmt::format("/proc/{}/cmdline", pid), std::ios::binary};
  const std::string words{std::istreambuf_iterator<char>{in}, {}};
  using namespace std::string_literals;
  if (!process || words.find("-xen-domid\0"s + std::to_string(domid) + '\0') == std::string::npos)
    return fail(Errc::not_found,
                fmt::format("the device model of domain {} (process {}) has died", domid, pid));
  process_ = std::move(process);
  return {};
}

bool ModelWatch::dead(std::chrono::milliseconds patience) const noexcept {
  if (!process_) return false;
  pollfd end{process_.get(), POLLIN, 0};
  return ::poll(&end, 1, static_cast<int>(patience.count())) > 0;
}

}  // namespace remus::hypervisor::xen
