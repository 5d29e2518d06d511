#include "cli/xl_remus.hpp"

#include <fmt/format.h>

namespace remus::cli {

Result<Protect> protect_of(const XlRemus& words) {
  if (words.colo || words.colo_proxy)
    return fail(Errc::refused,
                fmt::format("-{} asks for COLO, which Remus does not do", words.colo ? 'c' : 'p'),
                "leave it out");
  if (words.blackhole)
    return fail(Errc::refused, "-b sends checkpoints to nowhere and protects nothing", "leave it out");
  if (words.no_network_buffer)
    return fail(Errc::refused,
                "-n lets the guest's output go before its checkpoint is safe: connections would not survive "
                "a failover",
                "leave it out; Remus holds output by itself and needs no script");
  if (words.no_disk)
    return fail(Errc::refused, "-d would leave every writable disk behind unseen",
                "name those that need no copy: remus protect DOMAIN --to HOST --disk hda=scratch");
  if (words.netbuf_script)
    return fail(
        Errc::refused,
        fmt::format("-N {}: Remus holds output by itself, and runs no script for it", *words.netbuf_script),
        "leave it out");
  if (words.ssh)
    return fail(Errc::refused,
                fmt::format("-s {}: Remus reaches the other host by TLS, through remusd on both", *words.ssh),
                "leave it out; see: remus host add");
  Protect out;
  out.guest = words.domain;
  out.to = words.host;
  out.options["interval"] = fmt::format("{}ms", words.interval_ms);
  if (words.no_compression) out.options["compression"] = "none";
  out.wait = !words.no_wait;
  return out;
}

}  // namespace remus::cli
