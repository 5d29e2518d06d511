// A guest's disks for tests: files, whose writes go to whoever follows them over NBD, as QEMU's do; qemu-nbd serves them for
// reading.
#pragma once

#include <fcntl.h>
#include <libnbd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "hypervisor/guest_disks.hpp"

namespace remus::guard::testing {

class FakeDisks final : public hypervisor::GuestDisks {
 public:
  FakeDisks(std::filesystem::path directory, std::size_t count, std::uint64_t bytes)
      : directory_{std::move(directory)}, clients_(count), servers_(count) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto path = directory_ / ("disk" + std::to_string(i));
      files_.emplace_back(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
      if (::ftruncate(files_.back().get(), static_cast<off_t>(bytes)) != 0)
        throw std::runtime_error{"no file"};
      list_.push_back({.name = "disk" + std::to_string(i), .bytes = bytes, .image = path, .format = "raw"});
    }
  }
  ~FakeDisks() override {
    for (std::size_t i = 0; i < list_.size(); ++i) static_cast<void>(leave(i));
    static_cast<void>(end_reading());
  }

  const std::vector<hypervisor::GuestDisk>& list() const override { return list_; }

  Status follow(std::size_t disk, const std::function<Status(Fd)>& serve) override {
    static_cast<void>(leave(disk));
    if (disk == cannot_follow) return fail(Errc::io, "it cannot be followed");
    int pair[2] = {};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      return fail_errno(errno, "no sockets");
    if (Status served = serve(Fd{pair[0]}); !served) return served;
    nbd_handle* client = ::nbd_create();
    if (::nbd_connect_socket(client, pair[1]) != 0) return fail(Errc::io, ::nbd_get_error());
    const std::lock_guard lock{mutex_};
    clients_[disk] = client;
    ++followed;
    return {};
  }
  Result<std::vector<std::size_t>> broken() override {
    const std::lock_guard lock{mutex_};
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < list_.size(); ++i)
      if (clients_[i] == nullptr) out.push_back(i);
    return out;
  }
  Status leave(std::size_t disk) override {
    const std::lock_guard lock{mutex_};
    if (clients_[disk] != nullptr) ::nbd_close(std::exchange(clients_[disk], nullptr));
    return {};
  }

  Result<Reading> read(std::size_t disk) override {
    if (refuses_reading) return fail(Errc::refused, "somebody else reads");
    const auto socket = directory_ / ("read" + std::to_string(disk));
    const std::string words[] = {"qemu-nbd",       "--read-only",     "--persistent",
                                 "--format=raw",   "--export-name=d", "--socket=" + socket.native(),
                                 list_[disk].image};
    std::vector<char*> argv;
    for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    pid_t pid = 0;
    if (::posix_spawnp(&pid, "qemu-nbd", nullptr, nullptr, argv.data(), environ) != 0)
      return fail(Errc::not_found, "no qemu-nbd");
    servers_[disk] = pid;
    for (int i = 0; i < 10'000; ++i) {
      nbd_handle* client = ::nbd_create();
      const bool there =
          ::nbd_set_export_name(client, "d") == 0 && ::nbd_connect_unix(client, socket.c_str()) == 0;
      ::nbd_close(client);
      if (there) return Reading{socket, "d"};
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return fail(Errc::timeout, "qemu-nbd does not listen");
  }
  Status end_reading() override {
    for (pid_t& pid : servers_) {
      if (pid == 0) continue;
      ::kill(pid, SIGKILL);
      ::waitpid(std::exchange(pid, 0), nullptr, 0);
    }
    std::error_code ignored;
    for (std::size_t i = 0; i < list_.size(); ++i)
      std::filesystem::remove(directory_ / ("read" + std::to_string(i)), ignored);
    return {};
  }

  Status begin_record(const std::string& name) override {
    const std::lock_guard lock{mutex_};
    if (keeps_records) records_[name].resize(list_.size());
    return {};
  }
  Result<std::vector<std::string>> records() override {
    const std::lock_guard lock{mutex_};
    std::vector<std::string> names;
    for (const auto& [name, _] : records_) names.push_back(name);
    return names;
  }
  Result<std::vector<Range>> take_record(std::size_t disk, const std::string& name) override {
    const std::lock_guard lock{mutex_};
    if (!records_.contains(name) || spoil_records) return fail(Errc::io, "the record cannot be read");
    return records_[name][disk];
  }
  Status end_records(const std::vector<std::string>& except) override {
    const std::lock_guard lock{mutex_};
    std::erase_if(records_, [&](const auto& record) {
      return std::ranges::find(except, record.first) == except.end();
    });
    return {};
  }
  std::size_t cannot_follow{SIZE_MAX};  ///< a disk's number
  bool refuses_reading{false};
  bool keeps_records{false};
  bool spoil_records{false};

  // --- the guest ---
  void write(std::size_t disk, std::uint64_t offset, const std::vector<std::byte>& data) {
    const std::lock_guard lock{mutex_};
    if (::pwrite(files_[disk].get(), data.data(), data.size(), static_cast<off_t>(offset)) < 0)
      throw std::runtime_error{"cannot write"};
    for (auto& [_, disks] : records_) disks[disk].push_back({offset, data.size()});
    // An error breaks the tap, as it does QEMU's.
    if (clients_[disk] != nullptr && ::nbd_pwrite(clients_[disk], data.data(), data.size(), offset, 0) != 0)
      ::nbd_close(std::exchange(clients_[disk], nullptr));
  }
  [[nodiscard]] std::vector<std::byte> content(std::size_t disk) const {
    std::vector<std::byte> all(list_[disk].bytes);
    if (::pread(files_[disk].get(), all.data(), all.size(), 0) < 0) throw std::runtime_error{"cannot read"};
    return all;
  }
  int followed{0};

 private:
  std::filesystem::path directory_;
  std::mutex mutex_{};
  std::vector<hypervisor::GuestDisk> list_{};
  std::vector<Fd> files_{};
  std::map<std::string, std::vector<std::vector<Range>>> records_{};
  std::vector<nbd_handle*> clients_;
  std::vector<pid_t> servers_;
};

}  // namespace remus::guard::testing
