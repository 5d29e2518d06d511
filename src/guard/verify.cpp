#include "guard/verify.hpp"

#include <fmt/format.h>

#include "guard/request_body.hpp"
#include "guard/strict_json.hpp"

namespace remus::guard {
namespace {

constexpr std::size_t different_blocks_max = 1000;  // as VerifyReport has it

}  // namespace

Result<VerifyRequest> verify_request(const http::Request& request, const GuardSpec& spec) {
  const auto body = body_of(request);
  if (!body) return std::unexpected(body.error());
  VerifyRequest out;
  StrictObject object{*body, Where{}};
  object.read("disks", out.disks);
  if (auto status = object.finish(); !status) return std::unexpected(status.error());
  if (out.disks && disk_names(spec.options.disks, DiskMode::replicate).empty())
    return fail(Errc::refused, fmt::format("guest '{}' has no replicated disks to compare", spec.guest),
                "leave --disks out: memory is compared in any case");
  return out;
}

void add_blocks(VerifyReport& report, const link::VerifyResult& result,
                const std::vector<std::string>& disks) {
  report.blocks_compared = result.compared_blocks;
  report.blocks_different = result.differing_blocks;
  for (const auto& block : result.differing_disk_blocks) {
    if (report.different_blocks.size() >= different_blocks_max) break;
    report.different_blocks.push_back(
        {block.disk < disks.size() ? disks[block.disk] : fmt::format("number {}", block.disk), block.offset});
  }
}

std::string sentence_of(const VerifyReport& report) {
  auto out = fmt::format("epoch {}: {} pages compared, {} differ", report.epoch, report.pages_compared,
                         report.pages_different);
  if (report.blocks_compared)
    out += fmt::format("; {} blocks of disks compared, {} differ", *report.blocks_compared,
                       report.blocks_different.value_or(0));
  if (report.bytes_left_out.value_or(0) != 0)
    out += fmt::format("; {} KiB of disks left out: written all the time, or not readable",
                       *report.bytes_left_out >> 10);
  return out;
}

}  // namespace remus::guard
