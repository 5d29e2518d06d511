// A running guest's disks: followed, and left as they were.
#include "real_disk.hpp"

namespace {

using namespace remus;
using namespace remus::test;
using testing::HasSubstr;

TEST_F(RealDisk, EveryWriteArrivesWhateverTheDiskIsAndItIsLeftAsItWas) {
  struct Kind {
    std::string format;
    std::vector<std::string> arguments;
    std::string device;
    std::string name;  ///< what we are told to replicate
  };
  const auto node = [](const std::string& format, const fs::path& file) {
    return "driver=" + format + ",node-name=d0,discard=unmap,file.driver=file,file.filename=" + file.native();
  };
  std::mt19937_64 random{3};
  for (const Kind& kind : std::vector<Kind>{
           {"raw", {"-drive", "if=virtio,discard=unmap,format=raw,file="}, "virtio0", "virtio0"},
           {"qcow2", {"-drive", "if=ide,discard=unmap,format=qcow2,file="}, "ide0-hd0", "ide0-hd0"},
           {"qcow2",
            {"-device", "virtio-scsi-pci", "-device", "scsi-hd,id=sd,drive=d0", "-blockdev"},
            "-d sd",
            "sd"},
           {"raw",
            {"-device",
             "virtio-blk-pci,id=vd,logical_block_size=4096,physical_block_size=4096,num-queues=2,drive=d0",
             "-blockdev"},
            "-d /machine/peripheral/vd/virtio-backend",
            "vd"}}) {
    const fs::path file = image(kind.format);
    auto arguments = kind.arguments;
    if (arguments.back() == "-blockdev") {
      // The node must be there before the device that has it.
      arguments.insert(arguments.begin(), {"-blockdev", node(kind.format, file)});
      arguments.pop_back();
    } else {
      arguments.back() += file.native();
    }
    start(arguments);
    device_ = kind.device;
    const auto facts = inspect(*qmp_);
    ASSERT_TRUE(facts);
    ASSERT_NE(find_disk(*facts, kind.name), nullptr) << kind.name;
    EXPECT_EQ(disk_objections(*facts, {kind.name}), std::vector<std::string>{});
    EXPECT_EQ(find_disk(*facts, kind.name)->bytes, disk_bytes);
    EXPECT_EQ(find_disk(*facts, kind.name)->driver, kind.format);
    EXPECT_EQ(find_disk(*facts, kind.name)->file, file);
    const Disk disk = *find_disk(*facts, kind.name);
    const json before = graph();

    ModelDisk model{disk_bytes, std::byte{0}};
    const Serving serving = serve(model);
    {
      DiskTap tap{qmp_, disk, 0};
      insert(tap);
      EXPECT_TRUE(tap.intact());
      write_some(*qmp_, random, 200, true);
      ASSERT_EQ(qemu_io(*qmp_, "aio_flush"), "");
      EXPECT_TRUE(tap.intact());
      EXPECT_EQ(content(disk), model.content()) << kind.name;
      EXPECT_GT(server_->counts().writes, 50U);
      EXPECT_GT(server_->counts().zeroes, 20U);
      EXPECT_EQ(server_->counts().refused, 0U);
      write_some(*qmp_, random, 20, true);
      const Status removed = tap.remove();
      ASSERT_TRUE(removed) << removed.error().text();
      ASSERT_TRUE(tap.remove()) << "idempotent";
    }
    EXPECT_EQ(graph(), before) << json::diff(before, graph());
    const auto served = server_->counts().writes;
    write_some(*qmp_, random, 20, false);
    EXPECT_EQ(server_->counts().writes, served) << "we are out of its way";
    EXPECT_EQ(run_state(), "running");
    EXPECT_EQ(qmp_->execute("query-block")->at(0).value("io-status", "ok"), "ok");
    qmp_.reset();
    ASSERT_TRUE(guest_->kill());
    fs::remove(qmp_path());
  }
}

/// QEMU frees what it keeps of writes to a mirror's target when the job ends before its work is done, and writes to it when they
/// end: often enough that kills it.
TEST_F(RealDisk, ATapIsTakenOutInTheMidstOfWrites) {
  start_with_drive();
  ModelDisk model{disk_bytes, std::byte{0}};
  const Disk disk = the_disk();
  for (const bool we_answer : {true, false}) {
    for (int round = 0; round < 15; ++round) {
      const Serving serving = serve(model);
      DiskTap tap{qmp_, disk, 0};
      insert(tap);
      for (int i = 0; i < 6; ++i)
        ASSERT_EQ(qemu_io(*qmp_, fmt::format("aio_write -q -P {} {}M 1M", round + 1, 2 * i)), "");
      if (!we_answer) server_->stop();
      const Status removed = tap.remove();
      ASSERT_TRUE(removed) << removed.error().text() << log();
      ASSERT_EQ(run_state(), "running") << log();
      ASSERT_EQ(qemu_io(*qmp_, "aio_flush"), "");
      ASSERT_EQ(qemu_io(*qmp_, fmt::format("read -q -P {} 10M 1M", round + 1)), "")
          << "no write of the guest's is lost";
    }
  }
}

TEST_F(RealDisk, OurDeathBreaksTheMirrorAndTheGuestWritesOn) {
  start_with_drive();
  const json before = graph();
  ModelDisk model{disk_bytes, std::byte{0}};
  const Serving serving = serve(model);
  DiskTap tap{qmp_, the_disk(), 0};
  insert(tap);
  std::mt19937_64 random{4};
  write_some(*qmp_, random, 20, true);
  server_->stop();
  write_some(*qmp_, random, 20, true);
  EXPECT_EQ(qemu_io(*qmp_, "write -q -P 9 4096 512"), "") << "the guest is told of no error";
  for (int i = 0; i < 5000 && tap.intact(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  const Status broken = tap.intact();
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().text(), HasSubstr("stopped mirroring the writes to disk 'virtio0'"));
  EXPECT_EQ(run_state(), "running");
  ASSERT_TRUE(tap.remove());
  EXPECT_EQ(run_state(), "running");
  EXPECT_EQ(graph(), before);
  const Serving again = serve(model);
  insert(tap);
  EXPECT_TRUE(tap.intact()) << "and it can be followed again";
  EXPECT_TRUE(tap.remove());
}

TEST_F(RealDisk, AWriteWeCannotTakeBreaksTheMirrorToo) {
  start_with_drive();
  ModelDisk model{disk_bytes, std::byte{0}};
  const Serving serving = serve(model);
  DiskTap tap{qmp_, the_disk(), 0};
  insert(tap);
  model.fail_with(Error{Errc::exhausted, "full"});
  EXPECT_EQ(qemu_io(*qmp_, "write -q -P 9 4096 512"), "");
  for (int i = 0; i < 5000 && tap.intact(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  EXPECT_FALSE(tap.intact());
  EXPECT_EQ(qemu_io(*qmp_, "read -q -P 9 4096 512"), "");
}

TEST_F(RealDisk, WhatADeadGuardLeftIsTakenAway) {
  start_with_drive();
  const json before = graph();
  ModelDisk model{disk_bytes, std::byte{0}};
  for (const bool guard_answers : {false, true}) {
    const Disk disk = the_disk();
    const Serving serving = serve(model);
    DiskTap tap{qmp_, disk, 3};
    insert(tap);
    DiskExport abandoned{qmp_, directory_};
    ASSERT_TRUE(abandoned.add(disk));
    if (!guard_answers) server_->stop();
    EXPECT_NE(graph(), before);
    const Status rescued = rescue_qemu(*qmp_);
    ASSERT_TRUE(rescued) << rescued.error().text();
    EXPECT_EQ(run_state(), "running");
    EXPECT_EQ(graph(), before);
    EXPECT_EQ(qemu_io(*qmp_, "write -q -P 9 4096 512"), "");
    EXPECT_FALSE(abandoned.remove()) << "its server is gone";
  }
  // Dead when the server had been started, and had no export yet.
  const json address{{"type", "unix"}, {"data", {{"path", (directory_ / "nbd").native()}}}};
  ASSERT_TRUE(
      qmp_->execute("object-add", {{"qom-type", "secret"}, {"id", "remus-nbd-server"}, {"data", "x"}}));
  ASSERT_TRUE(qmp_->execute("nbd-server-start", {{"addr", address}}));
  ASSERT_TRUE(rescue_qemu(*qmp_));
  DiskExport again{qmp_, directory_};
  EXPECT_TRUE(again.add(the_disk()));
  EXPECT_TRUE(again.remove());
  // Dead when it had stopped the guest to end a broken tap.
  ASSERT_TRUE(qmp_->execute("object-add", {{"qom-type", "secret"}, {"id", "remus-stopped"}, {"data", "x"}}));
  ASSERT_TRUE(qmp_->execute("stop"));
  ASSERT_TRUE(rescue_qemu(*qmp_));
  EXPECT_EQ(run_state(), "running");
}

TEST_F(RealDisk, AUsersOwnJobOrServerIsRefusedAndLeftAlone) {
  start_with_drive();
  const Disk disk = the_disk();
  ASSERT_TRUE(
      qmp_->execute("blockdev-add", {{"driver", "null-co"}, {"node-name", "u"}, {"size", disk_bytes}}));
  ASSERT_TRUE(qmp_->execute("blockdev-mirror",
                            {{"job-id", "users"}, {"device", disk.node}, {"target", "u"}, {"sync", "none"}}));
  const auto busy = attach_qemu(qmp_, {.disks = {"virtio0"}});
  ASSERT_FALSE(busy);
  EXPECT_THAT(busy.error().text(), HasSubstr("busy with job 'users' (mirror)"));
  ModelDisk model{disk_bytes, std::byte{0}};
  const Serving serving = serve(model);
  json before = graph();
  DiskTap tap{qmp_, disk, 0};
  const Status refused = tap.insert([this](Fd fd) { return server_->serve(std::move(fd)); });
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text(), HasSubstr("following the writes to disk 'virtio0'"));
  EXPECT_EQ(graph(), before);
  EXPECT_TRUE(rescue_qemu(*qmp_));
  EXPECT_EQ(graph(), before) << "rescue leaves it alone as well";
  ASSERT_TRUE(end_job(*qmp_, "users"));

  ASSERT_TRUE(qmp_->execute("nbd-server-start",
                            {{"addr", {{"type", "unix"}, {"data", {{"path", directory_ / "users"}}}}}}));
  before = graph();
  DiskExport reading{qmp_, directory_};
  const Status second = reading.add(the_disk());
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().text(), HasSubstr("nbd-server-stop"));
  ASSERT_TRUE(reading.remove());
  EXPECT_TRUE(rescue_qemu(*qmp_));
  EXPECT_TRUE(qmp_->execute("nbd-server-stop")) << "it was left running";
}

}  // namespace
