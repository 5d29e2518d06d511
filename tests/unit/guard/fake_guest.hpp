// A guest of a few MiB whose memory a test changes, behind the Domain seam; and a standby that is plain
// memory.
#pragma once

#include <atomic>
#include <cstring>
#include <future>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "hypervisor/domain.hpp"
#include "hypervisor/standby.hpp"
#include "output/output_buffer.hpp"

namespace remus::guard::testing {

inline checkpoint::Layout small_layout(checkpoint::PageIndex pages = 3000) {
  checkpoint::Layout layout;
  layout.add("ram", (pages - 100) * checkpoint::page_bytes);
  layout.add("rom", 100 * checkpoint::page_bytes);
  return layout;
}

class FakeDomain final : public hypervisor::Domain {
 public:
  explicit FakeDomain(checkpoint::Layout layout)
      : layout_{std::move(layout)}, memory_(std::size_t{layout_.pages()} * checkpoint::page_bytes) {}

  [[nodiscard]] const hypervisor::GuestDescription& description() const override { return description_; }

  Result<hypervisor::CaptureReport> synchronize(
      checkpoint::CheckpointSink& sink,
      const std::function<void(hypervisor::SyncProgress)>& progress) override {
    sink.layout(layout_);
    for (checkpoint::PageIndex i = 0; i < layout_.pages(); ++i) {
      if (i == layout_.pages() / 2) sink.paused();
      if (!put(sink, i)) return fail(Errc::closed, "given up");
    }
    progress({memory_.size(), memory_.size()});
    dirty_.clear();
    return finish(sink, layout_.pages());
  }
  Status ready() override { return {}; }
  Result<hypervisor::CaptureReport> capture(checkpoint::Epoch, checkpoint::CheckpointSink& sink) override {
    if (fail_next_.exchange(false)) return fail(Errc::io, "as the test asked");
    sink.paused();
    if (const auto visit = std::exchange(visit_, {})) {
      const std::vector<std::byte> before(checkpoint::page_bytes, std::byte{0xa5});
      visit(*rewritten, before);
      visit(*rewritten, bytes_of(*rewritten, 1));
    }
    const auto pages = dirty_;
    for (const auto index : pages)
      if (!put(sink, index)) return fail(Errc::exhausted, "no space");
    dirty_.clear();
    return finish(sink, pages.size());
  }
  Status detach() override {
    ++detached;
    return {};
  }
  void interrupt() override {}
  [[nodiscard]] bool alive() const override { return true; }
  Status read_memory(checkpoint::PageIndex from, const hypervisor::MemoryVisit& visit) override {
    for (checkpoint::PageIndex page = from; page < layout_.pages();) {
      const checkpoint::PageIndex end = unreadable && page <= *unreadable ? *unreadable : layout_.pages();
      const auto pages = std::min<checkpoint::PageIndex>(end - page, visited_at_once);
      if (pages != 0 && !visit(page, bytes_of(page, pages))) break;
      page += pages;
      if (page == unreadable) ++page;
    }
    if (rewritten) visit_ = visit;
    return {};
  }
  std::optional<checkpoint::PageIndex> unreadable{};  ///< by anybody but the guest: a device's memory
  std::optional<checkpoint::PageIndex> rewritten{};   ///< by a backend, after it was read
  checkpoint::PageIndex visited_at_once{16};

  /// Changes `count` pages, each in one of the ways guests do.
  void change(std::mt19937_64& random, std::size_t count) {
    for (std::size_t n = 0; n < count; ++n) {
      const auto index = static_cast<checkpoint::PageIndex>(random() % layout_.pages());
      std::byte* page = memory_.data() + std::size_t{index} * checkpoint::page_bytes;
      switch (random() % 4) {
        case 0: std::memset(page, 0, checkpoint::page_bytes); break;
        case 1: page[random() % checkpoint::page_bytes] ^= std::byte{1}; break;
        case 2:
          for (std::size_t i = 0; i < checkpoint::page_bytes; i += 8) {
            const auto word = random();
            std::memcpy(page + i, &word, 8);
          }
          break;
        default: break;  // dirty, but the same
      }
      dirty_.insert(index);
    }
    ++devices_;
  }
  [[nodiscard]] const std::vector<std::byte>& memory() const { return memory_; }
  [[nodiscard]] std::vector<std::byte> devices() const {
    std::vector<std::byte> state(5000, std::byte{7});
    std::memcpy(state.data() + 100, &devices_, sizeof devices_);
    return state;
  }
  /// Another guest in its place. Only while nothing is captured.
  void remap(checkpoint::Layout layout) {
    layout_ = std::move(layout);
    memory_.assign(std::size_t{layout_.pages()} * checkpoint::page_bytes, std::byte{});
  }
  void fail_next() { fail_next_ = true; }
  std::atomic<int> detached{0};

