// The whole room against the QEMU installed on this machine.
#include "real_qemu.hpp"

#include <gmock/gmock.h>

#include "hypervisor/qemu/inspect.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor;
using namespace remus::hypervisor::qemu;
using remus::test::CopySink;
using remus::test::RealQemu;
using testing::HasSubstr;
namespace fs = std::filesystem;

TEST_F(RealQemu, CapturesExactlyTheGuestAgainAndAgain) {
  start();
  auto domain = attach();
  ASSERT_TRUE(domain);
  EXPECT_EQ(domain->description().memory_bytes, 32ULL << 20);
  for (int round = 0; round < 2;
       ++round) {  // a second synchronization after detach() is as good as the first
    CopySink sink;
    sink.compare_with = domain.get();
    std::uint64_t told = 0;
    auto first = domain->synchronize(sink, [&](SyncProgress progress) { told = progress.total_bytes; });
    ASSERT_TRUE(first) << first.error().text() << log();
    EXPECT_EQ(sink.pauses, 1);
    EXPECT_GT(told, 32ULL << 20);
    for (checkpoint::Epoch epoch = 1; epoch <= 10; ++epoch) {
      auto report = domain->capture(epoch, sink);
      ASSERT_TRUE(report) << report.error().text() << log();
      EXPECT_GT(report->device_bytes, 1000U);
      EXPECT_GT(report->drain_us, 0U) << "QEMU's own event tells when the guest stopped";
      EXPECT_GE(report->pause_us, report->drain_us + report->copy_us + report->device_us);
    }
    EXPECT_EQ(sink.pauses, 11);
    EXPECT_EQ(sink.compared, 11U * 8192U);
    EXPECT_EQ(sink.different, 0U);
    ASSERT_TRUE(domain->detach());
    ASSERT_TRUE(domain->detach()) << "idempotent";
    EXPECT_EQ(run_state(), "running");
  }
}

TEST_F(RealQemu, DetachPutsTheUsersSettingsBack) {
  start();
  ASSERT_TRUE(qmp_->execute("migrate-set-parameters", {{"max-bandwidth", 12345678}, {"downtime-limit", 77}}));
  ASSERT_TRUE(qmp_->execute("migrate-set-capabilities",
                            {{"capabilities", {{{"capability", "xbzrle"}, {"state", true}}}}}));
  auto domain = attach();
  CopySink sink;
  auto synchronized = domain->synchronize(sink, {});
  ASSERT_TRUE(synchronized) << synchronized.error().text();
  ASSERT_TRUE(domain->detach());
  const auto parameters = qmp_->execute("query-migrate-parameters");
  EXPECT_EQ(parameters->at("max-bandwidth"), 12345678);
  EXPECT_EQ(parameters->at("downtime-limit"), 77);
  EXPECT_EQ(parameters->at("x-checkpoint-delay"), 20000);
  const auto capabilities = qmp_->execute("query-migrate-capabilities");
  for (const auto& entry : *capabilities)
    EXPECT_EQ(entry.at("state").get<bool>(), entry.at("capability") == "xbzrle") << entry.dump();
}

TEST_F(RealQemu, AFailureInsideACheckpointLeavesTheGuestRunning) {
  start();
  auto domain = attach();
  CopySink sink;
  ASSERT_TRUE(domain->synchronize(sink, {}));
  ASSERT_TRUE(domain->capture(1, sink));
  sink.fail_space = true;
  const auto report = domain->capture(2, sink);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, Errc::exhausted) << report.error().text();
  EXPECT_EQ(run_state(), "running");
  sink.fail_space = false;
  ASSERT_TRUE(domain->synchronize(sink, {})) << "and it can be protected again";
  EXPECT_TRUE(comes_to_run());
}

TEST_F(RealQemu, InterruptEndsAWaitAndLeavesTheGuestRunning) {
  start();
  auto domain = attach();
  CopySink sink;
  ASSERT_TRUE(domain->synchronize(sink, {}));
  domain->interrupt();
  const auto report = domain->capture(1, sink);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, Errc::closed) << report.error().text();
  EXPECT_EQ(run_state(), "running");
}

TEST_F(RealQemu, TheGuestsDeathIsClosed) {
  start();
  auto domain = attach();
  CopySink sink;
  ASSERT_TRUE(domain->synchronize(sink, {}));
  EXPECT_TRUE(domain->alive());
  ASSERT_TRUE(guest_->kill());
  EXPECT_FALSE(domain->alive());
  const auto report = domain->capture(1, sink);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, Errc::closed);
  EXPECT_TRUE(domain->detach());
}

