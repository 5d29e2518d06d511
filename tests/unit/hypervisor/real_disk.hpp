// A guest with a disk, on the QEMU installed on this machine. Its firmware writes nothing, so QEMU's own qemu-io writes
// for the guest, through the guest's device.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../disk/model_disk.hpp"
#include "../disk/support.hpp"
#include "disk/nbd_reader.hpp"
#include "disk/nbd_server.hpp"
#include "hypervisor/qemu/disk_export.hpp"
#include "hypervisor/qemu/disk_tap.hpp"
#include "hypervisor/qemu/inspect.hpp"
#include "real_qemu.hpp"

namespace remus::test {

using namespace hypervisor::qemu;
using nlohmann::json;
namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t disk_bytes = 16U << 20U;

class RealDisk : public RealQemu {
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
    server_ = std::make_unique<disk::NbdServer>(disk::NbdExport{.name = "", .bytes = disk_bytes}, sink);
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
    const std::atomic<std::uint64_t> rate{0};
    const disk::CopyRange all{0, (*reader)->bytes()};
    const Status read = (*reader)->copy({&all, 1}, copy, {.bytes_per_s = rate});
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

}  // namespace remus::test
