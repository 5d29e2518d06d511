#include "disk/write_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/assert.hpp"

namespace remus::disk {
namespace {
/// Who waits for room looks this often whether replication has ended.
constexpr std::chrono::milliseconds look_again{10};
}  // namespace

WriteLog::WriteLog(const WriteLogSettings& settings, std::shared_ptr<ChunkPool> pool,
                   ChangeObserver* observer)
    : settings_{settings},
      pool_{std::move(pool)},
      memory_{Portion::make_memory()},
      observer_{observer},
      open_{new_portion(settings.first)} {
  REMUS_ASSERT("pre", settings.disk_bytes <= disk_bytes_max, "a disk's size fits the wire");
}

WriteLog::~WriteLog() = default;

std::unique_ptr<Portion> WriteLog::new_portion(PortionNumber number) {
  return std::make_unique<Portion>(number, pool_, memory_);
}

Status WriteLog::check(std::uint64_t offset, std::uint64_t bytes) const {
  if (offset > settings_.disk_bytes || bytes > settings_.disk_bytes - offset)
    return fail(Errc::invalid, fmt::format("{} bytes at {} are not within the disk of {} bytes", bytes,
                                           offset, settings_.disk_bytes));
  return {};
}

Status WriteLog::write(std::uint64_t offset, std::span<const std::byte> data) {
  return change(offset, data.size(), WriteKind::data, data);
}

Status WriteLog::zero(std::uint64_t offset, std::uint64_t bytes, bool may_unmap) {
  return change(offset, bytes, may_unmap ? WriteKind::zero_unmap : WriteKind::zero, {});
}

Status WriteLog::trim(std::uint64_t offset, std::uint64_t bytes) {
  return change(offset, bytes, WriteKind::trim, {});
}

/// What a flush asks for is given with the epoch: the backup holds it before anybody outside can hear that it was done.
Status WriteLog::flush() {
  return {};
}

Status WriteLog::change(std::uint64_t offset, std::uint64_t bytes, WriteKind kind,
                        std::span<const std::byte> data) {
  if (auto status = check(offset, bytes); !status) return status;
  if (bytes == 0) return {};
  std::unique_lock lock{mutex_};
  ++stats_.writes;
  stats_.bytes += data.size();
  if (state_ && kind == WriteKind::data && open_->rewrite(offset, data)) {
    stats_.rewritten_bytes += data.size();
  } else if (const Room room = make_room(lock, data.size()); room.granted) {
    if (kind == WriteKind::data) {
      settle(room, open_->put(offset, data));
    } else {
      open_->put(offset, bytes, kind);
    }
  }
  // Last: a copy that began while this writer waited is overtaken as well.
  overtake(offset, bytes);
  if (observer_ == nullptr) return {};
  lock.unlock();
  Status observed = observer_->changed(offset, bytes);
  lock.lock();
  if (!observed) give_up(std::move(observed.error()));
  return {};
}

/// Not granted: the log is broken or closed.
WriteLog::Room WriteLog::make_room(std::unique_lock<std::mutex>& lock, std::size_t bytes) {
  const auto deadline = std::chrono::steady_clock::now() + settings_.wait_max;
  for (bool waited = false;; waited = true) {
    if (!state_ || closing_) return {};
    const std::size_t chunks = open_->chunks_for(bytes);
    const bool extents_fit = open_->extents().size() < settings_.extents_max;
    if (extents_fit && (chunks == 0 || pool_->reserve(chunks))) return {true, chunks, open_->chunks()};
    if (!waited) ++stats_.waits;
    if (chunks > pool_->capacity() || std::chrono::steady_clock::now() >= deadline) {
      give_up({Errc::exhausted,
               fmt::format("the guest writes faster than its backup takes it: all room for waiting writes, "
                           "{} MiB, is used",
                           pool_->capacity() * chunk_bytes >> 20),
               "give disk writes more room, or the link more bandwidth"});
      return {};
    }
    // A release makes room, and so does a mark if there are too many extents.
    lock.unlock();
    const auto soon = std::min(deadline, std::chrono::steady_clock::now() + look_again);
    if (extents_fit) {
      static_cast<void>(pool_->wait_for(chunks, soon));
    } else {
      std::this_thread::sleep_until(soon);
    }
    lock.lock();
  }
}

void WriteLog::settle(const Room& room, Status put) {
  const std::size_t used = open_->chunks() - room.before;
  if (used < room.chunks) pool_->unreserve(room.chunks - used);
  if (!put) give_up(std::move(put.error()));
}

void WriteLog::overtake(std::uint64_t offset, std::uint64_t bytes) {
  for (auto& [ticket, copy] : copies_) {
    copy.overtaken.add(std::max(offset, copy.offset), std::min(offset + bytes, copy.offset + copy.bytes));
  }
}

void WriteLog::give_up(Error why) {
  if (!state_) return;
  state_ = std::unexpected(std::move(why));
  open_ = new_portion(open_->number());
  closed_.clear();
  copies_.clear();
}

CopySink::Ticket WriteLog::begin(std::uint64_t offset, std::uint64_t bytes) {
  const std::lock_guard lock{mutex_};
  const Ticket ticket = ++last_ticket_;
  if (state_ && bytes != 0 && bytes <= copy_bytes_max && check(offset, bytes))
    copies_.emplace(ticket, Copy{offset, bytes, {}});
  return ticket;
}

Status WriteLog::copying_ended() const {
  if (!state_) return std::unexpected(state_.error().in("copying the disk ends"));
  return fail(Errc::closed, "copying the disk ends: replication is over");
}

template <typename Put>
Status WriteLog::finish_copy(Ticket ticket, std::size_t data_bytes, Put&& put) {
  std::unique_lock lock{mutex_};
  while (state_ && !closing_ && pool_->reserved() * 2 > pool_->capacity()) {
    lock.unlock();
    std::this_thread::sleep_for(look_again);
    lock.lock();
  }
  if (!state_ || closing_) return copying_ended();
  const auto found = copies_.find(ticket);
  if (found == copies_.end())
    return fail(
        Errc::invalid,
        fmt::format("no copy under way has ticket {}: it was not begun, is not within the disk, or has "
                    "more than {} bytes",
                    ticket, copy_bytes_max));
  if (data_bytes != 0 && data_bytes != found->second.bytes)
    return fail(Errc::invalid,
                fmt::format("{} bytes were read, {} were announced", data_bytes, found->second.bytes));
  // Making room may let writers in: the ticket stands until there is room, and from then on nobody comes between.
  const Room room = make_room(lock, data_bytes);
  if (!room.granted) return copying_ended();
  const Copy copy = std::move(copies_.at(ticket));
  copies_.erase(ticket);
  Status status{};
  std::uint64_t taken = 0;
  copy.overtaken.visit_gaps(copy.offset, copy.offset + copy.bytes,
                            [&](std::uint64_t begin, std::uint64_t end) {
                              if (status) status = put(begin, end, begin - copy.offset);
                              taken += end - begin;
                            });
  stats_.copied_bytes += taken;
  stats_.overtaken_bytes += copy.bytes - taken;
  settle(room, std::move(status));
  return state_ ? Status{} : copying_ended();
}

Status WriteLog::finish(Ticket ticket, std::span<const std::byte> data) {
  return finish_copy(ticket, data.size(), [&](std::uint64_t begin, std::uint64_t end, std::uint64_t from) {
    return open_->put(begin, data.subspan(from, end - begin));
  });
}

Status WriteLog::finish_zero(Ticket ticket) {
  return finish_copy(ticket, 0, [&](std::uint64_t begin, std::uint64_t end, std::uint64_t) {
    open_->put(begin, end - begin, WriteKind::zero_unmap);
    return Status{};
  });
}

void WriteLog::abandon(Ticket ticket) {
  const std::lock_guard lock{mutex_};
  copies_.erase(ticket);
}

void WriteLog::leave_out(Ticket ticket, std::uint64_t offset, std::uint64_t bytes) {
  const std::lock_guard lock{mutex_};
  const auto found = copies_.find(ticket);
  if (found == copies_.end()) return;
  Copy& copy = found->second;
  copy.overtaken.add(std::max(offset, copy.offset), std::min(offset + bytes, copy.offset + copy.bytes));
}

PortionNumber WriteLog::mark() {
  const std::lock_guard lock{mutex_};
  const PortionNumber number = open_->number();
  if (observer_ != nullptr) observer_->marked(number);
  if (state_) closed_.emplace_back(std::move(open_));
  open_ = new_portion(number + 1);
  return number;
}

PortionNumber WriteLog::open_portion() const {
  const std::lock_guard lock{mutex_};
  return open_->number();
}

std::shared_ptr<const Portion> WriteLog::portion(PortionNumber number) const {
  const std::lock_guard lock{mutex_};
  if (closed_.empty() || number < closed_.front()->number() || number > closed_.back()->number())
    return nullptr;
  return closed_[number - closed_.front()->number()];
}

void WriteLog::release(PortionNumber upto) {
  std::vector<std::shared_ptr<const Portion>> freed;  // outside the lock: writers need not wait for it
  const std::lock_guard lock{mutex_};
  while (!closed_.empty() && closed_.front()->number() <= upto) {
    freed.push_back(std::move(closed_.front()));
    closed_.pop_front();
  }
}

Status WriteLog::state() const {
  const std::lock_guard lock{mutex_};
  return state_;
}

bool WriteLog::wants_mark() const {
  const std::lock_guard lock{mutex_};
  return open_->chunks() * 4 > pool_->capacity() || open_->extents().size() * 2 > settings_.extents_max;
}

WriteLogStats WriteLog::stats() const {
  const std::lock_guard lock{mutex_};
  WriteLogStats stats = stats_;
  stats.waiting_bytes = open_->data_bytes();
  for (const auto& portion : closed_) stats.waiting_bytes += portion->data_bytes();
  return stats;
}

void WriteLog::close() {
  closing_ = true;
}

}  // namespace remus::disk