TEST_F(RealQemu, AStandbyTakesOver) {
  start({"-device", "e1000,netdev=u0", "-netdev", "user,id=u0", "-device", "VGA"});
  auto domain = attach();
  ASSERT_TRUE(domain);
  const auto standby = make_qemu_standby(options_);
  CopySink sink;
  sink.standby = standby.get();
  sink.description = &domain->description();
  sink.compare_with = domain.get();
  auto first = domain->synchronize(sink, {});
  ASSERT_TRUE(first) << first.error().text();
  EXPECT_TRUE(standby->healthy());
  ASSERT_TRUE(domain->capture(1, sink));
  EXPECT_EQ(sink.different, 0U);
  const auto left = find_standby(options_);
  ASSERT_TRUE(left);
  EXPECT_TRUE(left->running);

  ASSERT_TRUE(guest_->kill());
  const auto report = standby->activate(sink.device);
  ASSERT_TRUE(report) << report.error().text();
  RecordProperty("activation_us", static_cast<int>(report->total_us));
  EXPECT_TRUE(standby->healthy());
  EXPECT_FALSE(fs::exists(options_.image_root / options_.name)) << "nothing is left when it ends";
  EXPECT_EQ(discard_standby(options_).error().kind, Errc::refused);

  // It is an ordinary guest now: it can be protected itself.
  auto qmp = Qmp::connect(standby->handle().at("qmp").get<std::string>());
  ASSERT_TRUE(qmp) << qmp.error().text();
  EXPECT_EQ((*qmp)->execute("query-status")->at("status"), "running");
  {
    auto again = attach_qemu(*qmp, patient());
    ASSERT_TRUE(again) << again.error().text();
    CopySink copy;
    copy.compare_with = again->get();
    auto synchronized = (*again)->synchronize(copy, {});
    ASSERT_TRUE(synchronized) << synchronized.error().text();
    ASSERT_TRUE((*again)->capture(1, copy));
    EXPECT_EQ(copy.different, 0U);
  }
  kill_taken_over(*standby);
  EXPECT_TRUE(discard_standby(options_));
}

TEST_F(RealQemu, ADiscardedStandbyLeavesNothing) {
  start();
  auto domain = attach();
  auto standby = make_qemu_standby(options_);
  CopySink sink;
  sink.standby = standby.get();
  sink.description = &domain->description();
  ASSERT_TRUE(domain->synchronize(sink, {}));
  const pid_t pid = standby->handle().at("pid").get<pid_t>();
  EXPECT_EQ(::kill(pid, 0), 0);
  ASSERT_TRUE(standby->discard());
  ASSERT_TRUE(standby->discard()) << "idempotent";
  EXPECT_NE(::kill(pid, 0), 0);
  EXPECT_FALSE(fs::exists(options_.image_root / options_.name));
  EXPECT_EQ(find_standby(options_).error().kind, Errc::not_found);
}

TEST_F(RealQemu, ADamagedStateIsRefusedAndTheStandbyDiscarded) {
  start();
  auto domain = attach();
  const auto standby = make_qemu_standby(options_);
  CopySink sink;
  sink.standby = standby.get();
  sink.description = &domain->description();
  ASSERT_TRUE(domain->synchronize(sink, {}));
  EXPECT_EQ(standby->activate(std::span{sink.device}.first(100)).error().kind, Errc::corrupt);
  sink.device[3] = std::byte{0xff};  // the first section's id
  const auto report = standby->activate(sink.device);
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().text(), HasSubstr("its QEMU says"));
  EXPECT_TRUE(standby->discard());
}

TEST_F(RealQemu, RescueFreesAGuestFromADeadGuard) {
  start();
  // A guard that dies while the guest is paused: its process ends between VMSTATE_SEND and VMSTATE_LOADED.
  qmp_->close();
  qmp_.reset();
  const pid_t guard = ::fork();
  ASSERT_GE(guard, 0);
  if (guard == 0) {
    struct DyingSink final : checkpoint::CheckpointSink {
      void layout(const checkpoint::Layout& told) override { copy.layout(told); }
      void paused() override {
        if (++pauses == 2) ::_exit(0);
      }
      std::span<std::byte> space(std::size_t at_least) override { return copy.space(at_least); }
      void advance(std::size_t bytes) override { copy.advance(bytes); }
      void page(checkpoint::PageIndex index, const std::byte* data) override { copy.page(index, data); }
      void zero_page(checkpoint::PageIndex index) override { copy.zero_page(index); }
      void device_state(std::span<const std::byte>) override {}
      CopySink copy{};
      int pauses{};
    } sink;
    auto qmp = Qmp::connect(qmp_path());
    if (!qmp) ::_exit(2);
    const nlohmann::json leftover{{"id", "remus-left"},
                                  {"backend", {{"type", "null"}, {"data", nlohmann::json::object()}}}};
    static_cast<void>((*qmp)->execute("chardev-add", leftover));
    auto domain = attach_qemu(*qmp, patient());
    if (!domain || !(*domain)->synchronize(sink, {})) ::_exit(3);
    static_cast<void>((*domain)->capture(1, sink));
    ::_exit(4);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(guard, &status, 0), guard);
  ASSERT_EQ(WEXITSTATUS(status), 0) << "the guard did not die where it should: " << log();

  const auto rescued = rescue_qemu(qmp_path());
  ASSERT_TRUE(rescued) << rescued.error().text();
  auto qmp = Qmp::connect(qmp_path());
  ASSERT_TRUE(qmp);
  qmp_ = *qmp;
  EXPECT_EQ(run_state(), "running");
  EXPECT_EQ(qmp_->execute("query-migrate-parameters")->at("x-checkpoint-delay"), 20000);
  const auto chardevs = qmp_->execute("query-chardev");
  for (const auto& entry : *chardevs)
    EXPECT_FALSE(entry.at("label").get<std::string>().starts_with("remus-"));
  EXPECT_TRUE(rescue_qemu(*qmp_)) << "a healthy guest is left alone";
  EXPECT_EQ(run_state(), "running");
  auto domain = attach();
  CopySink sink;
  EXPECT_TRUE(domain->synchronize(sink, {}));
}

