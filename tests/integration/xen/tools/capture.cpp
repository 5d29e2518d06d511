// remus-xen-capture DOMAIN [--epochs N] [--interval MS] [--vouch DISK] [--verify] [--reference] [--save FILE]
//
// Protects a domain into nothing (or into an image in memory) and tells what each checkpoint cost. Options:
//   --verify     after the last checkpoint, the guest still standing, its memory is compared with the image
//   --reference  the same with what xc_domain_save writes at that moment, records included
//   --save FILE  writes the last checkpoint as a file for `xl restore`
//   --rescue     only frees the domain from a dead predecessor
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <x86intrin.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>
#include <ranges>
#include <vector>

#include "hypervisor/xen/domain.hpp"
#include "image_sink.hpp"
#include "late_writes.hpp"
#include "reference.hpp"
#include "save_file.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor;

struct Options {
  std::string domain{};
  unsigned epochs{5};
  unsigned interval_ms{50};
  std::string save{};
  bool verify{false};
  bool reference{false};
  bool rescue{false};
  xen::XenAttachOptions attach{};
};

xen::XenDomain* running = nullptr;

/// The processor's clock when the guest was last known to stand still: Xen's own trace has the same clock.
std::uint64_t paused_at = 0;

void print(const char* what, const CaptureReport& report) {
  fmt::print("{}: pause {} us (stop {}, copy {}, device {}), {} pages, {} zero, {} device bytes, clock {}\n",
             what, report.pause_us, report.stop_us, report.copy_us, report.drain_us + report.device_us,
             report.pages, report.zero_pages, report.device_bytes, paused_at);
  std::fflush(stdout);
}

std::uint64_t gfn_of(const test::ImageSink& image, checkpoint::PageIndex index) {
  for (const auto& block : image.guest().blocks)
    if (index >= block.first_page && index < block.first_page + block.pages())
      return test::first_gfn(block) + index - block.first_page;
  return ~std::uint64_t{0};
}

Status verify(xen::XenDomain& domain, const test::ImageSink& image) {
  std::vector<std::uint64_t> different;
  auto read = domain.read_memory(0, [&](checkpoint::PageIndex first, std::span<const std::byte> pages) {
    for (std::size_t i = 0; i < pages.size() / checkpoint::page_bytes; ++i) {
      const auto index = static_cast<checkpoint::PageIndex>(first + i);
      if (std::memcmp(image.at(index), pages.data() + i * checkpoint::page_bytes, checkpoint::page_bytes) !=
          0)
        different.push_back(gfn_of(image, index));
    }
    return true;
  });
  if (!read) return read;
  auto handles = xen::Handles::open();
  if (!handles) return std::unexpected(handles.error());
  auto late = test::late_writes(**handles, domain.domid());
  if (!late) return std::unexpected(late.error());
  const auto by_others =
      std::erase_if(different, [&](std::uint64_t gfn) { return late->written.contains(gfn); });
  for (const std::uint64_t gfn : different | std::views::take(20))
    fmt::print("different: gfn {:#x}{}\n", gfn, late->granted.contains(gfn) ? ", granted" : "");
  fmt::print("verified: {} pages, {} differ, {} of {} granted pages written meanwhile\n",
             image.guest().pages(), different.size(), by_others, late->granted.size());
  return different.empty() ? Status{} : fail(Errc::corrupt, "the image differs from the guest");
}

