#include "base/files.hpp"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "../temp_dir.hpp"

namespace remus {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in{path};
  return {std::istreambuf_iterator<char>{in}, {}};
}

TEST(Files, AreReplacedWholeWithTheirMode) {
  const test::TempDir dir;
  const auto path = dir.path() / "a.json";
  ASSERT_TRUE(write_atomically(path, "old").has_value());
  ASSERT_TRUE(write_atomically(path, "new", 0640).has_value());
  EXPECT_EQ(text_of(path), "new");
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0640U & ~static_cast<unsigned>([] {
                                    const auto mask = ::umask(0);
                                    ::umask(mask);
                                    return mask;
                                  }()));
  EXPECT_FALSE(std::filesystem::exists(dir.path() / "a.json.new"));
}

// A file system of 64 KiB, filled: what every administrator meets one day. Needs the right to mount.
TEST(Files, OnAFullDiskTheOldOneStays) {
  const test::TempDir dir;
  if (::mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=64k") != 0) GTEST_SKIP() << "may not mount";
  const auto path = dir.path() / "a.json";
  ASSERT_TRUE(write_atomically(path, "old").has_value());
  {
    std::ofstream filler{dir.path() / "filler"};
    const std::string block(4096, 'x');
    for (int i = 0; i < 64 && filler << block << std::flush; ++i) {
    }
  }
  const auto written = write_atomically(path, std::string(8192, 'n'));
  const auto kept = text_of(path);
  ::umount(dir.path().c_str());
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().kind, Errc::exhausted);
  EXPECT_EQ(kept, "old");
}

TEST(Files, JsonThatIsNoneIsCorrupt) {
  const test::TempDir dir;
  EXPECT_EQ(read_json(dir.path() / "none").error().kind, Errc::not_found);
  std::ofstream{dir.path() / "bad"} << "{";
  EXPECT_EQ(read_json(dir.path() / "bad").error().kind, Errc::corrupt);
}

TEST(Files, RemovingWhatIsNotThereIsNoFault) {
  EXPECT_TRUE(remove_file("/tmp/remus-no-such-file").has_value());
}

TEST(Files, ADirectoryInAFilesPlaceIsSaid) {
  const test::TempDir dir;
  std::ofstream{dir.path() / "x"} << "";
  EXPECT_FALSE(make_directory(dir.path() / "x" / "y", 0700).has_value());
}

}  // namespace
}  // namespace remus