TEST_F(RealQemu, RescueLeavesAPausedGuestPaused) {
  start();
  ASSERT_TRUE(qmp_->execute("stop"));
  EXPECT_TRUE(rescue_qemu(*qmp_));
  EXPECT_EQ(run_state(), "paused");
  const auto refused = attach_qemu(qmp_, {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text(), HasSubstr("resume it first"));
}

TEST_F(RealQemu, AGuestInMigrationIsRefusedUntouched) {
  start();
  ASSERT_TRUE(qmp_->execute("migrate-set-parameters", {{"max-bandwidth", 1000}}));
  ASSERT_TRUE(qmp_->execute("migrate", {{"uri", "exec:cat > /dev/null"}}));
  const auto refused = attach_qemu(qmp_, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, Errc::refused);
  EXPECT_THAT(refused.error().text(), HasSubstr("migration of the guest is under way"));
  EXPECT_EQ(run_state(), "running");
  EXPECT_THAT(qmp_->execute("query-migrate")->at("status").get<std::string>(),
              testing::AnyOf("setup", "active"));
  ASSERT_TRUE(qmp_->execute("migrate_cancel"));
}

TEST_F(RealQemu, AWritableDiskIsRefusedUntouched) {
  std::ofstream{directory_ / "disk"} << std::string(1 << 16, '\0');
  start({"-drive", "if=virtio,format=raw,file=" + (directory_ / "disk").native()});
  const auto refused = attach_qemu(qmp_, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, Errc::refused);
  EXPECT_THAT(refused.error().text(), HasSubstr("disk 'virtio0'"));
  EXPECT_THAT(refused.error().text(), HasSubstr("is writable, and would not be there after a failover"));
  EXPECT_EQ(run_state(), "running");
}

TEST_F(RealQemu, AReadOnlyDiskIsNot) {
  std::ofstream{directory_ / "cd.iso"} << std::string(1 << 16, '\0');
  start({"-cdrom", directory_ / "cd.iso"});
  auto domain = attach();
  ASSERT_TRUE(domain);
  EXPECT_EQ(domain->description().details.at("files").at((directory_ / "cd.iso").native()), 1 << 16);
}

TEST_F(RealQemu, APluggedInDeviceIsRefused) {
  start();
  ASSERT_TRUE(qmp_->execute("device_add", {{"driver", "virtio-rng-pci"}, {"id", "late"}}));
  const auto refused = attach_qemu(qmp_, {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text(), HasSubstr("'late' (virtio-rng-pci) was added after"));
}

TEST_F(RealQemu, AnArmedCommandTakenBackIsNotCarriedOut) {
  start();
  ASSERT_TRUE(qmp_->arm("stop", nlohmann::json::object()));
  EXPECT_EQ(run_state(), "running");
  ASSERT_TRUE(qmp_->arm("stop", nlohmann::json::object()));
  EXPECT_FALSE(qmp_->await_fired());
  ASSERT_TRUE(qmp_->fire());
  ASSERT_TRUE(qmp_->await_fired());
  EXPECT_EQ(run_state(), "paused");
}

TEST_F(RealQemu, NumaMemoryIsCapturedAndTakenOver) {
  // Without the firmware's vapic page: emulated, QEMU 7.2 locks itself up when it stops two CPUs that set it up.
  start({"-smp", "2", "-m", "64", "-global", "apic.vapic=off", "-object",
         "memory-backend-ram,id=node0,size=32M", "-numa", "node,cpus=0,memdev=node0", "-object",
         "memory-backend-memfd,id=node1,size=32M,share=on", "-numa", "node,cpus=1,memdev=node1"});
  auto domain = attach();
  ASSERT_TRUE(domain);
  const auto standby = make_qemu_standby(options_);
  CopySink sink;
  sink.standby = standby.get();
  sink.description = &domain->description();
  sink.compare_with = domain.get();
  auto first = domain->synchronize(sink, {});
  ASSERT_TRUE(first) << first.error().text();
  ASSERT_TRUE(domain->capture(1, sink));
  EXPECT_EQ(sink.different, 0U);
  EXPECT_EQ(sink.compared, 2U * 16384U);
  ASSERT_TRUE(guest_->kill());
  const auto report = standby->activate(sink.device);
  ASSERT_TRUE(report) << report.error().text();
  kill_taken_over(*standby);
  EXPECT_TRUE(discard_standby(options_));
}

}  // namespace