 private:
  [[nodiscard]] std::span<const std::byte> bytes_of(checkpoint::PageIndex first,
                                                    checkpoint::PageIndex pages) const {
    return std::span{memory_}.subspan(std::size_t{first} * checkpoint::page_bytes,
                                      std::size_t{pages} * checkpoint::page_bytes);
  }
  bool put(checkpoint::CheckpointSink& sink, checkpoint::PageIndex index) {
    const auto space = sink.space(checkpoint::page_bytes);
    if (space.size() < checkpoint::page_bytes) return false;
    const std::byte* page = memory_.data() + std::size_t{index} * checkpoint::page_bytes;
    std::memcpy(space.data(), page, checkpoint::page_bytes);
    sink.advance(checkpoint::page_bytes);
    sink.page(index, space.data());
    return true;
  }
  Result<hypervisor::CaptureReport> finish(checkpoint::CheckpointSink& sink, std::size_t pages) {
    const auto state = devices();
    const auto space = sink.space(state.size());
    std::memcpy(space.data(), state.data(), state.size());
    sink.advance(state.size());
    sink.device_state(space.first(state.size()));
    return hypervisor::CaptureReport{.pause_us = 10, .pages = pages, .device_bytes = state.size()};
  }

  checkpoint::Layout layout_;
  std::vector<std::byte> memory_;
  std::set<checkpoint::PageIndex> dirty_{};
  hypervisor::MemoryVisit visit_{};
  std::uint64_t devices_{0};
  std::atomic<bool> fail_next_{false};
  hypervisor::GuestDescription description_{};
};

class FakeStandby final : public hypervisor::Standby {
 public:
  struct View {  ///< what the test sees of it from outside
    std::vector<std::vector<std::byte>> memory{};
    std::vector<std::byte> activated_with{};
    int prepared{0};
    int discarded{0};
    bool healthy{true};
    std::shared_future<void> answer_after{};  ///< healthy() waits for it: a busy apply thread
  };
  explicit FakeStandby(View& view) : view_{view} {}

  Status build(const hypervisor::GuestDescription&) override { return {}; }
  Result<hypervisor::StandbyMemory> prepare(const hypervisor::GuestDescription&,
                                            const checkpoint::Layout& layout) override {
    ++view_.prepared;
    view_.memory.clear();
    hypervisor::StandbyMemory out{.layout = layout, .blocks = {}};
    for (const auto& block : layout.blocks) view_.memory.emplace_back(block.bytes);
    for (auto& block : view_.memory) out.blocks.emplace_back(block);
    return out;
  }
  Result<hypervisor::ActivationReport> activate(std::span<const std::byte> state) override {
    view_.activated_with.assign(state.begin(), state.end());
    return hypervisor::ActivationReport{};
  }
  Status discard() override {
    ++view_.discarded;
    return {};
  }
  bool healthy() override {
    if (view_.answer_after.valid()) view_.answer_after.wait();
    return view_.healthy;
  }
  nlohmann::json handle() const override { return nullptr; }

 private:
  View& view_;
};

class FakeOutput final : public output::OutputBuffer {
 public:
  void on_waiting(std::function<void()>) override {}
  Status attach() override { return {}; }
  Status hold() override {
    ++holds;
    return {};
  }
  Status mark(checkpoint::Epoch epoch) override {
    if (unmarkable) return fail(Errc::timeout, "as the test asked");
    marked = epoch;
    return {};
  }
  void release(checkpoint::Epoch) override {}
  void pass() override {}
  void discard() override {}
  Status detach() override { return {}; }
  output::OutputStats stats() const override { return {}; }
  std::atomic<int> holds{0};
  std::atomic<checkpoint::Epoch> marked{0};
  std::atomic<bool> unmarkable{false};
};

}  // namespace remus::guard::testing
