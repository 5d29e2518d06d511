#include "hypervisor/xen/copy_crew.hpp"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <csignal>
#include <system_error>

namespace remus::hypervisor::xen {

namespace {
constexpr std::size_t part_pages = 64;  // 256 KiB: some 50 us, more than it costs to take one
constexpr unsigned helpers_max = 3;
}  // namespace

unsigned CopyCrew::usual_helpers() {
  const unsigned processors = std::max(1U, std::thread::hardware_concurrency());
  return std::min(helpers_max, processors - 1);
}

CopyCrew::CopyCrew(unsigned helpers) {
  // Signals are for the threads that expect them.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  threads_.reserve(helpers);
  try {
    for (unsigned i = 0; i < helpers; ++i) {
      threads_.emplace_back([this] { help(); });
      ::pthread_setname_np(threads_.back().native_handle(), "remus-copy");
    }
  } catch (const std::system_error& error) {
    spdlog::warn("only {} threads help to copy in a pause: {}", threads_.size(), error.what());
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

CopyCrew::~CopyCrew() {
  ending_ = true;
  ++call_;
  call_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void CopyCrew::share(std::size_t count, const Part& part) {
  // A helper of the last call that has not got round to leaving is not waited for.
  if (alone() || count <= part_pages || inside_ != 0) {
    if (count > 0) part(0, count);
    return;
  }
  count_ = count;
  part_ = &part;
  next_ = 0;
  done_ = 0;
  open_ = true;
  ++call_;
  call_.notify_all();
  take_parts();
  open_ = false;
  // What helpers have begun they finish soon: they copy, and nothing else.
  for (std::size_t done = done_; done != count; done = done_) done_.wait(done);
}

void CopyCrew::take_parts() {
  for (;;) {
    const std::size_t first = next_.fetch_add(part_pages);
    if (first >= count_) return;
    const std::size_t end = std::min(first + part_pages, count_);
    (*part_)(first, end);
    if (done_.fetch_add(end - first) + (end - first) == count_) done_.notify_all();
  }
}

void CopyCrew::help() {
  for (std::uint32_t seen = 0;;) {
    call_.wait(seen);
    seen = call_;
    if (ending_) return;
    // First inside, then a look whether it is open: the caller closes first, and then looks whether somebody is inside.
    ++inside_;
    if (open_) take_parts();
    --inside_;
  }
}

}  // namespace remus::hypervisor::xen
