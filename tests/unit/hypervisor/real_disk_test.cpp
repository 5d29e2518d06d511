// A running guest's disks: followed, read, and left as they were, with the QEMU installed on this machine. Its firmware
// writes nothing, so QEMU's own qemu-io writes for the guest, through the guest's device.
#include <gmock/gmock.h>

#include <random>
#include <stdexcept>

#include "../disk/model_disk.hpp"
#include "../disk/support.hpp"
#include "disk/nbd_reader.hpp"
#include "disk/nbd_server.hpp"
#include "hypervisor/qemu/disk_export.hpp"
#include "hypervisor/qemu/disk_tap.hpp"
#include "hypervisor/qemu/inspect.hpp"
#include "real_qemu.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor::qemu;
using nlohmann::json;
using remus::test::ModelDisk;
using testing::HasSubstr;
using Bytes = std::vector<std::byte>;
namespace fs = std::filesystem;

constexpr std::uint64_t disk_bytes = 16U << 20U;

class RealDisk : public remus::test::RealQemu {
 protected:
  /// An image of the test's own: raw, or made by qemu-img.
  [[nodiscard]] fs::path image(const std::string& format = "raw", const std::string& name = "disk") const {
    const fs::path path = directory_ / (name + "." + format);
    const auto made = hypervisor::run_program(
        hypervisor::find_program("qemu-img"),
        {"create", "-q", "-f", format, path, std::to_string(disk_bytes)}, std::chrono::milliseconds{20'000});
    EXPECT_TRUE(made) << made.error().text();
    return path;
  }
  void start_with_drive() { start({"-drive", "if=virtio,format=raw,file=" + image().native()}); }

  [[nodiscard]] Disk the_disk() {
    const auto facts = inspect(*qmp_);
    EXPECT_TRUE(facts) << facts.error().text();
    return facts->disks.at(0);
  }
  [[nodiscard]] std::string qemu_io(Qmp& qmp, const std::string& command) const {
    auto said = qmp.human("qemu-io " + device_ + " \"" + command + "\"", std::chrono::milliseconds{20'000});
    return said ? *said : said.error().text();
  }
  [[nodiscard]] std::shared_ptr<Qmp> another_monitor() const {
    auto qmp = Qmp::connect(directory_ / "second.sock");
    EXPECT_TRUE(qmp);
    return *qmp;
  }
  [[nodiscard]] std::vector<std::string> second_monitor() const {
    return {"-qmp", "unix:" + (directory_ / "second.sock").native() + ",server=on,wait=off"};
  }
  /// What QEMU says of its disks, without what changes by use.
  [[nodiscard]] json graph() {
    json out{qmp_->execute("query-block").value(),
             qmp_->execute("query-named-block-nodes", {{"flat", true}}).value(),
             qmp_->execute("query-jobs").value(), qmp_->execute("query-block-exports").value(),
             qmp_->execute("query-chardev").value()};
    const std::function<void(json&)> strip = [&](json& value) {
      // Images grow; "cache" is the guest's own to choose, and its firmware does some time after its start.
      if (value.is_object())
        for (const char* changing : {"actual-size", "virtual-size", "cache"}) value.erase(changing);
      for (auto& inner : value)
        if (inner.is_structured()) strip(inner);
    };
    strip(out);
    return out;
  }
  /// A server is gone, its threads joined, before the sink it was given.
  struct Serving {
    std::unique_ptr<disk::NbdServer>& server;
    explicit Serving(std::unique_ptr<disk::NbdServer>& of) : server{of} {}
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;
    ~Serving() { server.reset(); }
  };
  [[nodiscard]] Serving serve(disk::WriteSink& sink) {
    auto server = disk::NbdServer::start({.name = "", .bytes = disk_bytes}, sink, {});
    if (!server) throw std::runtime_error{server.error().text()};
    server_ = std::move(*server);
    return Serving{server_};
  }
  void insert(DiskTap& tap) const {
    const Status inserted = tap.insert([this](Fd fd) { return server_->serve(std::move(fd)); });
    ASSERT_TRUE(inserted) << inserted.error().text() << log();
  }
  /// Random writes, zeroes and discards of all lengths; `asynchronous`: several under way.
  void write_some(Qmp& qmp, std::mt19937_64& random, int count, bool asynchronous) const {
    for (int i = 0; i < count; ++i) {
      const auto sectors = disk_bytes / 512;
      const auto offset = random() % sectors;
      const auto bytes =
          (1 + random() % std::min<std::uint64_t>(i % 8 == 0 ? 4096 : 64, sectors - offset)) * 512;
      const std::string place = std::to_string(offset * 512) + " " + std::to_string(bytes);
      const std::string fill = std::to_string(1 + random() % 255);
      std::string command = (asynchronous ? "aio_write -q -P " : "write -q -P ") + fill + " " + place;
      if (i % 5 == 1) command = "write -q -z " + place;
      if (i % 5 == 2) command = "write -q -z -u " + place;
      if (i % 5 == 3) command = "discard -q " + place;
      if (i % 11 == 4) command = "write -q -f -P " + fill + " " + place;
      if (i % 7 == 6) command = "flush";
      const std::string said = qemu_io(qmp, command);
      ASSERT_EQ(said, "") << command;
    }
  }
  [[nodiscard]] Bytes content(const Disk& disk) {
    DiskExport reading{qmp_, directory_};
    const Status added = reading.add(disk);
    EXPECT_TRUE(added) << added.error().text();
    auto reader = disk::NbdReader::connect(reading.socket(), disk.node);
    EXPECT_TRUE(reader) << reader.error().text();
    Copy copy{(*reader)->bytes()};
    disk::CopyPace pace;
    const disk::CopyRange all{0, (*reader)->bytes()};
    const Status read = (*reader)->copy({&all, 1}, copy, pace, {}, {});
    EXPECT_TRUE(read) << read.error().text();
    return std::move(copy.image);
  }

  /// Keeps what was read.
  struct Copy final : disk::CopySink {
    explicit Copy(std::uint64_t bytes) : image(bytes, std::byte{0xcc}) {}
    Ticket begin(std::uint64_t offset, std::uint64_t bytes) override {
      tickets[++last] = {offset, bytes};
      return last;
    }
    Status finish(Ticket ticket, std::span<const std::byte> data) override {
      const auto [offset, bytes] = tickets.extract(ticket).mapped();
      EXPECT_EQ(bytes, data.size());
      std::ranges::copy(data, image.begin() + static_cast<std::ptrdiff_t>(offset));
      return {};
    }
    Status finish_zero(Ticket ticket) override {
      const auto [offset, bytes] = tickets.extract(ticket).mapped();
      std::fill_n(image.begin() + static_cast<std::ptrdiff_t>(offset), bytes, std::byte{0});
      return {};
    }
    void abandon(Ticket ticket) override { tickets.erase(ticket); }
    Bytes image;
    Ticket last{};
    std::map<Ticket, disk::CopyRange> tickets{};
  };

  std::string device_{"virtio0"};  ///< what qemu-io writes through
  std::unique_ptr<disk::NbdServer> server_{};
};

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

TEST_F(RealDisk, OurDeathEndsTheMirrorAndTheGuestWritesOn) {
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
  EXPECT_EQ(graph(), before);
  const Serving again = serve(model);
  insert(tap);
  EXPECT_TRUE(tap.intact()) << "and it can be followed again";
  EXPECT_TRUE(tap.remove());
}

TEST_F(RealDisk, AWriteWeCannotTakeEndsTheMirrorToo) {
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
    disk::CopyPace pace;
    const std::vector<disk::CopyRange> parts{
        {0, 5U << 20U}, {(5U << 20U) + 512, 512}, {5U << 20U, disk_bytes - (5U << 20U)}};
    read = (*reader)->copy(parts, log, pace, {}, [&](const disk::CopyProgress& told) {
      last = told;
      // Writes fall between, and onto what is being read meanwhile.
      for (const auto had = log.stats().writes; log.stats().writes < had + 2;) std::this_thread::yield();
    });
    EXPECT_TRUE(read) << read.error().text();
    const disk::CopyRange beyond{disk_bytes, 1};
    EXPECT_EQ((*reader)->copy({&beyond, 1}, log, pace, {}, {}).error().kind, Errc::invalid);
    std::stop_source stop;
    stop.request_stop();
    EXPECT_EQ((*reader)->copy(parts, log, pace, stop.get_token(), {}).error().kind, Errc::closed);
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
    auto domain = attach_qemu(qmp_, {.ready_timeout = std::chrono::milliseconds{60'000},
                                     .stream_timeout = std::chrono::milliseconds{60'000},
                                     .disks = {name}});
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
  auto domain = attach_qemu(qmp_, {.ready_timeout = std::chrono::milliseconds{60'000},
                                   .stream_timeout = std::chrono::milliseconds{60'000},
                                   .disks = {"virtio0"}});
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

TEST_F(RealDisk, WhatADeadGuardLeftIsTakenAway) {
  start_with_drive();
  const json before = graph();
  ModelDisk model{disk_bytes, std::byte{0}};
  for (const bool guard_answers : {false, true}) {
    auto server =
        disk::NbdServer::start({.name = "", .bytes = disk_bytes}, model, {.socket = directory_ / "nbd"});
    ASSERT_TRUE(server);
    const Disk disk = the_disk();
    ASSERT_TRUE(
        qmp_->execute("blockdev-add", {{"driver", "nbd"},
                                       {"node-name", "remus-disk-3"},
                                       {"server", {{"type", "unix"}, {"path", directory_ / "nbd"}}}}));
    ASSERT_TRUE(qmp_->execute("blockdev-mirror", {{"job-id", "remus-mirror-3"},
                                                  {"device", disk.node},
                                                  {"target", "remus-disk-3"},
                                                  {"sync", "none"},
                                                  {"copy-mode", "write-blocking"},
                                                  {"filter-node-name", "remus-tap-3"}}));
    DiskExport abandoned{qmp_, directory_};
    ASSERT_TRUE(abandoned.add(disk));
    if (!guard_answers) (*server)->stop();
    EXPECT_NE(graph(), before);
    const Status rescued = rescue_qemu(*qmp_);
    ASSERT_TRUE(rescued) << rescued.error().text();
    EXPECT_EQ(graph(), before);
    EXPECT_EQ(qemu_io(*qmp_, "write -q -P 9 4096 512"), "");
    EXPECT_FALSE(abandoned.remove()) << "its server is gone";
  }
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
