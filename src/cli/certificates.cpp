// `remus cert`: needs no daemon, and is best run where no guest is.
#include "link/certificates.hpp"

#include <fmt/format.h>

#include "cli/render.hpp"
#include "cli/session.hpp"

namespace remus::cli {
namespace {

using nlohmann::json;

json to_json(const link::CertificateInfo& c) {
  return {{"subject", c.subject},       {"issuer", c.issuer},
          {"serial", c.serial},         {"fingerprint_sha256", c.fingerprint_sha256},
          {"dns_names", c.dns_names},   {"addresses", c.addresses},
          {"not_before", c.not_before}, {"not_after", c.not_after},
          {"days_left", c.days_left},   {"is_ca", c.is_ca}};
}

int show(Session& session, const std::filesystem::path& file, const std::string& before) {
  auto certificate = link::describe_certificate(file);
  if (!certificate) return session.failed(certificate.error());
  session.print(to_json(*certificate), before + render_certificate(*certificate));
  return 0;
}

}  // namespace

int run_certificates(Session& session, const Command& command) {
  if (const auto* init = std::get_if<CertInit>(&command)) {
    if (auto status = link::create_ca(init->directory, init->cluster); !status)
      return session.failed(status.error());
    return show(session, init->directory / "ca.crt",
                fmt::format("authority created in {}; keep ca.key there secret\n", init->directory.string()));
  }
  if (const auto* issue = std::get_if<CertIssue>(&command)) {
    link::HostCertificateRequest request;
    request.host = issue->host;
    request.dns_names = issue->dns_names;
    request.addresses = issue->addresses;
    request.valid_days = issue->valid_days;
    if (auto status = link::issue_host_certificate(issue->ca, request, issue->out); !status)
      return session.failed(status.error());
    return show(session, issue->out / "host.crt",
                fmt::format("issued; copy {}/* to {}:/etc/remus/pki/\n", issue->out.string(), issue->host));
  }
  return show(session, std::get<CertShow>(command).file, {});
}

}  // namespace remus::cli
