// What a standby takes of its host: image files, records, programs, processes.
#include "hypervisor/qemu/standby_host.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <fstream>

#include "hypervisor/child_process.hpp"
#include "hypervisor/qemu/image_files.hpp"
#include "hypervisor/qemu/process_info.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor;
using namespace remus::hypervisor::qemu;
using testing::HasSubstr;
namespace fs = std::filesystem;

class HostTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/remus-standby-XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  void TearDown() override { fs::remove_all(directory_); }

  fs::path script(const std::string& text) const {
    const fs::path file = directory_ / "program";
    std::ofstream{file} << "#!/bin/sh\n" << text << "\n";
    fs::permissions(file, fs::perms::owner_all);
    return file;
  }

  fs::path directory_{};
};

TEST_F(HostTest, ImageFilesAreWhollyAllocated) {
  const fs::path file = directory_ / "ram";
  ASSERT_TRUE(create_image_file(file, 1 << 20));
  EXPECT_EQ(fs::file_size(file), 1U << 20);
  EXPECT_FALSE(create_image_file(file, 1 << 20)) << "an existing file is never taken over";
  auto mapping = Mapping::of_file(file, 1 << 20);
  ASSERT_TRUE(mapping);
  mapping->span()[5] = std::byte{7};
  std::ifstream in{file};
  in.seekg(5);
  EXPECT_EQ(in.get(), 7);
}

TEST_F(HostTest, AHostShortOfRoomSaysHowMuch) {
  constexpr std::uint64_t absurd = 1ULL << 60;
  const auto room = check_room("/dev/shm", absurd);
  ASSERT_FALSE(room);
  EXPECT_EQ(room.error().kind, Errc::exhausted);
  EXPECT_THAT(room.error().text(), HasSubstr("needs 1099511627776 MiB"));
  const auto made = create_image_file(directory_ / "ram", absurd);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, Errc::exhausted) << made.error().text();
  EXPECT_FALSE(fs::exists(directory_ / "ram"));
}

TEST_F(HostTest, RecordsComeBackOrSayTheyAreDamaged) {
  const fs::path file = directory_ / "standby.json";
  auto none = load_record(file);
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->has_value());
  ASSERT_TRUE(save_record(file, {42, 4711, true, "/q", "/i", {"tap0"}}));
  const auto back = load_record(file);
  ASSERT_TRUE(back && *back);
  EXPECT_EQ((*back)->pid, 42);
  EXPECT_EQ((*back)->start_time, 4711U);
  EXPECT_TRUE((*back)->activated);
  EXPECT_EQ((*back)->taps, std::vector<std::string>{"tap0"});
  std::ofstream{file} << "{\"pid\": ";
  EXPECT_EQ(load_record(file).error().kind, Errc::corrupt);
}

TEST_F(HostTest, AnotherVersionOfQemuIsIncompatible) {
  GuestFacts facts;
  facts.version = {7, 2, 22, ""};
  facts.binary = "/nonexistent/qemu-system-nothing";
  StandbyOptions options;
  EXPECT_EQ(choose_binary(options, facts).error().kind, Errc::not_found);
  options.binary = script("echo 'QEMU emulator version 7.2.22 (x)'");
  EXPECT_TRUE(choose_binary(options, facts));
  options.binary = script("echo 'QEMU emulator version 8.0.0'");
  const auto other = choose_binary(options, facts);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, Errc::incompatible);
  EXPECT_THAT(other.error().text(), HasSubstr("primary runs QEMU 7.2.22"));
  options.binary = script("echo something else");
  EXPECT_EQ(choose_binary(options, facts).error().kind, Errc::incompatible);
  options.binary = script("exit 3");
  EXPECT_EQ(choose_binary(options, facts).error().kind, Errc::io);
}

TEST_F(HostTest, MissingAndDifferentFilesAreAllNamed) {
  std::ofstream{directory_ / "kernel"} << "12345";
  const std::string kernel = directory_ / "kernel";
  EXPECT_TRUE(check_files({{kernel, "-kernel"}, {directory_, "-L"}}, {{kernel, 5}}));
  const auto bad = check_files({{kernel, "-kernel"}, {"/nonexistent/initrd", "-initrd"}}, {{kernel, 6}});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().kind, Errc::incompatible);
  EXPECT_THAT(bad.error().text(), HasSubstr("/nonexistent/initrd (-initrd) is not there"));
  EXPECT_THAT(bad.error().text(), HasSubstr("has 5 bytes here, 6 on the primary"));
  EXPECT_EQ(describe_files({{kernel, "-kernel"}, {"/nonexistent", ""}}), (nlohmann::json{{kernel, 5}}));
}

