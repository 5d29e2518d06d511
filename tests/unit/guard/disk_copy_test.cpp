// A guest's disks from its writes to their replicas, in the same epochs as its memory.
#include <filesystem>
#include <fstream>
#include <thread>

#include "../temp_dir.hpp"
#include "copy.hpp"
#include "disk/posix_storage.hpp"
#include "fake_disks.hpp"

namespace remus::guard::testing {
namespace {

constexpr std::uint64_t disk_bytes = 24U << 20U;
constexpr std::size_t disk_count = 2;
constexpr std::uint64_t block = ReplicaHashes::block_bytes;

/// Made before the fixture's base, which takes them.
struct DisksOfBothSides {
  remus::test::TempDir directory{};
  FakeDisks* guest{};  ///< the pipeline's

  std::unique_ptr<PrimaryDisks> primary() {
    auto fake = std::make_unique<FakeDisks>(directory.path(), disk_count, disk_bytes);
    guest = fake.get();
    auto disks = PrimaryDisks::create(std::move(fake), {.spill_dir = directory.path(),
                                                        .map_dir = directory.path(),
                                                        .record_interval = std::chrono::milliseconds{0}});
    if (!disks) throw std::runtime_error{disks.error().text()};
    return std::move(*disks);
  }
  [[nodiscard]] std::string replica_path(std::size_t disk) const {
    return directory.path() / ("replica" + std::to_string(disk));
  }
  BackupDisks backup() {
    BackupDisks out;
    std::filesystem::create_directory(directory.path() / std::filesystem::path{"journal"});
    out.folder = std::move(*disk::open_folder(directory.path() / std::filesystem::path{"journal"}));
    std::vector<disk::ReplicaDisk> disks;
    for (std::size_t i = 0; i < disk_count; ++i) {
      std::ofstream{replica_path(i)};
      disks.push_back({replica_path(i), std::move(*disk::open_replica(replica_path(i))), disk_bytes});
    }
    out.replicas = std::move(*disk::ReplicaSet::open(*out.folder, std::move(disks)));
    return out;
  }
};

class DiskCopy : private DisksOfBothSides, public Copy {
 protected:
  DiskCopy() : Copy{primary(), backup()} {}

