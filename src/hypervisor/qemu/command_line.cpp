#include "hypervisor/qemu/command_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "hypervisor/qemu/command_line_rules.hpp"
#include "hypervisor/qemu/standby_disks.hpp"

namespace remus::hypervisor::qemu {

namespace {

// QEMU options that take no argument; every other takes one (qemu-options.hx of 5.2 to 11.0).
constexpr std::array<std::string_view, 39> flags{"h",
                                                 "help",
                                                 "version",
                                                 "S",
                                                 "s",
                                                 "snapshot",
                                                 "daemonize",
                                                 "nographic",
                                                 "nodefaults",
                                                 "no-user-config",
                                                 "enable-kvm",
                                                 "no-reboot",
                                                 "no-shutdown",
                                                 "no-acpi",
                                                 "no-hpet",
                                                 "no-fd-bootchk",
                                                 "usb",
                                                 "full-screen",
                                                 "curses",
                                                 "sdl",
                                                 "preconfig",
                                                 "only-migratable",
                                                 "mem-prealloc",
                                                 "singlestep",
                                                 "win2k-hack",
                                                 "rtc-td-hack",
                                                 "no-quit",
                                                 "alt-grab",
                                                 "ctrl-grab",
                                                 "no-frame",
                                                 "portrait",
                                                 "semihosting",
                                                 "nodefconfig",
                                                 "enable-sync-profile",
                                                 "xen-attach",
                                                 "xen-domid-restrict",
                                                 "no-kvm",
                                                 "old-param",
                                                 "show-cursor"};

}  // namespace

std::vector<Option> split_argv(const std::vector<std::string>& argv) {
  std::vector<Option> out;
  for (std::size_t i = 1; i < argv.size(); ++i) {
    std::string_view word = argv[i];
    if (word.empty() || word.front() != '-' || word == "-") {
      out.push_back({"", argv[i], true});
      continue;
    }
    word.remove_prefix(word.starts_with("--") ? 2 : 1);
    Option option{std::string{word}, "", false};
    if (std::ranges::find(flags, word) == flags.end() && i + 1 < argv.size()) {
      option.value = argv[++i];
      option.has_value = true;
    }
    out.push_back(std::move(option));
  }
  return out;
}

std::string image_file_name(const std::string& backend_id) {
  std::string out = backend_id;
  std::ranges::replace(out, '/', '_');
  return out;
}

DerivedCommandLine derive_command_line(const GuestFacts& facts, const StandbyPaths& paths) {
  std::vector<std::string> objections;
  const std::vector<Option> options = with_replicas(split_argv(facts.argv), facts, paths, objections);
  CommandLineRules rules{facts, paths, options};
  for (const Option& option : options) rules.apply(option);
  DerivedCommandLine out = std::move(rules).finish();
  out.objections.insert(out.objections.end(), objections.begin(), objections.end());
  return out;
}

}  // namespace remus::hypervisor::qemu
