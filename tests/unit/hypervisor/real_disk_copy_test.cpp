// A disk in use, copied while it is written.
#include <fstream>

#include "disk/image_reader.hpp"
#include "hypervisor/qemu/guest_disks.hpp"
#include "real_disk.hpp"

namespace {

using namespace remus;
using namespace remus::test;
using testing::HasSubstr;

TEST_F(RealDisk, ARateIsHeededAndMayBeRaisedWhileTheCopyWaits) {
  start_with_drive();
  const Disk disk = the_disk();
  DiskExport reading{qmp_, directory_};
  ASSERT_TRUE(reading.add(disk));
  auto reader = disk::NbdReader::connect(reading.socket(), disk.node);
  ASSERT_TRUE(reader) << reader.error().text();
  // All of it is read, none of it skipped as a hole: a byte in each part of it.
  for (std::uint64_t at = 0; at < disk_bytes; at += 64U << 10U)
    ASSERT_EQ(qemu_io(*qmp_, fmt::format("write -q -P 7 {} 512", at)), "");
  Copy copy{disk_bytes};
  std::atomic<std::uint64_t> rate{1};  // bytes per second: what is left after the first burst takes years
  std::atomic<std::uint64_t> done{0};
  std::stop_source stop;
  std::thread copying{[&] {
    const disk::CopyRange all{0, disk_bytes};
    const Status read = (*reader)->copy(
        {&all, 1}, copy, {.bytes_per_s = rate, .stop = stop.get_token(), .progress = [&](const auto& told) {
                            done = told.done_bytes;
                          }});
    EXPECT_TRUE(read) << read.error().text();
  }};
  std::this_thread::sleep_for(std::chrono::milliseconds{200});  // unheeded, it would be done by now
  EXPECT_LT(done, disk_bytes);
  rate = 0;
  copying.join();
  EXPECT_EQ(done, disk_bytes);
}

/// QEMU 7.2 dies when a client leaves the export of a disk that an I/O thread serves.
TEST_F(RealDisk, ADiskServedByAnIoThreadIsReadWithoutQemu) {
  const auto raw = image();
  Bytes truth(disk_bytes);
  for (std::size_t i = 0; i < disk_bytes / 4; ++i) truth[i] = static_cast<std::byte>(i * 7 + i / 4096);
  std::ofstream{raw, std::ios::binary | std::ios::in}.write(reinterpret_cast<const char*>(truth.data()),
                                                            disk_bytes / 4);
  start({"-object", "iothread,id=io0", "-drive", "if=none,id=vd0,format=raw,file=" + raw.native(), "-device",
         "virtio-blk-pci,drive=vd0,iothread=io0"});
  const Disk disk = the_disk();
  EXPECT_TRUE(disk.threaded);
  EXPECT_TRUE(disk.plain);
  EXPECT_TRUE(disk_objections(inspect(*qmp_).value(), {disk.device}).empty());
  {
    const auto disks = make_guest_disks(qmp_, {{disk.device, disk}}, directory_);
    const auto reading = disks->read(0);
    ASSERT_TRUE(reading) << reading.error().text();
    if (!can_export(disk, qmp_->version())) {
      ASSERT_EQ(reading->image, raw);
      auto reader = disk::ImageReader::open(reading->image, disk.bytes);
      ASSERT_TRUE(reader) << reader.error().text();
      Copy copy{disk_bytes};
      const std::atomic<std::uint64_t> rate{0};
      const disk::CopyRange all{0, disk_bytes};
      ASSERT_TRUE((*reader)->copy({&all, 1}, copy, {.bytes_per_s = rate}));
      EXPECT_EQ(copy.image, truth);
    }
    ASSERT_TRUE(disks->end_reading());

    remus::test::TempDir spill;
    disk::WriteLog log{{.disk_bytes = disk_bytes}, disk::test::small_pool(spill, 64, 256)};
    const Serving serving = serve(log);
    ASSERT_TRUE(disks->follow(0, [this](Fd fd) { return server_->serve(std::move(fd)); }));
    EXPECT_TRUE(disks->broken()->empty());
    EXPECT_EQ(qmp_->execute("query-status")->value("status", ""), "running") << "stopped while the job began";
    EXPECT_TRUE(disks->leave(0));
  }
  EXPECT_EQ(qmp_->execute("query-status")->value("status", ""), "running");
}

TEST_F(RealDisk, AnImageThatOnlyQemuCanReadIsRefusedWhileItHasIoThreads) {
  start({"-object", "iothread,id=io0", "-drive",
         "if=none,id=vd0,format=qcow2,file=" + image("qcow2").native(), "-device",
         "virtio-blk-pci,drive=vd0,iothread=io0"});
  const Disk disk = the_disk();
  EXPECT_FALSE(disk.plain);
  const auto reasons = disk_objections(inspect(*qmp_).value(), {disk.device});
  if (can_export(disk, qmp_->version())) {
    EXPECT_TRUE(reasons.empty());
  } else {
    ASSERT_EQ(reasons.size(), 1U);
    EXPECT_THAT(reasons.front(), HasSubstr("I/O threads"));
  }
}

TEST_F(RealDisk, ADiskInUseIsCopiedWholeWhileItIsWritten) {
  auto arguments = second_monitor();
  arguments.insert(arguments.end(), {"-drive", "if=virtio,format=qcow2,file=" + image("qcow2").native()});
  start(arguments);
  std::mt19937_64 random{5};
  write_some(*qmp_, random, 100, false);  // what was there before
  ASSERT_EQ(qemu_io(*qmp_, "discard -q 8M 4M"), "");

  remus::test::TempDir spill;
  disk::WriteLog log{{.disk_bytes = disk_bytes}, disk::test::small_pool(spill, 64, 256)};
  const Serving serving = serve(log);
  std::atomic<bool> enough{false};
  std::thread load{[&] {  // before the tap is in its way, and on
    const auto qmp = another_monitor();
    std::mt19937_64 own{6};
    while (!enough) write_some(*qmp, own, 10, true);
    EXPECT_EQ(qemu_io(*qmp, "aio_flush"), "");
  }};
  const Disk disk = the_disk();
  DiskTap tap{qmp_, disk, 0};
  insert(tap);
  Bytes replica(disk_bytes, std::byte{0xee});  // nothing of it may be left
  std::atomic<bool> copied{false};
  std::thread backup{[&] {
    for (disk::PortionNumber next = 1; !copied; ++next) {
      std::this_thread::sleep_for(std::chrono::milliseconds{5});
      const auto number = log.mark();
      ASSERT_EQ(number, next);
      disk::test::apply(*log.portion(number), replica);
      log.release(number);
    }
  }};
  DiskExport reading{qmp_, directory_};
  Status read = reading.add(disk);
  EXPECT_TRUE(read) << read.error().text();
  disk::CopyProgress last{};
  if (auto reader = disk::NbdReader::connect(reading.socket(), disk.node); reader) {
    EXPECT_TRUE((*reader)->knows_holes());
    const std::atomic<std::uint64_t> rate{0};
    const std::vector<disk::CopyRange> parts{
        {0, 5U << 20U}, {(5U << 20U) + 512, 512}, {5U << 20U, disk_bytes - (5U << 20U)}};
    const auto progress = [&](const disk::CopyProgress& told) {
      last = told;
      // Writes fall between, and onto what is being read meanwhile.
      for (const auto had = log.stats().writes; log.stats().writes < had + 2;) std::this_thread::yield();
    };
    read = (*reader)->copy(parts, log, {.bytes_per_s = rate, .progress = progress});
    EXPECT_TRUE(read) << read.error().text();
    const disk::CopyRange beyond{disk_bytes, 1};
    EXPECT_EQ((*reader)->copy({&beyond, 1}, log, {.bytes_per_s = rate}).error().kind, Errc::invalid);
    std::stop_source stop;
    stop.request_stop();
    EXPECT_EQ((*reader)->copy(parts, log, {.bytes_per_s = rate, .stop = stop.get_token()}).error().kind,
              Errc::closed);
  } else {
    ADD_FAILURE() << reader.error().text();
  }
  EXPECT_EQ(last.done_bytes, last.total_bytes);
  EXPECT_EQ(last.total_bytes, disk_bytes + 512);
  enough = true;
  load.join();
  copied = true;
  backup.join();
  ASSERT_TRUE(qmp_->execute("stop"));
  const auto number = log.mark();
  disk::test::apply(*log.portion(number), replica);
  EXPECT_TRUE(log.state()) << log.state().error().text();
  EXPECT_GT(log.stats().writes, 20U);
  EXPECT_GT(log.stats().overtaken_bytes, 0U) << "some were written while they were read";
  ASSERT_TRUE(reading.remove());
  EXPECT_EQ(content(disk), replica);
}

}  // namespace