  std::vector<std::byte> some(std::size_t bytes) {
    std::vector<std::byte> data(bytes);
    for (auto& byte : data) byte = static_cast<std::byte>(random());
    return data;
  }
  /// Of any length, at any place.
  void guest_writes(int count) {
    for (int i = 0; i < count; ++i) {
      const std::size_t bytes = 1 + random() % 40'000;
      guest->write(random() % disk_count, random() % (disk_bytes - bytes), some(bytes));
    }
  }
  void spoil_replica(std::size_t disk, std::uint64_t offset, const std::vector<std::byte>& with) {
    std::fstream file{replica_path(disk), std::ios::in | std::ios::out | std::ios::binary};
    file.seekp(static_cast<std::streamoff>(offset));
    file.write(reinterpret_cast<const char*>(with.data()), static_cast<std::streamsize>(with.size()));
  }
  /// What an earlier protection left there: the guest's disk as it is now.
  void old_replica(std::size_t disk) { spoil_replica(disk, 0, guest->content(disk)); }
  [[nodiscard]] std::vector<std::byte> replica_content(std::size_t disk) const {
    std::vector<std::byte> all(disk_bytes);
    std::ifstream{replica_path(disk), std::ios::binary}.read(reinterpret_cast<char*>(all.data()),
                                                             static_cast<std::streamsize>(all.size()));
    return all;
  }
  void expect_equal(const std::string& when) {
    for (std::size_t i = 0; i < disk_count; ++i)
      EXPECT_TRUE(replica_content(i) == guest->content(i)) << "disk " << i << " " << when;
  }
  /// As if our process had died: all that follows the guest is gone, and the session.
  void lose_taps() {
    for (std::size_t i = 0; i < disk_count; ++i) ASSERT_TRUE(guest->leave(i));
    pipeline->capture(1, 1'000'000);
    until([] { return false; });  // until it is told
    errors.clear();
    const int before = detached;
    pipeline->abandon();
    until([&] { return detached > before; });
  }
  using DisksOfBothSides::guest;
  using DisksOfBothSides::replica_path;
};

TEST_F(DiskCopy, IsExactAfterEveryEpoch) {
  guest_writes(200);
  synchronize(11);
  expect_equal("at epoch 0");
  EXPECT_EQ(compared_bytes, std::vector{disk_count * disk_bytes});
  EXPECT_LT(copied_bytes[0], disk_count * disk_bytes / 2) << "what nobody has written is zeros on both sides";
  for (Epoch epoch = 1; epoch <= 20; ++epoch) {
    guest_writes(static_cast<int>(random() % 30));
    domain.change(random, 20);
    checkpoint(11, epoch);
    expect_equal("at epoch " + std::to_string(epoch));
  }
  EXPECT_THAT(errors, ::testing::IsEmpty());
}

TEST_F(DiskCopy, WhatIsWrittenDuringTheCopyIsInIt) {
  guest_writes(300);
  std::jthread writer{[this](const std::stop_token& stop) {
    std::mt19937_64 own{5};
    while (!stop.stop_requested())
      guest->write(own() % disk_count, 512 * (own() % (disk_bytes / 512 - 8)),
                   std::vector<std::byte>(512 * (1 + own() % 8), static_cast<std::byte>(own())));
  }};
  synchronize(1);
  writer = {};
  checkpoint(1, 1);
  expect_equal("at epoch 1");
  EXPECT_THAT(errors, ::testing::IsEmpty());
}

TEST_F(DiskCopy, AnEpochHoldsNoWriteOfTheNextOne) {
  synchronize(1);
  guest_writes(20);
  apply_whole = false;
  pipeline->capture(1, 1);
  until([&] { return whole == Epoch{1}; });
  const auto then = guest->content(0);
  guest_writes(20);
  pipeline->capture(1, 2);
  until([&] { return whole == Epoch{2}; });
  replica.apply(1, 1);
  until([&] { return applied == Epoch{1}; });
  EXPECT_TRUE(replica_content(0) == then);
  // Epoch 2 is held, and was never told to be the guest's: an activation from 1 leaves it out.
  replica.activate(1);
  until([&] { return activated == 1; });
  EXPECT_TRUE(replica_content(0) == then);
}

TEST_F(DiskCopy, ASecondSessionCopiesOnlyWhatMayDiffer) {
  guest_writes(100);
  synchronize(1);
  for (Epoch epoch = 1; epoch <= 6; ++epoch) {
    guest->write(0, 4096 * epoch, some(3000));  // all in one region
    checkpoint(1, epoch);
    pipeline->survives(replica.survives());
  }
  pipeline->abandon();
  until([&] { return detached == 1; });
  guest->write(1, 10U << 20U, some(5000));  // between sessions, in one region of one disk
  synchronize(2);
  expect_equal("after the second synchronization");
  ASSERT_EQ(compared_bytes.size(), 2U);
  EXPECT_EQ(compared_bytes[1], 8U << 20U) << "the region that was written all the time, and the other one";
  EXPECT_EQ(copied_bytes[1], block) << "of them, what differs";
  EXPECT_EQ(guest->followed, static_cast<int>(disk_count)) << "the write path was left as it was";
  guest_writes(20);
  checkpoint(2, 1);
  expect_equal("at its epoch 1");
}

TEST_F(DiskCopy, AQuietDiskIsNotCopiedAgain) {
  guest_writes(100);
  synchronize(1);
  for (Epoch epoch = 1; epoch <= 4; ++epoch) {  // memory changes, the disks do not
    domain.change(random, 5);
    checkpoint(1, epoch);
    pipeline->survives(replica.survives());
  }
  pipeline->abandon();
  until([&] { return detached == 1; });
  guest->write(1, 10U << 20U, some(5000));
  synchronize(2);
  expect_equal("after the second synchronization");
  ASSERT_EQ(compared_bytes.size(), 2U);
  EXPECT_EQ(compared_bytes[1], 4U << 20U) << "the region written between the sessions";
}

TEST_F(DiskCopy, WhatTheBackupHasNotMadeDurableIsCopiedAgain) {
  guest_writes(100);
  synchronize(1);
  for (Epoch epoch = 1; epoch <= 4; ++epoch) checkpoint(1, epoch);  // and nothing is told of what survives
  pipeline->survives(0);
  pipeline->abandon();
  until([&] { return detached == 1; });
  synchronize(2);
  ASSERT_EQ(compared_bytes.size(), 2U);
  EXPECT_EQ(compared_bytes[1], disk_count * disk_bytes);
}

TEST_F(DiskCopy, OfAnOldCopyOnlyWhatDiffersIsSent) {
  guest_writes(300);
  for (std::size_t i = 0; i < disk_count; ++i) old_replica(i);
  // Written there and not here, as by an old primary after its last committed epoch; here and not there; over zeros.
  spoil_replica(0, 5 * block + 100, some(300));
  guest->write(0, 100 * block - 7, some(14));
  spoil_replica(1, disk_bytes - 1, some(1));
  guest->write(1, 200 * block, std::vector<std::byte>(3 * block));
  spoil_replica(1, 200 * block, some(3 * block));
  synchronize(1);
  expect_equal("at epoch 0");
  EXPECT_EQ(compared_bytes, std::vector{disk_count * disk_bytes});
  EXPECT_EQ(copied_bytes, std::vector{(1 + 2 + 1 + 3) * block});
  EXPECT_THAT(errors, ::testing::IsEmpty());
}

TEST_F(DiskCopy, AnOldCopyIsComparedWhileTheGuestWrites) {
  guest_writes(300);
  for (std::size_t i = 0; i < disk_count; ++i) old_replica(i);
  guest_writes(100);
  std::jthread writer{[this](const std::stop_token& stop) {
    std::mt19937_64 own{7};
    // Few places and few contents, so that blocks go back and forth between what the replica had and what it had not.
    while (!stop.stop_requested())
      guest->write(own() % disk_count, 4096 * (own() % 64),
                   std::vector<std::byte>(4096, static_cast<std::byte>(own() % 2)));
  }};
  synchronize(1);
  writer = {};
  checkpoint(1, 1);
  expect_equal("at epoch 1");
  EXPECT_LT(copied_bytes.back(), disk_count * disk_bytes);
  EXPECT_THAT(errors, ::testing::IsEmpty());
}

TEST_F(DiskCopy, WhatTheBackupCannotTellIsCopied) {
  guest_writes(100);
  for (std::size_t i = 0; i < disk_count; ++i) old_replica(i);
  spoil_replica(0, 1000, some(5000));
  spoil_disk_hashes = [](link::DiskHashes& hashes) {
    hashes.content = link::DiskContent::unknown;
    hashes.hashes = {};
  };
  synchronize(1);
  expect_equal("at epoch 0");
  EXPECT_EQ(copied_bytes, std::vector{disk_count * disk_bytes});
}

TEST_F(DiskCopy, ABrokenTapEndsTheSessionAndTheNextOneIsWhole) {
  guest_writes(50);
  synchronize(1);
  checkpoint(1, 1);
  ASSERT_TRUE(guest->leave(1));
  guest_writes(10);  // nobody hears what goes to disk 1
  pipeline->capture(1, 2);
  until([] { return false; });  // until it is told
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_THAT(errors[0].text(), ::testing::HasSubstr("not followed"));
  EXPECT_EQ(whole, Epoch{1}) << "an epoch that lacks writes is none";
  errors.clear();
  pipeline->abandon();
  until([&] { return detached == 1; });
  synchronize(2);
  expect_equal("after the second synchronization");
  EXPECT_EQ(compared_bytes.back(), disk_count * disk_bytes) << "nobody knows what was written";
  EXPECT_LE(copied_bytes.back(), 20 * block) << "ten writes of at most 40 KB";
}

TEST_F(DiskCopy, WhatTheHypervisorRecordedIsAllThatIsLookedAt) {
  guest->keeps_records = true;
  guest_writes(50);
  synchronize(1);
  checkpoint(1, 1);
  lose_taps();
  guest->write(1, 10U << 20U, some(5000));  // nobody hears of it
  synchronize(2);
  expect_equal("after the second synchronization");
  EXPECT_EQ(compared_bytes.back(), 4U << 20U);
  EXPECT_EQ(copied_bytes.back(), block);
}

TEST_F(DiskCopy, ARecordThatBeganAfterWhatTheReplicasHoldIsNotEnough) {
  guest->keeps_records = true;
  guest_writes(50);
  synchronize(1);
  drop_outbound = true;  // epoch 1, which the record lacks, does not arrive
  guest->write(0, 1U << 20U, some(5000));
  pipeline->capture(1, 1);
  until([&] { return last.kind == Outbound::Kind::epoch && last.epoch == Epoch{1}; });
  drop_outbound = false;
  lose_taps();
  synchronize(2);
  expect_equal("after the second synchronization");
  EXPECT_EQ(compared_bytes.back(), disk_count * disk_bytes);
}

TEST_F(DiskCopy, ARecordThatCannotBeReadIsNone) {
  guest->keeps_records = guest->spoil_records = true;
  synchronize(1);
  checkpoint(1, 1);
  lose_taps();
  guest_writes(5);
  synchronize(2);
  expect_equal("after the second synchronization");
  EXPECT_EQ(compared_bytes.back(), disk_count * disk_bytes);
}

TEST_F(DiskCopy, ARecordOfWhichNotAllCouldBeTakenIsNone) {
  guest->keeps_records = true;
  guest_writes(50);
  synchronize(1);
  checkpoint(1, 1);
  lose_taps();
  guest_writes(20);
  guest->cannot_follow = 1;
  pipeline->synchronize(2);  // follows disk 0, and gets no further
  until([] { return false; });
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_THAT(errors[0].text(), ::testing::HasSubstr("cannot be followed"));
  errors.clear();
  guest->cannot_follow = SIZE_MAX;
  synchronize(3);
  expect_equal("after the third synchronization");
}

TEST_F(DiskCopy, ARecordEndsOnceWhatANewerOneLacksSurvives) {
  guest->keeps_records = true;
  synchronize(1);
  std::string first;
  for (Epoch epoch = 1; epoch <= 8; ++epoch) {
    guest->write(0, 1U << 20U, some(5000));
    checkpoint(1, epoch);
    const auto names = *guest->records();
    ASSERT_FALSE(names.empty());
    EXPECT_LE(names.size(), 2U);
    if (epoch == 1) first = names.front();
    if (epoch < 4) {
      EXPECT_EQ(names.front(), first) << "nothing is known to survive";
    } else {
      pipeline->survives(replica.survives());
    }
  }
  EXPECT_NE(guest->records()->front(), first);
  lose_taps();
  guest->write(1, 10U << 20U, some(5000));
  synchronize(2);
  expect_equal("after the second synchronization");
  EXPECT_LE(compared_bytes.back(), 8U << 20U);
  pipeline->abandon(true);
  until([&] { return detached == 2; });
  EXPECT_TRUE(guest->records()->empty()) << "nothing of us is left";
}

TEST_F(DiskCopy, VerificationComparesEveryBlockWhileTheGuestWrites) {
  guest_writes(200);
  synchronize(1);
  {  // unused by the guest from now on, and changed behind our backs
    std::fstream file{replica_path(1), std::ios::in | std::ios::out | std::ios::binary};
    file.seekp(disk_bytes - 4096).put('x');
  }
  pipeline->verifier().begin(7, true, enough);
  Epoch epoch = 0;
  const auto goes_on = [&] {
    for (int i = 0; i < 5; ++i) guest->write(random() % 2, random() % (disk_bytes - 200'000), some(9000));
    checkpoint(1, ++epoch);
  };
  for (int i = 0; i < 400 && !verified && errors.empty(); ++i) goes_on();
  ASSERT_TRUE(verified) << epoch;
  EXPECT_EQ(verified->failure, "");
  EXPECT_EQ(verified->differing_pages, 0U);
  EXPECT_GE(verified->compared_blocks, disk_count * disk_bytes / DiskVerifier::block_bytes);
  EXPECT_EQ(verified->differing_blocks, 1U);
  ASSERT_EQ(verified->differing_disk_blocks.size(), 1U);
  EXPECT_EQ(verified->differing_disk_blocks[0].disk, 1U);
  EXPECT_EQ(pipeline->left_out_bytes(), 0U);
}

TEST_F(DiskCopy, WhyDisksCannotBeVerifiedIsTold) {
  synchronize(1);
  guest->refuses_reading = true;
  pipeline->verifier().begin(7, true, enough);
  checkpoint(1, 1);
  until([&] { return verify_failed.has_value(); });
  EXPECT_THAT(verify_failed->text(), ::testing::HasSubstr("somebody else reads"));
  guest->refuses_reading = false;
  pipeline->verifier().begin(8, true, enough);
  for (Epoch epoch = 2; epoch <= 400 && !verified; ++epoch) checkpoint(1, epoch);
  ASSERT_TRUE(verified);
  EXPECT_EQ(verified->id, 8U) << "nothing is left of the one before";
}

TEST_F(DiskCopy, LeavingForGoodTakesUsOutOfTheWritePath) {
  synchronize(1);
  pipeline->abandon(true);
  until([&] { return detached == 1; });
  EXPECT_EQ(guest->broken()->size(), disk_count);
}

}  // namespace
}  // namespace remus::guard::testing
