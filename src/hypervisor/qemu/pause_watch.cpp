#include "hypervisor/qemu/pause_watch.hpp"

#include <algorithm>

namespace remus::hypervisor::qemu {

using std::chrono::duration_cast;
using std::chrono::microseconds;

namespace {

constexpr microseconds far = std::chrono::hours{1};  ///< from any pause

std::uint64_t us(PauseWatch::Clock::duration duration) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(duration_cast<microseconds>(duration).count(), 0));
}

/// One moment by both clocks. Who is held up between two looks looks again.
struct BothClocks {
  PauseWatch::Clock::time_point ours{};
  std::int64_t wall_us{};
};

BothClocks now_by_both() {
  constexpr int looks_max = 8;
  constexpr microseconds near{20};
  BothClocks best;
  auto best_gap = PauseWatch::Clock::duration::max();
  for (int look = 0; look < looks_max && best_gap > near; ++look) {
    const auto before = PauseWatch::Clock::now();
    const auto wall = std::chrono::system_clock::now().time_since_epoch();
    const auto gap = PauseWatch::Clock::now() - before;
    if (gap >= best_gap) continue;
    best_gap = gap;
    best = {before + gap / 2, duration_cast<microseconds>(wall).count()};
  }
  return best;
}

}  // namespace

PauseWatch::PauseWatch(Qmp& qmp)
    : subscription_{qmp.subscribe([events = events_](const Event& event) { events->heard(event); })} {}

void PauseWatch::Events::heard(const Event& event) {
  const bool stop = event.name == "STOP";
  if (!stop && event.name != "RESUME") return;
  const std::lock_guard lock{mutex};
  if (stop) {
    stop_us = event.time_us;
    resume_us.reset();
  } else {
    resume_us = event.time_us;
    changed.notify_all();
  }
}

void PauseWatch::asked() {
  ours_.asked = Clock::now();
  const std::lock_guard lock{events_->mutex};
  events_->stop_us.reset();
  events_->resume_us.reset();
}

void PauseWatch::stopped() {
  ours_.stopped = Clock::now();
}

void PauseWatch::released() {
  ours_.released = Clock::now();
}

PauseWatch::Times PauseWatch::times() {
  std::unique_lock lock{events_->mutex};
  events_->changed.wait_until(lock, ours_.released + resume_wait,
                              [this] { return events_->resume_us.has_value(); });
  const auto now = now_by_both();
  const auto moment = [&now](std::optional<std::int64_t> event_us, Clock::time_point otherwise,
                             Clock::time_point earliest, Clock::time_point latest) {
    if (!event_us) return otherwise;
    const auto ago = std::clamp(now.wall_us - *event_us, -far.count(), far.count());
    return std::clamp(now.ours - microseconds{ago}, earliest, latest);
  };
  const auto stands = moment(events_->stop_us, ours_.stopped, ours_.asked, ours_.stopped);
  const auto runs =
      moment(events_->resume_us, ours_.released, ours_.released, std::max(now.ours, ours_.released));
  return {.stop_us = us(stands - ours_.asked),
          .drain_us = us(ours_.stopped - stands),
          .pause_us = us(runs - stands)};
}

}  // namespace remus::hypervisor::qemu