TEST_F(HostTest, TapNamesAreShortStableAndDistinct) {
  StandbyOptions one;
  one.name = "a-guest-with-a-long-name";
  StandbyOptions two;
  two.name = "another";
  EXPECT_LE(tap_name_for(one, "hostnet0").size(), 15U);
  EXPECT_EQ(tap_name_for(one, "n0"), tap_name_for(one, "n0"));
  EXPECT_NE(tap_name_for(one, "n0"), tap_name_for(one, "n1"));
  EXPECT_NE(tap_name_for(one, "n0"), tap_name_for(two, "n0"));
  one.taps["n0"] = "mine";
  EXPECT_EQ(tap_name_for(one, "n0"), "mine");
}

TEST_F(HostTest, AProcessIsNamedByPidAndStartTime) {
  auto child = ChildProcess::spawn({script("exec sleep 100"), {}, {}, "/", directory_ / "log"});
  ASSERT_TRUE(child) << child.error().text();
  EXPECT_TRUE(child->running());
  EXPECT_NE(::getsid(child->pid()), ::getsid(0)) << "in a session of its own";
  EXPECT_TRUE(ChildProcess::adopt(child->pid(), child->start_time()));
  EXPECT_FALSE(ChildProcess::adopt(child->pid(), child->start_time() + 1))
      << "another process of the same pid";
  const pid_t pid = child->pid();
  ASSERT_TRUE(child->kill());
  EXPECT_FALSE(child->running());
  EXPECT_EQ(start_time_of(pid), 0U);
  EXPECT_FALSE(ChildProcess::adopt(pid, child->start_time()));
  EXPECT_TRUE(child->kill()) << "again: nothing to do";
}

TEST_F(HostTest, LeftoversAreFoundAndGivenBackOnce) {
  StandbyOptions options;
  options.name = "web1";
  options.runtime_dir = directory_ / "run";
  options.image_root = directory_ / "image";
  EXPECT_EQ(find_standby(options).error().kind, Errc::not_found);
  const StandbyPlaces places = places_of(options);
  ASSERT_TRUE(make_private_directory(places.runtime));
  ASSERT_TRUE(make_private_directory(places.image));
  std::ofstream{places.image / "pc.ram"} << "memory";
  ASSERT_TRUE(save_record(places.record, {0, 0, false, places.qmp, places.image, {}}));
  const auto left = find_standby(options);
  ASSERT_TRUE(left);
  EXPECT_FALSE(left->running);
  ASSERT_TRUE(discard_standby(options));
  EXPECT_FALSE(fs::exists(places.image));
  EXPECT_FALSE(fs::exists(places.runtime));
  EXPECT_TRUE(discard_standby(options));
}

TEST_F(HostTest, AnActivatedStandbyIsNeverDiscarded) {
  StandbyOptions options;
  options.name = "web1";
  options.runtime_dir = directory_ / "run";
  options.image_root = directory_ / "image";
  const StandbyPlaces places = places_of(options);
  ASSERT_TRUE(make_private_directory(places.runtime));
  auto guest = ChildProcess::spawn({script("exec sleep 100"), {}, {}, "/", directory_ / "log"});
  ASSERT_TRUE(guest);
  ASSERT_TRUE(
      save_record(places.record, {guest->pid(), guest->start_time(), true, places.qmp, places.image, {}}));
  EXPECT_EQ(discard_standby(options).error().kind, Errc::refused);
  // Nor one whose QEMU does not say what it is doing.
  ASSERT_TRUE(
      save_record(places.record, {guest->pid(), guest->start_time(), false, places.qmp, places.image, {}}));
  EXPECT_EQ(discard_standby(options).error().kind, Errc::refused);
  EXPECT_TRUE(guest->running());
  ASSERT_TRUE(guest->kill());
  EXPECT_TRUE(discard_standby(options)) << "it has ended: what it had is given back";
}

}  // namespace
