#include "hypervisor/qemu/flush_ahead.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace remus::hypervisor::qemu {

namespace {

using Clock = std::chrono::steady_clock;

/// A flush that was quicker found next to nothing.
constexpr std::chrono::milliseconds worth_another{1};

/// For reading, which is enough to flush; not one that is no disk (a FIFO would make us wait).
Fd open_image(pid_t pid, const std::filesystem::path& path) {
  Fd image{::open(fmt::format("/proc/{}/root{}", pid, path.native()).c_str(),
                  O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)};
  struct stat found {};
  if (!image || ::fstat(image.get(), &found) != 0) return {};
  return S_ISREG(found.st_mode) || S_ISBLK(found.st_mode) ? std::move(image) : Fd{};
}

}  // namespace

FlushAhead::FlushAhead(pid_t pid, const std::string& directory, const std::vector<Disk>& disks) {
  for (const Disk& disk : disks) {
    if (disk.read_only || disk.file.empty()) continue;
    if (Fd image = open_image(pid, std::filesystem::path{directory} / disk.file); image)
      images_.push_back(std::move(image));
  }
  if (images_.empty()) return;
  thread_ = std::jthread{[this](const std::stop_token& stop) { work(stop); }};
  ::pthread_setname_np(thread_.native_handle(), "remus-flush");
}

FlushAhead::~FlushAhead() = default;

bool FlushAhead::run() {
  if (images_.empty()) return true;
  std::unique_lock lock{mutex_};
  wanted_ = true;
  wake_.notify_all();
  return wake_.wait_for(lock, wait_max, [this] { return !wanted_; });
}

void FlushAhead::work(const std::stop_token& stop) {
  std::unique_lock lock{mutex_};
  while (wake_.wait(lock, stop, [this] { return wanted_; })) {
    lock.unlock();
    for (int round = 0; round < 2; ++round) {
      const auto begin = Clock::now();
      // An error is QEMU's to hear of: it flushes through a descriptor of its own.
      for (const Fd& image : images_) static_cast<void>(::fdatasync(image.get()));
      if (Clock::now() - begin < worth_another) break;
    }
    lock.lock();
    wanted_ = false;
    wake_.notify_all();
  }
}

}  // namespace remus::hypervisor::qemu
