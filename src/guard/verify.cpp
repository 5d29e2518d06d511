#include "guard/verify.hpp"

#include <fmt/format.h>

#include "guard/request_body.hpp"
#include "guard/strict_json.hpp"

namespace remus::guard {
namespace {

constexpr std::size_t different_max = 1000;  // as VerifyReport has it
/// Well below what a checkpoint may take before it is given up.
constexpr std::uint64_t max_pause_max_ms = 2000;

}  // namespace

Result<VerifyRequest> verify_request(const http::Request& request, const GuardSpec& spec) {
  const auto body = body_of(request);
  if (!body) return std::unexpected(body.error());
  VerifyRequest out;
  StrictObject object{*body, Where{}};
  object.read("disks", out.disks);
  auto max_pause_ms = static_cast<std::uint64_t>(out.max_pause.count());
  object.read("max_pause_ms", max_pause_ms);
  if (auto status = object.finish(); !status) return std::unexpected(status.error());
  if (max_pause_ms == 0 || max_pause_ms > max_pause_max_ms)
    return fail(Errc::invalid, fmt::format("'max_pause_ms' is {}", max_pause_ms),
                fmt::format("give 1 to {}", max_pause_max_ms));
  out.max_pause = std::chrono::milliseconds{max_pause_ms};
  if (out.disks && disk_names(spec.options.disks, DiskMode::replicate).empty())
    return fail(Errc::refused, fmt::format("guest '{}' has no replicated disks to compare", spec.guest),
                "leave --disks out: memory is compared in any case");
  return out;
}

void add_pages(VerifyReport& report, const link::VerifyResult& result, const checkpoint::Layout& layout) {
  if (report.pages_compared == 0) report.first_epoch = result.epoch;
  report.epoch = result.epoch;
  report.pages_compared += result.compared_pages;
  report.pages_different += result.differing_pages;
  for (const auto index : result.differing) {
    if (report.different.size() >= different_max) break;
    for (const auto& block : layout.blocks)
      if (index >= block.first_page && index - block.first_page < block.pages())
        report.different.push_back({block.name, index - block.first_page});
  }
}

void add_blocks(VerifyReport& report, const link::VerifyResult& result,
                const std::vector<std::string>& disks) {
  report.blocks_compared = result.compared_blocks;
  report.blocks_different = result.differing_blocks;
  for (const auto& block : result.differing_disk_blocks) {
    if (report.different_blocks.size() >= different_max) break;
    report.different_blocks.push_back(
        {block.disk < disks.size() ? disks[block.disk] : fmt::format("number {}", block.disk), block.offset});
  }
}

std::string sentence_of(const VerifyReport& report) {
  const auto epochs = report.first_epoch == report.epoch
                          ? fmt::format("epoch {}", report.epoch)
                          : fmt::format("epochs {} to {}", report.first_epoch, report.epoch);
  auto out =
      fmt::format("{}: {} pages compared, {} differ", epochs, report.pages_compared, report.pages_different);
  if (report.blocks_compared)
    out += fmt::format("; {} blocks of disks compared, {} differ", *report.blocks_compared,
                       report.blocks_different.value_or(0));
  if (report.bytes_left_out.value_or(0) != 0)
    out += fmt::format("; {} KiB of disks left out: written all the time, or not readable",
                       *report.bytes_left_out >> 10);
  return out;
}

}  // namespace remus::guard
