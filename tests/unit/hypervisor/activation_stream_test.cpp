#include "hypervisor/qemu/activation_stream.hpp"

#include <gtest/gtest.h>

#include <string_view>

#include "stream_builder.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor;
using namespace remus::hypervisor::qemu;
using remus::test::StreamBuilder;

TEST(ActivationStream, IsAnOrdinaryStreamWithoutSharedPages) {
  std::vector<std::byte> shared(8192, std::byte{1});
  std::vector<std::byte> bios(8192, std::byte{0});
  std::fill_n(bios.begin(), 4096, std::byte{'X'});
  std::vector<std::byte> video(8192, std::byte{0});
  StandbyMemory memory;
  memory.layout.add("ram1", 8192);
  memory.layout.add("pc.bios", 8192);
  memory.layout.add("vga.vram", 8192);
  memory.blocks = {shared, bios, video};
  StreamBuilder configuration;
  configuration.u8(7).be32(2).text("pc");
  StreamBuilder sections;
  sections.text("STATE").u8(0);
  const DeviceBlob blob{sections.bytes(), configuration.bytes(), 2, 0, 4};
  const auto stream = activation_stream(blob, memory, {{"r", "ram1", 8192, 4096}});
  ASSERT_TRUE(stream) << stream.error().text();

  StreamBuilder expected;
  expected.text("QEVM").be32(3).u8(7).be32(2).text("pc");
  expected.u8(5).name("configuration/capabilities").be32(1).be32(1).name("x-ignore-shared");
  expected.u8(1).be32(2).name("ram").be32(0).be32(4).be64(24576 | 4);
  expected.name("ram1")
      .be64(8192)
      .be64(4096)
      .name("pc.bios")
      .be64(8192)
      .be64(0)
      .name("vga.vram")
      .be64(8192)
      .be64(0);
  expected.ram_done();
  expected.ram(3)
      .page(0, 'X', "pc.bios")
      .zero(4096)
      .ram_done();  // video memory begins as zeros: nothing to send
  expected.text("STATE").u8(0).u8(6).be32(2).text("{}");
  EXPECT_EQ(*stream, expected.bytes());
}

TEST(ActivationStream, RefusesWhatItCannotRepeat) {
  StreamBuilder configuration;
  configuration.u8(7).be32(2).text("pc").u8(5).name("configuration/capabilities");
  StreamBuilder sections;
  sections.u8(0);
  const DeviceBlob blob{sections.bytes(), configuration.bytes(), 2, 0, 4};
  EXPECT_EQ(activation_stream(blob, {}, {}).error().kind, Errc::incompatible);
}

}  // namespace
