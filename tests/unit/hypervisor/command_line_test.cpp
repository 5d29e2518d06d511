#include "hypervisor/qemu/command_line.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace {

using namespace remus::hypervisor::qemu;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

GuestFacts facts(const std::string& line) {
  GuestFacts out;
  out.machine = "pc-i440fx-7.2";
  out.directory = "/srv";
  out.binary = "/usr/bin/qemu-system-x86_64";
  out.memory = {{"pc.ram", "pc.ram", 256ULL << 20, 0}};
  std::istringstream words{"qemu " + line};
  for (std::string word; words >> word;) out.argv.push_back(word);
  return out;
}

const StandbyPaths paths{"/img", "/run/r/web1", "/run/r/web1/qmp.sock", {{"n0", "rm1"}, {"hostnet0", "rm2"}}};

DerivedCommandLine derive(const std::string& line) {
  return derive_command_line(facts(line), paths);
}

/// The arguments as one text, so that "-a b" can be looked for.
std::string text(const DerivedCommandLine& line) {
  std::string out;
  for (const auto& word : line.arguments) out += word + " ";
  return out;
}

TEST(CommandLine, AnOrdinaryGuest) {
  const auto line = derive(
      "-name web1 -accel kvm -M pc -m 256 -nodefaults -no-user-config -cpu host -smp 2 -daemonize -pidfile "
      "/run/p "
      "-qmp unix:/run/q,server=on,wait=off -monitor stdio -display none -netdev "
      "tap,id=n0,ifname=tap0,script=no "
      "-device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56 -kernel boot/vmlinuz -initrd /boot/initrd "
      "-append quiet");
  EXPECT_THAT(line.objections, IsEmpty());
  const std::string out = text(line);
  EXPECT_THAT(out,
              AllOf(HasSubstr("-name web1"), HasSubstr("-accel kvm"), HasSubstr("-m 256"),
                    HasSubstr("-nodefaults"), HasSubstr("-no-user-config"), HasSubstr("-cpu host"),
                    HasSubstr("-smp 2"), HasSubstr("-device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56"),
                    HasSubstr("-kernel /srv/boot/vmlinuz"), HasSubstr("-append quiet")));
  EXPECT_THAT(out, HasSubstr("-netdev tap,id=n0,ifname=rm1,script=no,downscript=no"));
  EXPECT_THAT(out, HasSubstr("-machine pc-i440fx-7.2 "));
  EXPECT_THAT(out, HasSubstr("-machine pc-i440fx-7.2,memory-backend=pc.ram"));
  EXPECT_THAT(
      out, HasSubstr("-object memory-backend-file,id=pc.ram,size=268435456,mem-path=/img/pc.ram,share=on"));
  EXPECT_THAT(out, HasSubstr("-qmp unix:/run/r/web1/qmp.sock,server=on,wait=off -incoming defer"));
  for (const char* gone : {"daemonize", "pidfile", "/run/p", "/run/q", "stdio", "tap0"})
    EXPECT_THAT(out, Not(HasSubstr(gone)));
  EXPECT_THAT(line.files, Contains(NeededFile{"/srv/boot/vmlinuz", "-kernel"}));
  EXPECT_THAT(line.files, Contains(NeededFile{"/boot/initrd", "-initrd"}));
}

