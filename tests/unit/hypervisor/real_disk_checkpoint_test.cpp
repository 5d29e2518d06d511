// A checkpoint of a guest with disks, and the standby that goes on with their replicas.
#include "real_disk.hpp"

namespace {

using namespace remus;
using namespace remus::test;
using testing::HasSubstr;

/// A guest that does nothing but write its disk: 2 KiB filled with a number, at a place made of the number, for ever.
constexpr std::array<unsigned char, 72> writing_guest{
    0x31, 0xc0,                          // xor  %ax, %ax
    0x8e, 0xd8,                          // mov  %ax, %ds
    0x8e, 0xc0,                          // mov  %ax, %es
    0x8e, 0xd0,                          // mov  %ax, %ss
    0xbc, 0x00, 0x7c,                    // mov  $0x7c00, %sp
    0xfc,                                // cld
    0x66, 0x81, 0xc5, 0xb1, 0x79, 0x37,  // next: add $0x9e3779b1, %ebp
    0x9e,                                //
    0x66, 0x89, 0xe8,                    // mov  %ebp, %eax
    0xbf, 0x00, 0x80,                    // mov  $0x8000, %di
    0xb9, 0x00, 0x02,                    // mov  $512, %cx
    0x66, 0xf3, 0xab,                    // rep  stosl
    0x66, 0xc1, 0xe8, 0x11,              // shr  $17, %eax
    0x25, 0xf8, 0x7f,                    // and  $0x7ff8, %ax
    0x83, 0xc8, 0x08,                    // or   $8, %ax
    0xa3, 0x40, 0x7c,                    // mov  %ax, lba
    0xbe, 0x38, 0x7c,                    // mov  $packet, %si
    0xb8, 0x00, 0x43,                    // mov  $0x4300, %ax: extended write
    0xb2, 0x80,                          // mov  $0x80, %dl: the first disk
    0xcd, 0x13,                          // int  $0x13
    0xeb, 0xd4,                          // jmp  next
    0x10, 0x00, 0x04, 0x00,              // packet: 4 sectors
    0x00, 0x80, 0x00, 0x00,              // of 0x8000
    0x00, 0x00, 0x00, 0x00,              // lba
    0x00, 0x00, 0x00, 0x00,
};

TEST_F(RealDisk, ACheckpointHasNoWriteUnderWay) {
  for (const std::string bus : {"virtio", "ide"}) {
    const fs::path file = image();
    {
      std::fstream sector{file, std::ios::in | std::ios::out | std::ios::binary};
      sector.write(reinterpret_cast<const char*>(writing_guest.data()), writing_guest.size());
      sector.seekp(510).write("\x55\xaa", 2);
    }
    start({"-drive", "if=" + bus + ",format=raw,file=" + file.native()});
    const auto content_now = [&] {
      std::ifstream now{file, std::ios::binary};
      Bytes bytes(disk_bytes);
      now.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
      return bytes;
    };
    const auto facts = inspect(*qmp_);
    const std::string name = facts->disks.at(0).device;
    auto domain = attach_qemu(qmp_, patient({name}));
    ASSERT_TRUE(domain) << domain.error().text();
    // What is there at the beginning is the model's; the writes since are what we are told of.
    ASSERT_TRUE(qmp_->execute("stop"));
    ModelDisk model{disk_bytes, std::byte{0}};
    ASSERT_TRUE(model.write(0, content_now()));
    const Serving serving = serve(model);
    DiskTap tap{qmp_, *find_disk(*facts, name), 0};
    insert(tap);
    ASSERT_TRUE(qmp_->execute("cont"));
    const auto await_writes = [&] {
      for (const auto had = server_->counts().writes; server_->counts().writes < had + 5;)
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    };
    await_writes();
    remus::test::CopySink sink;
    unsigned compared = 0;
    unsigned different = 0;
    (*domain)->set_pause_hooks({.resuming = [&]() -> Status {
      different += content_now() == model.content() ? 0U : 1U;
      ++compared;
      return {};
    }});
    const auto first = (*domain)->synchronize(sink, {});
    ASSERT_TRUE(first) << first.error().text() << log();
    for (checkpoint::Epoch epoch = 1; epoch <= 20; ++epoch) {
      const auto report = (*domain)->capture(epoch, sink);
      ASSERT_TRUE(report) << report.error().text() << log();
      await_writes();
    }
    EXPECT_GE(compared, 20U);
    EXPECT_EQ(different, 0U) << bus;
    ASSERT_TRUE((*domain)->detach());
    EXPECT_TRUE(tap.intact());
    ASSERT_TRUE(tap.remove());
    domain->reset();
    qmp_.reset();
    ASSERT_TRUE(guest_->kill());
    fs::remove(qmp_path());
  }
}

TEST_F(RealDisk, AStandbyGoesOnOnTheReplica) {
  const fs::path file = image();
  const fs::path replica = image("raw", "replica");
  const auto read_file = [](const fs::path& path) {
    std::ifstream now{path, std::ios::binary};
    Bytes bytes(disk_bytes);
    now.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return bytes;
  };
  {
    std::fstream sector{file, std::ios::in | std::ios::out | std::ios::binary};
    sector.write(reinterpret_cast<const char*>(writing_guest.data()), writing_guest.size());
    sector.seekp(510).write("\x55\xaa", 2);
  }
  start({"-drive", "if=virtio,format=raw,file=" + file.native()});
  auto domain = attach_qemu(qmp_, patient({"virtio0"}));
  ASSERT_TRUE(domain) << domain.error().text();
  options_.replicas["virtio0"] = {.path = replica};
  const auto standby = hypervisor::qemu::make_qemu_standby(options_);
  remus::test::CopySink sink;
  sink.standby = standby.get();
  sink.description = &(*domain)->description();
  Bytes committed;
  (*domain)->set_pause_hooks({.resuming = [&]() -> Status {
    committed = read_file(file);
    return {};
  }});
  const auto first = (*domain)->synchronize(sink, {});
  ASSERT_TRUE(first) << first.error().text() << log();
  const auto report = (*domain)->capture(1, sink);
  ASSERT_TRUE(report) << report.error().text();
  const Bytes at_epoch = committed;
  for (int i = 0; i < 10'000 && read_file(file) == at_epoch; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  ASSERT_NE(read_file(file), at_epoch) << "the guest writes on, which the backup will never know";
  ASSERT_TRUE(guest_->kill());
  // What the backup does with the committed epoch, while the waiting QEMU has the replica open.
  {
    std::fstream out{replica, std::ios::in | std::ios::out | std::ios::binary};
    out.write(reinterpret_cast<const char*>(at_epoch.data()), static_cast<std::streamsize>(at_epoch.size()));
  }
  const auto activated = standby->activate(sink.device);
  ASSERT_TRUE(activated) << activated.error().text();
  auto qmp = Qmp::connect(standby->handle().at("qmp").get<std::string>());
  ASSERT_TRUE(qmp) << qmp.error().text();
  EXPECT_EQ((*qmp)->execute("query-status")->at("status"), "running");
  EXPECT_EQ(inspect(**qmp)->disks.at(0).file, replica);
  for (int i = 0; i < 10'000 && read_file(replica) == at_epoch; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  EXPECT_NE(read_file(replica), at_epoch) << "it writes its replica";
  EXPECT_EQ((*qmp)->execute("query-block")->at(0).value("io-status", "ok"), "ok");
  kill_taken_over(*standby);
  EXPECT_TRUE(hypervisor::qemu::discard_standby(options_));
}

}  // namespace
