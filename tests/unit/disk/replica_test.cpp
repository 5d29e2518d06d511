// Journal and replicas on real files, and what damage and bad input are answered with.
#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>

#include "base/fd.hpp"
#include "disk/journal_recovery.hpp"
#include "disk/posix_storage.hpp"
#include "replica_run.hpp"

namespace remus::disk {
namespace {

using namespace test;

class ReplicaFiles : public testing::Test {
 protected:
  static constexpr std::uint64_t disk_bytes = 1U << 20;
  void SetUp() override {
    std::ofstream{image};
    folder = must(open_folder(directory.path()));
  }
  std::unique_ptr<ReplicaSet> open() {
    std::vector<ReplicaDisk> disks;
    disks.push_back({image, must(open_replica(image)), disk_bytes});
    return must(ReplicaSet::open(*folder, std::move(disks)));
  }
  std::vector<Bytes> batches(PortionNumber number) {
    BatchList out;
    WriteBatchEncoder encoder{checkpoint::Compression::lz4, 1'000'000'000};
    must(encoder.encode(0, *log.portion(number), out));
    return std::move(out.list);
  }
  void receive(ReplicaSet& set, Epoch epoch) {
    const auto list = batches(log.mark());
    for (const Bytes& payload : list) must(set.hold(payload));
    must(set.commit(epoch, static_cast<std::uint32_t>(list.size())));
  }
  Bytes content() {
    Bytes out(std::filesystem::file_size(image));
    std::ifstream{image, std::ios::binary}.read(reinterpret_cast<char*>(out.data()),
                                                static_cast<std::streamsize>(out.size()));
    return out;
  }

  remus::test::TempDir directory;
  std::string image = directory.path() / "disk.img";
  std::unique_ptr<StorageFolder> folder;
  std::shared_ptr<ChunkPool> pool = small_pool(directory, 16, 0);
  WriteLog log{{disk_bytes}, pool};
};

TEST_F(ReplicaFiles, HoldWholeEpochsAndStaySparse) {
  Bytes wanted(disk_bytes);
  const auto write = [&](std::uint64_t offset, const Bytes& data) {
    apply({offset, data.size(), WriteKind::data, data}, wanted);
    must(log.write(offset, data));
  };
  {
    auto set = open();
    must(set->begin_session(7));
    write(0, pattern(300'000, 1));
    for (const Bytes& payload : batches(log.mark())) must(set->synchronize(payload));
    write(1000, pattern(5000, 2));
    receive(*set, 0);
    must(set->apply(0));
    must(log.trim(0, 262'144));
    apply({0, 262'144, WriteKind::trim, {}}, wanted);
    receive(*set, 1);
    EXPECT_NE(content(), wanted) << "what is only committed is not in the replica yet";
    must(set->apply(1));
    EXPECT_EQ(content(), wanted);
    EXPECT_EQ(set->survives(), 2U);
    write(5, pattern(5, 3));
    receive(*set, 2);
  }
  // The process is gone with epoch 2 committed and not applied.
  auto set = open();
  const auto recovered = must(set->recover());
  EXPECT_EQ(recovered.session, 7U);
  EXPECT_EQ(recovered.epoch, 2U);
  EXPECT_EQ(content(), wanted);
  struct stat facts {};
  ASSERT_EQ(::stat(image.c_str(), &facts), 0);
  EXPECT_LT(facts.st_blocks * 512, 200'000) << "what the guest discarded takes no room";
  EXPECT_EQ(must(set->recover()).epoch, 2U) << "asked again, the same answer";
}

TEST_F(ReplicaFiles, AfterAnActivationTheyAreLeftAlone) {
  auto set = open();
  must(set->begin_session(1));
  must(log.write(0, pattern(100, 1)));
  receive(*set, 0);
  must(log.write(50, pattern(100, 2)));
  receive(*set, 1);
  must(set->activate(0));
  must(set->activate(0));
  const Bytes found = content();
  EXPECT_TRUE(std::ranges::equal(std::span{found}.first(100), pattern(100, 1)));
  EXPECT_EQ(set->recover().error().kind, Errc::refused);
  must(set->begin_session(2));
  EXPECT_EQ(set->recover().error().kind, Errc::refused) << "being synchronized";
}

TEST_F(ReplicaFiles, ADiskOfAnotherSizeIsRefusedAndLeftAsItIs) {
  std::filesystem::resize_file(image, 12345);
  std::vector<ReplicaDisk> disks;
  disks.push_back({image, must(open_replica(image)), disk_bytes});
  EXPECT_EQ(ReplicaSet::open(*folder, std::move(disks)).error().kind, Errc::incompatible);
  EXPECT_EQ(std::filesystem::file_size(image), 12345U);
}

TEST_F(ReplicaFiles, ADiskInUseOrMissingOrNoneIsRefused) {
  const auto first = must(open_replica(image));
  EXPECT_EQ(open_replica(image).error().kind, Errc::refused);
  EXPECT_EQ(open_replica(directory.path() / "none").error().kind, Errc::not_found);
  EXPECT_EQ(open_replica("/dev/null").error().kind, Errc::refused);
  EXPECT_EQ(open_replica(directory.path()).error().kind, Errc::refused);
}

TEST_F(ReplicaFiles, AnImageThatQemuHasInUseIsRefused) {
  must(open_replica(image));
  const Fd qemu{::open(image.c_str(), O_RDWR | O_CLOEXEC)};
  struct flock byte {};
  byte.l_type = F_RDLCK;
  byte.l_whence = SEEK_SET;
  byte.l_start = 100;
  byte.l_len = 1;
  ASSERT_EQ(::fcntl(qemu.get(), F_OFD_SETLK, &byte), 0);
  const auto opened = open_replica(image);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().text().find("is in use"), std::string::npos);
}

TEST_F(ReplicaFiles, AJournalWithoutRoomIsToldAndTheEpochIsNotHeld) {
  auto file = must(open_replica(image));
  ReplicaSettings settings;
  settings.journal.journal_bytes_max = 3 * 4096;
  std::vector<ReplicaDisk> disks;
  disks.push_back({image, std::move(file), disk_bytes});
  auto set = must(ReplicaSet::open(*folder, std::move(disks), settings));
  must(set->begin_session(1));
  must(log.write(0, pattern(100'000, 1)));
  const auto refused = set->hold(batches(log.mark()).at(0));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, Errc::exhausted);
  EXPECT_FALSE(refused.error().fix.empty());
  set->drop_torn();
  must(log.write(0, pattern(100, 1)));
  receive(*set, 0);
}

TEST_F(ReplicaFiles, WhatIsNotABatchForTheseDisksIsNotHeld) {
  auto set = open();
  must(set->begin_session(1));
  EXPECT_EQ(set->hold(pattern(100, 1)).error().kind, Errc::corrupt);
  EXPECT_EQ(set->commit(1, 0).error().kind, Errc::corrupt) << "not its turn";
  EXPECT_EQ(set->commit(0, 1).error().kind, Errc::corrupt) << "no batch came";
  must(set->commit(0, 0));
}

TEST_F(ReplicaFiles, ARecordThatIsDamagedIsNotBelieved) {
  auto set = open();
  EXPECT_EQ(set->recover().error().kind, Errc::not_found);
  for (const char* text : {"", "{}", "[1,2", R"({"version":2})",
                           R"({"version":1,"phase":"whole","session":1,"epoch":1,"disk_bytes":[1048576]})",
                           R"({"version":1,"phase":"settled","session":-1,"epoch":1,"disk_bytes":[1048576]})",
                           R"({"version":1,"phase":"settled","session":1,"epoch":1,"disk_bytes":["x"]})",
                           R"({"version":1,"phase":7,"session":1,"epoch":1,"disk_bytes":[1048576]})"}) {
    must(folder->write_whole("replica.json", text));
    EXPECT_EQ(set->recover().error().kind, Errc::corrupt) << text;
  }
  must(folder->write_whole("replica.json",
                           R"({"version":1,"phase":"settled","session":1,"epoch":1,"disk_bytes":[512]})"));
  EXPECT_EQ(set->recover().error().kind, Errc::incompatible);
}

/// A medium that loses what it had promised to keep: never a shorter row of epochs without a word.
TEST(JournalDamage, OfWhatHadBeenMadeDurableIsTold) {
  constexpr std::uint64_t identity = 5;
  std::size_t found = 0;
  for (std::uint64_t offset = 4096; offset < 4096 + 600; offset += 7) {
    sim::CrashStorage storage{offset};
    auto journal = must(Journal::create(storage, identity, {}));
    for (Epoch epoch = 0; epoch < 4; ++epoch) {
      must(journal->append(pattern(500, epoch)));
      must(journal->commit());
      must(journal->synchronize());
    }
    storage.damage(journal_format::segment_name(0), offset);
    Epoch seen = 0;
    const auto content =
        replay_journal(storage, identity, [&](Epoch epoch, std::span<const std::byte> payload) -> Status {
          EXPECT_EQ(epoch, seen++);
          EXPECT_TRUE(std::ranges::equal(payload, pattern(500, epoch)));
          return {};
        });
    if (content) {
      EXPECT_EQ(content->end, 4U) << "padding was hit";
    } else {
      EXPECT_EQ(content.error().kind, Errc::corrupt);
      ++found;
    }
  }
  EXPECT_GT(found, 70U);
}

TEST(JournalDamage, AJournalOfAnotherSessionOrWithAGapIsNotTaken) {
  sim::CrashStorage storage{1};
  JournalSettings settings{4096, 1U << 20};
  auto journal = must(Journal::create(storage, 5, settings));
  for (Epoch epoch = 0; epoch < 6; ++epoch) {
    must(journal->append(pattern(5000, epoch)));
    must(journal->commit());
  }
  must(journal->synchronize());
  const auto nothing = [](Epoch, std::span<const std::byte>) -> Status { return {}; };
  EXPECT_EQ(must(replay_journal(storage, 5, nothing)).end, 6U);
  EXPECT_EQ(replay_journal(storage, 6, nothing).error().kind, Errc::corrupt);
  must(storage.remove(journal_format::segment_name(2)));
  EXPECT_EQ(replay_journal(storage, 5, nothing).error().kind, Errc::corrupt);
}

}  // namespace
}  // namespace remus::disk
