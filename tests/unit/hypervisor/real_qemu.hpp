// A real, small QEMU for tests: firmware only, no operating system, started in a moment.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "checkpoint/sink.hpp"
#include "hypervisor/child_process.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "hypervisor/qemu/standby.hpp"

namespace remus::test {

namespace fs = std::filesystem;

class RealQemu : public testing::Test {
 protected:
  void SetUp() override {
    program_ = hypervisor::find_program("qemu-system-x86_64");
    if (program_.empty()) GTEST_SKIP() << "qemu-system-x86_64 is not installed";
    char name[] = "/tmp/remus-guest-XXXXXX";
    directory_ = ::mkdtemp(name);
    options_.name = "t" + std::to_string(::getpid());
    options_.image_root = "/dev/shm/remus-test";
    options_.runtime_dir = directory_ / "run";
    options_.environment = environment();
  }
  void TearDown() override {
    if (guest_) static_cast<void>(guest_->kill());
    if (!directory_.empty()) fs::remove_all(directory_);
    std::error_code code;
    fs::remove_all(options_.image_root / options_.name, code);
    fs::remove(options_.image_root, code);
  }

  /// Emulated, so that it runs anywhere; that needs help up to QEMU 10 (lab/qemu/tcg-shim).
  static std::vector<std::string> environment() { return {std::string{"LD_PRELOAD="} + REMUS_TCG_SHIM}; }

  [[nodiscard]] fs::path qmp_path() const { return directory_ / "qmp.sock"; }

  void start(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{
        "-accel",   "tcg",  "-M",          "pc",
        "-m",       "32",   "-nodefaults", "-no-user-config",
        "-display", "none", "-qmp",        "unix:" + qmp_path().native() + ",server=on,wait=off"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    auto guest =
        hypervisor::ChildProcess::spawn({program_, arguments, environment(), "/", directory_ / "log"});
    ASSERT_TRUE(guest) << guest.error().text();
    guest_ = std::move(*guest);
    for (int i = 0; i < 2000 && !qmp_; ++i) {
      auto connected = hypervisor::qemu::Qmp::connect(qmp_path(), std::chrono::milliseconds{20'000});
      if (connected) qmp_ = std::move(*connected);
      ASSERT_TRUE(guest_->running()) << log();
      if (!qmp_) std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
    ASSERT_TRUE(qmp_);
  }

  /// Bounds against hanging: an emulated guest on a busy machine may be late by seconds.
  static hypervisor::qemu::AttachOptions patient(std::vector<std::string> disks = {}) {
    return {.ready_timeout = std::chrono::milliseconds{60'000},
            .stream_timeout = std::chrono::milliseconds{60'000},
            .disks = std::move(disks)};
  }

  [[nodiscard]] std::unique_ptr<hypervisor::qemu::QemuDomain> attach() {
    auto domain = hypervisor::qemu::attach_qemu(qmp_, patient());
    EXPECT_TRUE(domain) << domain.error().text();
    return domain ? std::move(*domain) : nullptr;
  }

  [[nodiscard]] std::string run_state() {
    auto status = qmp_->execute("query-status", nlohmann::json::object(), std::chrono::milliseconds{60'000});
    return status ? status->value("status", "") : status.error().text();
  }
  /// QEMU resumes the guest once it has read what we have just sent it: a moment later.
  [[nodiscard]] bool comes_to_run() {
    for (int i = 0; i < 10'000 && run_state() != "running"; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    return run_state() == "running";
  }
  /// What a standby has become is nobody's child to wait for: killed, and seen to be gone.
  static void kill_taken_over(hypervisor::Standby& standby) {
    ASSERT_EQ(::kill(standby.handle().at("pid").get<pid_t>(), SIGKILL), 0);
    for (int i = 0; i < 1000 && standby.healthy(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    ASSERT_FALSE(standby.healthy());
  }
  [[nodiscard]] std::string log() const {
    std::ifstream file{directory_ / "log"};
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  fs::path program_{};
  fs::path directory_{};
  hypervisor::qemu::StandbyOptions options_{};
  std::optional<hypervisor::ChildProcess> guest_{};
  std::shared_ptr<hypervisor::qemu::Qmp> qmp_{};
};

/// Keeps a copy of the guest, in memory of its own or in that of a standby, and can compare it with the
/// guest.
class CopySink final : public checkpoint::CheckpointSink {
 public:
  void layout(const checkpoint::Layout& layout) override {
    layout_ = layout;
    if (standby != nullptr) {
      auto prepared = standby->prepare(*description, layout);
      ASSERT_TRUE(prepared) << prepared.error().text();
      blocks_ = prepared->blocks;
    } else {
      own_.assign(std::size_t{layout.pages()} * checkpoint::page_bytes, std::byte{0xee});
      for (const auto& block : layout.blocks)
        blocks_.push_back(
            std::span{own_}.subspan(std::size_t{block.first_page} * checkpoint::page_bytes, block.bytes));
    }
  }
  void paused() override { ++pauses; }
  std::span<std::byte> space(std::size_t at_least) override {
    if (fail_space) return {};
    if (space_.size() - used_ < at_least) {
      space_.assign(std::max<std::size_t>(at_least, 8UL << 20),
                    std::byte{0});  // nothing is kept: pages are copied at once
      used_ = 0;
    }
    return std::span{space_}.subspan(used_);
  }
  void advance(std::size_t bytes) override { used_ += bytes; }
  void page(checkpoint::PageIndex index, const std::byte* data) override {
    std::copy_n(data, checkpoint::page_bytes, at(index));
  }
  void zero_page(checkpoint::PageIndex index) override {
    std::fill_n(at(index), checkpoint::page_bytes, std::byte{0});
  }
  void device_state(std::span<const std::byte> state) override {
    device.assign(state.begin(), state.end());
    if (compare_with == nullptr) return;
    auto read =
        compare_with->read_memory(0, [&](checkpoint::PageIndex first, std::span<const std::byte> pages) {
          for (std::size_t i = 0; i < pages.size() / checkpoint::page_bytes; ++i, ++compared)
            if (!std::equal(at(first + static_cast<checkpoint::PageIndex>(i)),
                            at(first + static_cast<checkpoint::PageIndex>(i)) + checkpoint::page_bytes,
                            pages.begin() + static_cast<std::ptrdiff_t>(i * checkpoint::page_bytes)))
              ++different;
          return true;
        });
    EXPECT_TRUE(read) << read.error().text();
  }

  hypervisor::Standby* standby{};
  const hypervisor::GuestDescription* description{};
  hypervisor::Domain* compare_with{};
  std::vector<std::byte> device{};
  int pauses{};
  std::size_t compared{};
  std::size_t different{};
  bool fail_space{false};

 private:
  std::byte* at(checkpoint::PageIndex index) {
    for (std::size_t i = 0; i < layout_.blocks.size(); ++i) {
      const auto& block = layout_.blocks[i];
      if (index - block.first_page < block.pages())
        return blocks_[i].data() + std::size_t{index - block.first_page} * checkpoint::page_bytes;
    }
    ADD_FAILURE() << "page " << index << " is in no block";
    return space_.data();
  }

  checkpoint::Layout layout_{};
  std::vector<std::byte> own_{};
  std::vector<std::span<std::byte>> blocks_{};
  std::vector<std::byte> space_{std::vector<std::byte>(8UL << 20)};
  std::size_t used_{};
};

}  // namespace remus::test
