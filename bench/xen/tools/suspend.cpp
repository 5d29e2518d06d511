// bench_xen_suspend DOMAIN ROUNDS SETUP NOTICE
//
// Suspends and resumes a cooperative domain, again and again, 20 ms apart; prints for each round how many microseconds
// it took to know that the guest stands still, and to have it run again.
//
//   SETUP   kept      handles, event channel and thread are there before the first round: what the product does
//           made      a thread, and all it needs, made for each round and given up after it
//   NOTICE  event     by the event channel subscribed for suspends: what the product does
//           xenstore  by xenstored's @releaseDomain, as Xen's own toolstack learns of it
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "hypervisor/xen/handles.hpp"
#include "hypervisor/xen/inspect.hpp"
#include "hypervisor/xen/ioreq_servers.hpp"
#include "hypervisor/xen/suspender.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor::xen;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds patience{30};

/// Stops the guest, and lets it go on.
class Way {
 public:
  Way() = default;
  Way(const Way&) = delete;
  Way& operator=(const Way&) = delete;
  virtual ~Way() = default;
  virtual Status stop() = 0;
  virtual Status resume() = 0;
};

class ByEvent final : public Way {
 public:
  explicit ByEvent(const DomainFacts& facts) : facts_{facts} {}
  Status open() {
    auto handles = Handles::open();
    if (!handles) return std::unexpected(handles.error());
    suspender_ = std::make_unique<Suspender>(
        *handles, std::make_shared<IoreqServers>(*handles, facts_.domid, facts_.vcpus), facts_, mark_);
    return suspender_->open();
  }
  Status stop() override { return suspender_->stop(patience); }
  Status resume() override { return suspender_->resume(); }

 private:
  const DomainFacts& facts_;
  SessionMark mark_{};
  std::unique_ptr<Suspender> suspender_{};
};

class ByXenstore final : public Way {
 public:
  explicit ByXenstore(const DomainFacts& facts) : facts_{facts} {}
  Status open() {
    auto handles = Handles::open();
    if (!handles) return std::unexpected(handles.error());
    handles_ = *handles;
    if (!xs_watch(handles_->store(), "@releaseDomain", "bench"))
      return handles_->fail_call("cannot watch for domains that end");
    return {};
  }
  Status stop() override {
    if (!handles_->write(Handles::domain_path(facts_.domid) + "/control/shutdown", "suspend"))
      return handles_->fail_call("cannot ask the guest to suspend itself");
    for (const auto end = Clock::now() + patience; Clock::now() < end;) {
      unsigned count = 0;
      char** event = xs_read_watch(handles_->store(), &count);
      std::free(static_cast<void*>(event));
      const auto state = domain_state(*handles_, facts_.domid);
      if (!state) return fail(Errc::closed, "the domain is gone");
      if (state->suspended()) return {};
    }
    return fail(Errc::timeout, "the guest has not suspended itself");
  }
  Status resume() override {
    if (xc_domain_resume(handles_->xc(), facts_.domid, 1) == 0) return {};
    return handles_->fail_call("cannot resume the guest");
  }

 private:
  const DomainFacts& facts_;
  std::shared_ptr<Handles> handles_{};
};

template <typename Kind>
Result<std::unique_ptr<Way>> make(const DomainFacts& facts) {
  auto way = std::make_unique<Kind>(facts);
  if (auto opened = way->open(); !opened) return std::unexpected(opened.error());
  return way;
}

long long us(Clock::duration time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time).count();
}

Status round(Way& way, Clock::time_point start) {
  if (auto stopped = way.stop(); !stopped) return stopped;
  const auto known = Clock::now();
  if (auto resumed = way.resume(); !resumed) return resumed;
  fmt::print("stopped {} resumed {}\n", us(known - start), us(Clock::now() - start));
  return {};
}

Status run(std::string_view domain, unsigned rounds, bool kept, bool event) {
  auto handles = Handles::open();
  if (!handles) return std::unexpected(handles.error());
  auto domid = find_domain(**handles, domain);
  if (!domid) return std::unexpected(domid.error());
  auto facts = inspect(**handles, *domid);
  if (!facts) return std::unexpected(facts.error());
  const auto made = [&] { return event ? make<ByEvent>(*facts) : make<ByXenstore>(*facts); };
  std::unique_ptr<Way> way;
  if (kept) {
    auto first = made();
    if (!first) return std::unexpected(first.error());
    way = std::move(*first);
  }
  for (unsigned i = 0; i < rounds; ++i) {
    ::usleep(20'000);
    const auto start = Clock::now();
    Status done{};
    if (way) {
      done = round(*way, start);
    } else {
      std::jthread{[&] {
        auto own = made();
        done = own ? round(**own, start) : Status{std::unexpected(own.error())};
      }}.join();
    }
    if (!done) return done;
  }
  return {};
}

}  // namespace

int main(int count, char** words) {
  unsigned rounds = 0;
  if (count == 5) {
    const std::string_view text{words[2]};
    std::from_chars(text.data(), text.data() + text.size(), rounds);
  }
  const std::string_view setup{count == 5 ? words[3] : ""};
  const std::string_view notice{count == 5 ? words[4] : ""};
  if (rounds == 0 || (setup != "kept" && setup != "made") || (notice != "event" && notice != "xenstore")) {
    fmt::print(stderr, "usage: bench_xen_suspend DOMAIN ROUNDS kept|made event|xenstore\n");
    return 2;
  }
  if (auto done = run(words[1], rounds, setup == "kept", notice == "event"); !done) {
    fmt::print(stderr, "error: {}\n", done.error().text());
    return 1;
  }
  return 0;
}