TEST(CommandLine, LikeLibvirtWritesIt) {
  GuestFacts guest = facts(
      "-name guest=vm,debug-threads=on -S "
      R"(-object {"qom-type":"secret","id":"masterKey0","format":"raw","file":"/var/lib/libvirt/qemu/k.aes"} )"
      "-machine pc-q35-7.2,usb=off,vmport=off,dump-guest-core=off,memory-backend=pc.ram -accel kvm "
      R"(-m size=262144k -object {"qom-type":"memory-backend-ram","id":"pc.ram","size":268435456} )"
      "-overcommit mem-lock=off -no-user-config -nodefaults -chardev "
      "socket,id=charmonitor,fd=23,server=on,wait=off "
      "-mon chardev=charmonitor,id=monitor,mode=control -rtc base=utc,driftfix=slew -no-shutdown -boot "
      "strict=on "
      R"(-device {"driver":"virtio-net-pci","netdev":"hostnet0","id":"net0","mac":"52:54:00:aa:bb:cc"} )"
      R"(-netdev {"type":"tap","fd":"24","id":"hostnet0"} -chardev pty,id=charserial0 )"
      R"(-device {"driver":"isa-serial","chardev":"charserial0","id":"serial0","index":0} )"
      R"(-audiodev {"id":"audio1","driver":"none"} -vnc 127.0.0.1:0,audiodev=audio1 )"
      "-sandbox on,obsolete=deny -msg timestamp=on");
  guest.machine = "pc-q35-7.2";
  const auto line = derive_command_line(guest, paths);
  EXPECT_THAT(line.objections, IsEmpty());
  const std::string out = text(line);
  EXPECT_THAT(out,
              HasSubstr("-machine pc-q35-7.2,usb=off,vmport=off,dump-guest-core=off,memory-backend=pc.ram"));
  EXPECT_THAT(
      out, HasSubstr("-object memory-backend-file,id=pc.ram,size=268435456,mem-path=/img/pc.ram,share=on"));
  EXPECT_THAT(out, HasSubstr("-netdev tap,id=hostnet0,ifname=rm2,script=no"));
  EXPECT_THAT(out, HasSubstr("-vnc 127.0.0.1:0,audiodev=audio1,to=99"));
  EXPECT_THAT(out, HasSubstr("-sandbox on,obsolete=deny"));
  EXPECT_THAT(out, HasSubstr("-chardev pty,id=charserial0"));
  for (const char* gone : {"masterKey0", "charmonitor", "-S ", "fd="}) EXPECT_THAT(out, Not(HasSubstr(gone)));
  // The machine names its backend already: nothing is said twice.
  EXPECT_EQ(out.find("-machine"), out.rfind("-machine"));
}

TEST(CommandLine, NumaNodesKeepTheirBackendsAndNames) {
  GuestFacts guest = facts(
      "-m 512 -object "
      "memory-backend-memfd,id=ram-node0,size=256M,share=on,prealloc=on,host-nodes=0,policy=bind "
      "-numa node,nodeid=0,cpus=0,memdev=ram-node0 -object memory-backend-ram,id=ram-node1,size=256M "
      "-numa node,nodeid=1,cpus=1,memdev=ram-node1");
  guest.memory = {{"ram-node0", "/objects/ram-node0", 256ULL << 20, 0},
                  {"ram-node1", "ram-node1", 256ULL << 20, 256ULL << 20}};
  const auto line = derive_command_line(guest, paths);
  EXPECT_THAT(line.objections, IsEmpty());
  const std::string out = text(line);
  EXPECT_THAT(out,
              HasSubstr("memory-backend-file,id=ram-node0,size=268435456,mem-path=/img/ram-node0,share=on,"
                        "x-use-canonical-path-for-ramblock-id=on"));
  EXPECT_THAT(out,
              HasSubstr("memory-backend-file,id=ram-node1,size=268435456,mem-path=/img/ram-node1,share=on "));
  EXPECT_THAT(out, HasSubstr("-numa node,nodeid=1,cpus=1,memdev=ram-node1"));
  EXPECT_THAT(out, Not(HasSubstr("memory-backend=")));
  EXPECT_THAT(out, Not(HasSubstr("policy=bind")));
}

TEST(CommandLine, TapsHoweverTheyWereGiven) {
  for (const char* netdev : {"tap,id=n0,fd=7", "tap,id=n0,ifname=x,script=/etc/up,downscript=/etc/down",
                             "bridge,id=n0,br=br0", "tap,id=n0,helper=/usr/lib/qemu/qemu-bridge-helper"})
    EXPECT_THAT(text(derive(std::string{"-netdev "} + netdev)),
                HasSubstr("-netdev tap,id=n0,ifname=rm1,script=no,downscript=no "))
        << netdev;
  EXPECT_THAT(text(derive("-netdev tap,id=n0,ifname=x,vnet_hdr=off,sndbuf=0")),
              HasSubstr("-netdev tap,id=n0,ifname=rm1,script=no,downscript=no,vnet_hdr=off,sndbuf=0 "));
  EXPECT_THAT(text(derive("-nic tap,id=n0,model=virtio-net-pci,ifname=x")),
              HasSubstr("-nic tap,id=n0,model=virtio-net-pci,ifname=rm1,script=no,downscript=no"));
  EXPECT_THAT(text(derive("-netdev user,id=u,hostfwd=tcp::1-:2")),
              HasSubstr("-netdev user,id=u,hostfwd=tcp::1-:2"));
}

