#include "guard/state_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "../temp_dir.hpp"

namespace remus::guard {
namespace {

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}
void put_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream{path, std::ios::binary | std::ios::trunc} << bytes;
}

StateRecord record(std::uint64_t generation) {
  return {generation, 0, HostRole::primary, generation % 2 == 1};
}

TEST(StateFile, AFreshOneHoldsNothing) {
  const test::TempDir dir;
  const auto file = StateFile::open(dir.path() / "web1.state");
  ASSERT_TRUE(file.has_value()) << file.error().text();
  EXPECT_EQ(file->record(), StateRecord{});
  EXPECT_EQ(StateFile::peek(dir.path() / "web1.state").value(), StateRecord{});
}

TEST(StateFile, WhatIsWrittenIsThereForTheNextAndForReaders) {
  const test::TempDir dir;
  const auto path = dir.path() / "web1.state";
  for (std::uint64_t generation = 1; generation <= 5; ++generation) {
    auto file = StateFile::open(path);
    ASSERT_TRUE(file.has_value());
    ASSERT_TRUE(file->write(record(generation)).has_value());
    EXPECT_EQ(StateFile::peek(path).value(), record(generation));
    EXPECT_EQ(StateFile::open(path)->record(), record(generation));
  }
}

TEST(StateFile, AGenerationNeverFalls) {
  const test::TempDir dir;
  auto file = StateFile::open(dir.path() / "web1.state");
  ASSERT_TRUE(file->write(record(5)).has_value());
  EXPECT_FALSE(file->write(record(4)).has_value());
  EXPECT_EQ(file->record(), record(5));
}

// A power cut may leave any prefix of a slot's write on disk, and garbage in the sector being written.
TEST(StateFile, APowerCutAtAnyByteLeavesTheRecordBeforeOrTheNewOne) {
  const test::TempDir dir;
  const auto path = dir.path() / "web1.state";
  for (const std::uint64_t last : {2U, 3U}) {  // so that either slot is the one torn
    std::filesystem::remove(path);
    auto file = StateFile::open(path);
    for (std::uint64_t generation = 1; generation < last; ++generation)
      ASSERT_TRUE(file->write(record(generation)));
    const auto before = bytes_of(path);
    ASSERT_TRUE(file->write(record(last)).has_value());
    const auto after = bytes_of(path);
    ASSERT_EQ(before.size(), after.size()) << "a record must never need more space";
    const auto first =
        static_cast<std::size_t>(std::ranges::mismatch(before, after).in1 - before.begin()) / 512 * 512;
    for (std::size_t cut = 0; cut <= 512; ++cut) {
      for (const char garbage : {'\0', '\x5a'}) {
        auto torn = before;
        std::copy_n(after.begin() + static_cast<std::ptrdiff_t>(first), cut,
                    torn.begin() + static_cast<std::ptrdiff_t>(first));
        if (cut < 512 && garbage != '\0')
          std::fill_n(torn.begin() + static_cast<std::ptrdiff_t>(first + cut), 512 - cut, garbage);
        put_bytes(path, torn);
        const auto read = StateFile::peek(path);
        ASSERT_TRUE(read.has_value()) << "cut at " << cut << ": " << read.error().text();
        // Zeros at the end of a slot may happen to complete it; anything else is the old record.
        EXPECT_TRUE(*read == record(last - 1) || (*read == record(last) && torn == after))
            << "cut at " << cut << ": generation " << read->generation;
      }
    }
    // After the cut the next writer goes on from what is whole.
    auto torn = before;
    std::fill_n(torn.begin() + static_cast<std::ptrdiff_t>(first), 512, '\x5a');
    put_bytes(path, torn);
    auto next = StateFile::open(path);
    ASSERT_TRUE(next.has_value());
    EXPECT_EQ(next->record(), record(last - 1));
    ASSERT_TRUE(next->write(record(last + 10)).has_value());
    EXPECT_EQ(StateFile::peek(path).value(), record(last + 10));
  }
}

TEST(StateFile, WhenNeitherRecordIsWholeNothingIsMadeUp) {
  const test::TempDir dir;
  const auto path = dir.path() / "web1.state";
  put_bytes(path, std::string(1024, '\x5a'));
  const auto file = StateFile::open(path);
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().kind, Errc::corrupt);
  EXPECT_EQ(StateFile::peek(path).error().kind, Errc::corrupt);
}

TEST(StateFile, AFileCutShortByItsCreatorsDeathIsCompleted) {
  const test::TempDir dir;
  const auto path = dir.path() / "web1.state";
  put_bytes(path, std::string(100, '\0'));
  auto file = StateFile::open(path);
  ASSERT_TRUE(file.has_value()) << file.error().text();
  EXPECT_EQ(std::filesystem::file_size(path), 1024U);
  EXPECT_TRUE(file->write(record(1)).has_value());
}

TEST(StateFile, AMissingFileIsNotFound) {
  EXPECT_EQ(StateFile::peek("/nonexistent/web1.state").error().kind, Errc::not_found);
}

}  // namespace
}  // namespace remus::guard