Status run(const Options& options) {
  if (options.rescue) return xen::rescue_xen(options.domain);
  xen::XenAttachOptions how = options.attach;
  how.hold_model = options.verify || options.reference;
  auto attached = xen::attach_xen(options.domain, how);
  if (!attached) return std::unexpected(attached.error());
  xen::XenDomain& domain = **attached;
  running = &domain;
  std::signal(SIGTERM, [](int) { running->interrupt(); });
  fmt::print("attached: domain {}, {} MiB, {}\n", domain.domid(), domain.description().memory_bytes >> 20,
             domain.description().details.at("cooperative").get<bool>() ? "cooperative" : "paused");
  for (const auto& vif : domain.vifs()) fmt::print("vif {} {} on {}\n", vif.devid, vif.interface, vif.bridge);
  checkpoint::BlackholeSink blackhole;
  blackhole.on_paused([] { paused_at = __rdtsc(); });
  test::ImageSink image;
  const bool whole = options.verify || options.reference || !options.save.empty();
  checkpoint::CheckpointSink& sink = whole ? static_cast<checkpoint::CheckpointSink&>(image) : blackhole;
  const auto start = std::chrono::steady_clock::now();
  auto synchronized = domain.synchronize(sink, {});
  if (!synchronized) return std::unexpected(synchronized.error());
  fmt::print("synchronized in {} ms\n",
             std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start)
                 .count());
  print("epoch 0", *synchronized);
  Status checked{};
  CaptureReport sum;
  for (unsigned epoch = 1; epoch <= options.epochs; ++epoch) {
    ::usleep(options.interval_ms * 1000);
    if (epoch == options.epochs && whole) {
      image.on_complete = [&] {
        if (options.verify) checked = verify(domain, image);
        if (!options.reference || !checked) return;
        auto differences = test::compare_with_stock(domain.domid(), image, options.verify);
        if (!differences)
          checked = std::unexpected(differences.error());
        else if (*differences > 0)
          checked = fail(Errc::corrupt, "the capture differs from the reference");
      };
    }
    auto report = domain.capture(epoch, sink);
    if (!report) return std::unexpected(report.error());
    print(fmt::format("epoch {}", epoch).c_str(), *report);
    sum.pause_us += report->pause_us, sum.stop_us += report->stop_us, sum.copy_us += report->copy_us;
    sum.device_us += report->drain_us + report->device_us, sum.pages += report->pages;
  }
  if (options.epochs > 0)
    fmt::print("MEAN of {}: pause {} us, stop {} us, copy {} us, device {} us, {} pages\n", options.epochs,
               sum.pause_us / options.epochs, sum.stop_us / options.epochs, sum.copy_us / options.epochs,
               sum.device_us / options.epochs, sum.pages / options.epochs);
  if (!checked) return checked;
  if (auto left = domain.detach(); !left) return left;
  if (!options.save.empty()) return test::write_save_file(options.save, domain.description(), image);
  return {};
}

std::optional<Options> parse(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string_view word{words[i]};
    const auto value = [&]() -> std::string { return i + 1 < count ? words[++i] : "0"; };
    if (word == "--epochs")
      options.epochs = static_cast<unsigned>(std::stoul(value()));
    else if (word == "--interval")
      options.interval_ms = static_cast<unsigned>(std::stoul(value()));
    else if (word == "--timeout")
      options.attach.suspend_timeout = std::chrono::milliseconds{std::stoul(value())};
    else if (word == "--save")
      options.save = value();
    else if (word == "--helpers")
      options.attach.copy_helpers = static_cast<unsigned>(std::stoul(value()));
    else if (word == "--vouch")
      options.attach.vouched_disks.push_back(value());
    else if (word == "--verify")
      options.verify = true;
    else if (word == "--reference")
      options.reference = true;
    else if (word == "--rescue")
      options.rescue = true;
    else if (word == "--debug")
      spdlog::set_level(spdlog::level::debug);
    else if (options.domain.empty())
      options.domain = word;
    else
      return std::nullopt;
  }
  if (options.domain.empty()) return std::nullopt;
  return options;
}

}  // namespace

int main(int count, char** words) {
  const auto options = parse(count, words);
  if (!options) {
    fmt::print(stderr,
               "usage: remus-xen-capture DOMAIN [--epochs N] [--interval MS] [--timeout MS] [--helpers N] "
               "[--vouch DISK] "
               "[--verify] [--reference] [--save FILE] [--rescue] [--debug]\n");
    return 2;
  }
  if (auto done = run(*options); !done) {
    fmt::print(stderr, "error ({}): {}\n", to_string(done.error().kind), done.error().text());
    return 1;
  }
  return 0;
}