TEST(CommandLine, ConsolesAndChardevs) {
  auto line = derive("-serial mon:stdio -parallel none");
  EXPECT_THAT(text(line), AllOf(HasSubstr("-serial null"), HasSubstr("-parallel none")));
  EXPECT_THAT(line.notes, Contains(HasSubstr("goes nowhere")));
  line = derive("-serial file:log/s.txt");
  EXPECT_THAT(text(line),
              HasSubstr("-chardev file,id=remus-guest-serial0,path=/srv/log/s.txt,append=on -serial "
                        "chardev:remus-guest-serial0"));
  EXPECT_THAT(line.files, Contains(NeededFile{"/srv/log", "-serial file:log/s.txt"}));
  EXPECT_THAT(text(derive("-chardev stdio,id=c -device isa-serial,chardev=c")),
              HasSubstr("-chardev null,id=c"));
  EXPECT_THAT(text(derive("-chardev socket,id=c,path=/tmp/x,server=on")),
              HasSubstr("-chardev socket,id=c,path=/tmp/x,server=on,wait=off"));
  EXPECT_THAT(text(derive("-chardev socket,id=c,host=h,port=5")), HasSubstr("host=h,port=5,reconnect=5"));
  EXPECT_THAT(text(derive("-chardev file,id=c,path=/var/log/a")), HasSubstr("path=/var/log/a,append=on"));
  EXPECT_THAT(text(derive("-nographic")), AllOf(HasSubstr("-serial null"), HasSubstr("-monitor none"),
                                                HasSubstr("-display none"), Not(HasSubstr("nographic"))));
  EXPECT_THAT(text(derive("-display gtk,gl=on -sdl")),
              AllOf(HasSubstr("-display none"), Not(HasSubstr("gtk"))));
  EXPECT_THAT(text(derive("-vnc unix:/tmp/v")), HasSubstr("-vnc unix:/run/r/web1/vnc.sock"));
}

TEST(CommandLine, WhatCannotBeRebuiltIsSaid) {
  const auto objection = [](const std::string& line) {
    const auto derived = derive(line);
    return derived.objections.empty() ? std::string{} : derived.objections.front();
  };
  EXPECT_THAT(objection("disk.img"), HasSubstr("no replication"));
  EXPECT_THAT(objection("-snapshot"), HasSubstr("-snapshot"));
  EXPECT_THAT(objection("-readconfig x.cfg"), HasSubstr("cannot be seen"));
  EXPECT_THAT(objection("-net nic"), HasSubstr("old network hub"));
  EXPECT_THAT(objection("-netdev vhost-user,id=n0,chardev=c"), HasSubstr("bypass QEMU"));
  EXPECT_THAT(objection("-netdev socket,id=s,fd=5"), HasSubstr("cannot open again"));
  EXPECT_THAT(objection("-netdev tap,id=n7"), HasSubstr("no tap was chosen"));
  EXPECT_THAT(objection("-numa node,mem=128M"), HasSubstr("memdev"));
  EXPECT_THAT(objection("-object memory-backend-ram,id=other,size=1M"), HasSubstr("'other'"));
  EXPECT_EQ(objection("-net none"), "");
}

TEST(CommandLine, FilesOfDisksAndFirmwareMustExist) {
  const auto line = derive(
      "-drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/CODE.fd -cdrom boot.iso -drive "
      "file=nbd://h/x "
      "-blockdev driver=file,filename=/a/b,node-name=f -blockdev driver=raw,file=f,node-name=r -bios "
      "bios.bin "
      "-device virtio-net-pci,romfile= -object tls-creds-x509,id=t,dir=/etc/tls");
  EXPECT_THAT(line.files, Contains(NeededFile{"/usr/share/OVMF/CODE.fd", "-drive"}));
  EXPECT_THAT(line.files, Contains(NeededFile{"/srv/boot.iso", "-cdrom"}));
  EXPECT_THAT(line.files, Contains(NeededFile{"/a/b", "-blockdev"}));
  EXPECT_EQ(line.files.size(), 3U);
}

TEST(CommandLine, ItsOwnStandbyCanBeProtectedAgain) {
  // What a standby was started with, after its activation, is the next primary's command line.
  const auto first =
      derive("-M pc -m 256 -nodefaults -netdev tap,id=n0,ifname=t -device e1000,netdev=n0 -serial file:/l");
  GuestFacts activated = facts("");
  activated.argv.insert(activated.argv.end(), first.arguments.begin(), first.arguments.end());
  const auto second = derive_command_line(activated, paths);
  EXPECT_THAT(second.objections, IsEmpty());
  const std::string out = text(second);
  EXPECT_EQ(out.find("-incoming"), out.rfind("-incoming"));
  EXPECT_EQ(out.find("-qmp"), out.rfind("-qmp"));
  EXPECT_EQ(out.find("memory-backend-file"), out.rfind("memory-backend-file"));
}

}  // namespace
