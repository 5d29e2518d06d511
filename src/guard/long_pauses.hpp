// Which pauses are worth an event: those a person would have noticed, told seldom enough to be read.
//
// A guest that is held up has users who ask why; `remus events` shall answer when and by what. But a host that is
// overloaded pauses its guests long at every checkpoint, and then one event a while, with the count of those left out,
// says as much as thousands.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <string>

#include "engine/types.hpp"
#include "hypervisor/domain.hpp"

namespace remus::guard {

class LongPauses final {
 public:
  static constexpr std::uint64_t long_us = 250'000;
  static constexpr std::chrono::seconds quiet{10};  ///< at most one event in so long

  /// A sentence, if this pause is to be told.
  [[nodiscard]] std::optional<std::string> note(engine::Time now, const hypervisor::CaptureReport& report) {
    if (report.held_us() < long_us) return std::nullopt;
    if (told_at_ && now - *told_at_ < quiet) {
      ++untold_;
      return std::nullopt;
    }
    told_at_ = now;
    const auto part = [](std::uint64_t us, const char* what) {
      return us < 1000 ? std::string{} : fmt::format("{} ms {}, ", us / 1000, what);
    };
    auto text = fmt::format(
        "the guest was held up for {} ms by a checkpoint of {} pages: {}{} ms to bring its devices to "
        "rest, {}{}{} ms for its memory, {} ms for their state",
        report.held_us() / 1000, report.pages + report.zero_pages,
        part(report.freeze_us, "to suspend itself"), report.drain_us / 1000,
        part(report.mark_us, "to mark its output and disks"),
        part(report.verify_us, "to read memory that is verified"), report.copy_us / 1000,
        report.device_us / 1000);
    if (untold_ > 0) text += fmt::format("; {} more like it since the last event", untold_);
    untold_ = 0;
    return text;
  }

 private:
  std::optional<engine::Time> told_at_{};
  std::uint64_t untold_{0};
};

}  // namespace remus::guard
