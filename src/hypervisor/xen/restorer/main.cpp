// remus-xen-standby: what of libxl the standby of a Xen guest needs, in a process of its own.
//
// libxl starts and reaps processes, and must own SIGCHLD meanwhile; a restore lasts as long as the standby
// waits, and afterwards somebody must stay with the domain. None of this suits the guard, so it runs this
// program:
//
//   check CONFIG NAME     what this host has for the domain, as JSON on stdout
//   restore CONFIG NAME   the restore (restore.hpp), and then custody of the domain (custody.hpp)
//   destroy DOMID         ends a leftover
//   keep NAME             custody of a domain that somebody else started
#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "hypervisor/xen/restorer/announce.hpp"
#include "hypervisor/xen/restorer/custody.hpp"
#include "hypervisor/xen/restorer/restore.hpp"

namespace {

using namespace remus::hypervisor::xen::restorer;

int check(const Toolstack& toolstack, const std::string& file, const std::string& name) {
  libxl_ctx* const context = toolstack.get();
  const libxl_version_info* version = libxl_get_version_info(context);
  DomainConfig config;
  if (version == nullptr || !config.load(context, file)) return EXIT_FAILURE;
  std::uint64_t free_kib = 0;
  std::uint64_t need_kib = 0;
  if (libxl_get_free_memory(context, &free_kib) != 0) return EXIT_FAILURE;
  if (libxl_domain_need_memory(context, config.get(), INVALID_DOMID, &need_kib) != 0) return EXIT_FAILURE;
  const auto number = [&](const std::string& of) {
    const auto found = toolstack.domid_of(of);
    return found ? fmt::format("{}", *found) : std::string{"null"};
  };
  fmt::print(
      "{{\"major\": {}, \"minor\": {}, \"free_kib\": {}, \"need_kib\": {}, \"domid\": {}, \"incoming\": "
      "{}}}\n",
      version->xen_version_major, version->xen_version_minor, free_kib, need_kib, number(name),
      number(name + "--incoming"));
  return EXIT_SUCCESS;
}

int run_restore(Toolstack& toolstack, const std::string& file, const std::string& name) {
  DomainConfig config;
  if (!config.load(toolstack.get(), file)) {
    log_line(fmt::format("{} is not a configuration libxl understands", file));
    return EXIT_FAILURE;
  }
  const auto domid = restore(toolstack, config, name);
  if (!domid) return EXIT_FAILURE;
  announce(*config);
  return keep(toolstack, config, *domid) ? EXIT_SUCCESS : EXIT_FAILURE;
}

int run_destroy(const Toolstack& toolstack, const std::string& text) {
  std::uint32_t domid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), domid);
  if (error != std::errc{} || end != text.data() + text.size() || domid == 0) return EXIT_FAILURE;
  return libxl_domain_destroy(toolstack.get(), domid, nullptr) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int run_keep(Toolstack& toolstack, const std::string& name) {
  const auto domid = toolstack.domid_of(name);
  DomainConfig config;
  if (!domid || !config.reload(toolstack.get(), *domid)) return EXIT_FAILURE;
  return keep(toolstack, config, *domid) ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  Toolstack toolstack;
  if (toolstack.get() == nullptr) return EXIT_FAILURE;
  if (words.size() == 3 && words[0] == "check") return check(toolstack, words[1], words[2]);
  if (words.size() == 3 && words[0] == "restore") return run_restore(toolstack, words[1], words[2]);
  if (words.size() == 2 && words[0] == "destroy") return run_destroy(toolstack, words[1]);
  if (words.size() == 2 && words[0] == "keep") return run_keep(toolstack, words[1]);
  fmt::print(stderr, "usage: remus-xen-standby check|restore CONFIG NAME | destroy DOMID | keep NAME\n");
  return 2;
}
