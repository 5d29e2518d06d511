// Which options of the primary's command line a replica takes the place of.
#include "hypervisor/qemu/standby_disks.hpp"

#include <gmock/gmock.h>

namespace {

using namespace remus::hypervisor::qemu;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class StandbyDisks : public testing::Test {
 protected:
  StandbyDisks() {
    facts_.machine = "pc-i440fx-7.2";
    facts_.directory = "/srv";
    facts_.memory = {{"pc.ram", "pc.ram", 256ULL << 20, 0}};
  }
  void disk(const std::string& device, const std::string& file, const std::string& node,
            bool block_device = false) {
    facts_.disks.push_back(
        {.device = device, .file = file, .node = node, .driver = "qcow2", .bytes = 1 << 20});
    paths_.replicas[device] = {"/r/" + device, block_device};
  }
  /// The options that result, each as "name value".
  std::vector<std::string> rewrite(std::vector<std::string> argv) {
    argv.insert(argv.begin(), "qemu");
    objections_.clear();
    std::vector<std::string> out;
    for (const Option& option : with_replicas(split_argv(argv), facts_, paths_, objections_))
      out.push_back(option.name + " " + option.value);
    return out;
  }

  GuestFacts facts_{};
  StandbyPaths paths_{};
  std::vector<std::string> objections_{};
};

TEST_F(StandbyDisks, ADriveKeepsWhatTheGuestAndItsUserFeel) {
  disk("virtio0", "root.qcow2", "#block1");
  EXPECT_THAT(
      rewrite({"-drive",
               "file=root.qcow2,if=virtio,format=qcow2,cache=none,aio=native,discard=unmap,serial=s1,"
               "l2-cache-size=8M,backing.file.filename=base,throttling.iops-total=100"}),
      ElementsAre("drive if=virtio,cache=none,aio=native,discard=unmap,serial=s1,throttling.iops-total=100,"
                  "file=/r/virtio0,format=raw"));
  EXPECT_THAT(objections_, IsEmpty());
  EXPECT_THAT(rewrite({"-drive", "/srv/root.qcow2,if=virtio"}),
              ElementsAre("drive if=virtio,file=/r/virtio0,format=raw"))
      << "the same file by its absolute name, and without its key";
  EXPECT_THAT(rewrite({"-drive", "driver=qcow2,if=virtio,file.driver=file,file.filename=root.qcow2"}),
              ElementsAre("drive if=virtio,file=/r/virtio0,format=raw"));
}

TEST_F(StandbyDisks, OthersStayAsTheyAre) {
  disk("d0", "/img/root", "#block1");
  facts_.disks.push_back({.device = "cd", .file = "/img/cd.iso", .read_only = true, .node = "#block2"});
  EXPECT_THAT(
      rewrite({"-drive", "id=d0,if=none,file=/img/root", "-drive", "id=cd,file=/img/cd.iso,readonly=on",
               "-device", "virtio-blk-pci,drive=d0", "-m", "256"}),
      ElementsAre("drive id=d0,if=none,file=/r/d0,format=raw", "drive id=cd,file=/img/cd.iso,readonly=on",
                  "device virtio-blk-pci,drive=d0", "m 256"));
  paths_.replicas.clear();
  EXPECT_THAT(rewrite({"-drive", "id=d0,file=/img/root,format=qcow2"}),
              ElementsAre("drive id=d0,file=/img/root,format=qcow2"));
}

TEST_F(StandbyDisks, TheOldShortForm) {
  disk("ide0-hd1", "/img/b", "#block1");
  EXPECT_THAT(rewrite({"-hdb", "/img/b"}),
              ElementsAre("drive if=ide,index=1,media=disk,file=/r/ide0-hd1,format=raw"));
}

TEST_F(StandbyDisks, ABlockNodeAndWhatIsBeneathIt) {
  disk("vd0", "/img/root", "d0");
  EXPECT_THAT(
      rewrite(
          {"-blockdev", "driver=qcow2,node-name=d0,discard=unmap,file.driver=file,file.filename=/img/root"}),
      ElementsAre("blockdev driver=raw,node-name=d0,discard=unmap,file.driver=file,file.filename=/r/vd0"));
  // As libvirt writes it, with a backing file and another disk over the same base.
  EXPECT_THAT(
      rewrite(
          {"-blockdev", R"({"driver":"file","filename":"/img/base","node-name":"s2"})", "-blockdev",
           R"({"driver":"raw","node-name":"f2","file":"s2","read-only":true})", "-blockdev",
           R"({"driver":"file","filename":"/img/root","node-name":"s1","cache":{"direct":true}})",
           "-blockdev",
           R"({"node-name":"d0","driver":"qcow2","file":"s1","backing":"f2","discard":"unmap","cache":{"direct":true,"no-flush":false}})",
           "-device", "virtio-blk-pci,drive=d0,id=vd0"}),
      ElementsAre("blockdev driver=raw,discard=unmap,node-name=d0,cache.direct=on,cache.no-flush=off,"
                  "file.driver=file,file.filename=/r/vd0",
                  "device virtio-blk-pci,drive=d0,id=vd0"));
  EXPECT_THAT(rewrite({"-blockdev", "driver=file,filename=/img/base,node-name=s2", "-blockdev",
                       "driver=qcow2,node-name=d0,file=s1,backing=s2", "-blockdev",
                       "driver=file,filename=/img/root,node-name=s1", "-blockdev",
                       "driver=qcow2,node-name=other,file=s2", "-device", "virtio-blk-pci,drive=other"}),
              Contains("blockdev driver=file,filename=/img/base,node-name=s2"))
      << "what something else stands on stays";
  EXPECT_THAT(objections_, IsEmpty());
}

TEST_F(StandbyDisks, ABlockDeviceAndAPathWithAComma) {
  disk("vd0", "/dev/vg/root", "d0", true);
  paths_.replicas["vd0"].path = "/dev/vg/a,b";
  EXPECT_THAT(
      rewrite({"-blockdev", "driver=raw,node-name=d0,file.driver=host_device,file.filename=/dev/vg/root"}),
      ElementsAre("blockdev driver=raw,node-name=d0,file.driver=host_device,file.filename=/dev/vg/a,,b"));
}

TEST_F(StandbyDisks, WhatCannotBeRewrittenIsTold) {
  disk("d0", "/img/root", "#block1");
  static_cast<void>(rewrite({"-m", "256"}));
  EXPECT_THAT(objections_, ElementsAre(HasSubstr("disk 'd0' is not on the guest's command line")));
  static_cast<void>(rewrite({"-drive", "id=d0,file=/img/root,snapshot=on"}));
  EXPECT_THAT(objections_, ElementsAre(HasSubstr("snapshot=on")));
  static_cast<void>(rewrite({"-drive", "file=/img/root", "-drive", "if=virtio,file=/img/root"}));
  EXPECT_THAT(objections_, ElementsAre(HasSubstr("twice")));
  disk("d1", "/img/root", "#block2");
  static_cast<void>(rewrite({"-drive", "file=/img/root"}));
  EXPECT_EQ(objections_.size(), 2U) << "one file, two disks: which is meant cannot be known";
}

TEST_F(StandbyDisks, TheWholeCommandLineNeedsTheReplicaAndNotTheImage) {
  disk("virtio0", "/img/root", "#block1");
  facts_.argv = {"qemu", "-M", "pc", "-drive", "if=virtio,format=qcow2,file=/img/root"};
  const DerivedCommandLine line = derive_command_line(facts_, paths_);
  EXPECT_THAT(line.objections, IsEmpty());
  EXPECT_THAT(line.arguments, Contains("if=virtio,file=/r/virtio0,format=raw"));
  EXPECT_THAT(line.files, ElementsAre(NeededFile{"/r/virtio0", "-drive"}));
  const auto back = facts_from_json(to_json(facts_));
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(derive_command_line(*back, paths_).arguments, line.arguments)
      << "as the backup does from what it is told";
}

}  // namespace
