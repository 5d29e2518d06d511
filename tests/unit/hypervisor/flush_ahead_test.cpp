// A guest's disks, flushed before it is stopped: by the kernel's own account of what is not on a medium yet.
#include "hypervisor/qemu/flush_ahead.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <vector>

namespace remus::hypervisor::qemu {
namespace {

/// Pages of the file that are dirty or being written; -1 if this kernel does not tell (cachestat, Linux 6.5).
long unwritten_pages(int fd) {
  struct {
    std::uint64_t offset{}, length{};
  } const all{};
  struct {
    std::uint64_t cached{}, dirty{}, writeback{}, evicted{}, recently_evicted{};
  } pages{};
  constexpr long cachestat = 451;
  if (::syscall(cachestat, fd, &all, &pages, 0U) != 0) return -1;
  return static_cast<long>(pages.dirty + pages.writeback);
}

class FlushAheadTest : public ::testing::Test {
 protected:
  // Not in memory, where nothing is ever written to a medium.
  FlushAheadTest() {
    std::string place{"/var/tmp/remus-test-XXXXXX"};
    if (::mkdtemp(place.data()) == nullptr) throw std::runtime_error{"mkdtemp"};
    directory_ = place;
  }
  ~FlushAheadTest() override { std::filesystem::remove_all(directory_); }

  Fd make(const std::string& name) {
    Fd file{::open((directory_ / name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    EXPECT_TRUE(file);
    return file;
  }
  static void write_to(const Fd& file) {
    const std::vector<char> data(1 << 20, 'x');
    ASSERT_EQ(::pwrite(file.get(), data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  }
  static Disk disk(const std::string& file, bool read_only = false) {
    Disk out;
    out.file = file;
    out.read_only = read_only;
    return out;
  }
  [[nodiscard]] std::string in_directory(const std::string& name) const { return directory_ / name; }
  std::filesystem::path directory_{};
};

TEST_F(FlushAheadTest, WhatWasWrittenIsOnTheMedium) {
  const Fd one = make("one");
  const Fd two = make("two");
  // By an absolute path, and by one relative to where the process was started.
  FlushAhead flush{::getpid(), directory_.native(), {disk(in_directory("one")), disk("two")}};
  ASSERT_EQ(flush.images(), 2U);
  for (int round = 0; round < 3; ++round) {
    write_to(one);
    write_to(two);
    if (unwritten_pages(one.get()) <= 0)
      GTEST_SKIP() << "this kernel does not tell, or has written it already";
    ASSERT_TRUE(flush.run());
    EXPECT_EQ(unwritten_pages(one.get()), 0);
    EXPECT_EQ(unwritten_pages(two.get()), 0);
  }
}

TEST_F(FlushAheadTest, WhatIsNoImageHereIsLeftToQemu) {
  make("read-only");
  ASSERT_EQ(::mkfifo(in_directory("fifo").c_str(), 0600), 0);
  FlushAhead flush{
      ::getpid(),
      directory_.native(),
      {disk(in_directory("gone")), disk(in_directory("read-only"), true), disk(in_directory("fifo")),
       disk("nbd://10.0.0.1/x"), disk("json:{\"driver\": \"rbd\"}"), disk(""), disk("/dev/null")}};
  EXPECT_EQ(flush.images(), 0U);
  EXPECT_TRUE(flush.run());
}

}  // namespace
}  // namespace remus::hypervisor::qemu
