#include "disk/nbd_reader.hpp"

#include <fmt/format.h>
#include <libnbd.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "base/fault.hpp"
#include "disk/copy_pace.hpp"

namespace remus::disk {

struct NbdReader::Library {
  Library() : handle{::nbd_create()} {}
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() { close(); }
  void close() {
    if (handle != nullptr) ::nbd_close(handle);
    handle = nullptr;
  }
  nbd_handle* handle;
};

namespace {

constexpr const char* allocation = "base:allocation";

std::string library_words() {
  const char* words = ::nbd_get_error();
  return words == nullptr ? "no reason given" : words;
}

}  // namespace

Result<std::unique_ptr<NbdReader>> NbdReader::connect(const std::filesystem::path& socket,
                                                      const std::string& name) {
  auto library = std::make_unique<Library>();
  nbd_handle* handle = library->handle;
  const auto failed = [&] {
    return fail(Errc::unreachable,
                fmt::format("cannot read disk '{}' at {}: {}", name, socket.native(), library_words()));
  };
  if (handle == nullptr || ::nbd_set_export_name(handle, name.c_str()) != 0 ||
      ::nbd_add_meta_context(handle, allocation) != 0 || ::nbd_connect_unix(handle, socket.c_str()) != 0)
    return failed();
  const std::int64_t bytes = ::nbd_get_size(handle);
  const int knows_holes = ::nbd_can_meta_context(handle, allocation);
  if (bytes < 0 || knows_holes < 0) return failed();
  return std::unique_ptr<NbdReader>{
      new NbdReader{std::move(library), static_cast<std::uint64_t>(bytes), knows_holes == 1}};
}

NbdReader::NbdReader(std::unique_ptr<Library> library, std::uint64_t bytes, bool knows_holes)
    : library_{std::move(library)}, bytes_{bytes}, knows_holes_{knows_holes} {}

NbdReader::~NbdReader() = default;

Result<std::vector<NbdReader::Extent>> NbdReader::status(std::uint64_t offset, std::uint64_t bytes) {
  if (!knows_holes_) return std::vector{Extent{offset, bytes, false}};
  struct Answer {
    std::uint64_t at{};
    std::uint64_t end{};
    std::vector<Extent> extents{};
  } answer{offset, offset + bytes, {}};
  nbd_extent_callback callback{};
  callback.user_data = &answer;
  callback.callback = [](void* data, const char*, std::uint64_t, std::uint32_t* entries, std::size_t count,
                         int*) {
    auto& to = *static_cast<Answer*>(data);
    for (std::size_t i = 0; i + 1 < count && to.at < to.end; i += 2) {
      const std::uint64_t length = std::min<std::uint64_t>(entries[i], to.end - to.at);
      to.extents.push_back({to.at, length, (entries[i + 1] & LIBNBD_STATE_ZERO) != 0});
      to.at += length;
    }
    return 0;
  };
  if (::nbd_block_status(library_->handle, bytes, offset, callback, 0) != 0)
    return fail(Errc::io,
                fmt::format("cannot ask for the holes of the disk at byte {}: {}", offset, library_words()));
  if (answer.at == offset)
    return fail(Errc::corrupt,
                fmt::format("the disk's NBD export says nothing of what lies at byte {}", offset));
  return std::move(answer.extents);
}

/// One copy() under way.
class NbdReader::Run final {
 public:
  Run(NbdReader& reader, CopySink& sink, const CopyControl& control, std::uint64_t total_bytes)
      : reader_{reader}, sink_{sink}, align_{control.align_bytes}, pace_{control, total_bytes} {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run() {
    // libnbd writes into our buffers until the connection is closed: that first.
    if (std::ranges::any_of(reads_, &Read::under_way)) reader_.library_->close();
    for (const Read& read : reads_)
      if (read.under_way) sink_.abandon(read.ticket);
  }

  Status range(CopyRange range) {
    const std::uint64_t end = range.offset + range.bytes;
    std::uint64_t at = range.offset;       // what is there is known up to here,
    std::uint64_t pending = range.offset;  // and from here on it is data that was not read yet
    const auto read_to = [&](std::uint64_t to) -> Status {
      if (to <= pending) return {};
      const Extent extent{pending, to - pending, false};
      pending = to;
      return data(extent);
    };
    while (at < end) {
      auto extents = reader_.status(at, std::min(end - at, window_bytes));
      if (!extents) return std::unexpected(extents.error());
      for (const Extent& extent : *extents) {
        at += extent.bytes;
        if (!extent.hole) continue;
        const std::uint64_t from =
            extent.offset == pending ? pending : (extent.offset + align_ - 1) / align_ * align_;
        const std::uint64_t to = at == end ? end : at / align_ * align_;
        if (from >= to) continue;
        if (Status read = read_to(from); !read) return read;
        if (Status passed = hole({from, to - from, true}); !passed) return passed;
        pending = to;
      }
      if (Status read = read_to(at == end ? end : at / align_ * align_); !read) return read;
    }
    return {};
  }

  /// Waits until every read has ended.
  Status finish() {
    for (std::size_t i = 0; i < reads_.size(); ++i)
      if (Status done = settle(reads_[(next_ + i) % reads_.size()]); !done) return done;
    return {};
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint64_t window_bytes = 1ULL << 30U;  ///< asked for holes at once
  struct Read {
    bool under_way{};
    CopySink::Ticket ticket{};
    std::int64_t cookie{};
    std::uint64_t offset{};
    std::size_t bytes{};
    std::vector<std::byte> buffer{};
  };

  Status hole(const Extent& extent) {
    for (std::uint64_t at = 0; at < extent.bytes;) {
      const Extent part{extent.offset + at, std::min(extent.bytes - at, hole_bytes_max), true};
      if (Status wanted = pace_.may_go_on(); !wanted) return wanted;
      const auto ticket = sink_.begin(part.offset, part.bytes);
      auto now = reader_.status(part.offset, part.bytes);
      const bool still = now && now->size() == 1 && now->front().hole && now->front().bytes == part.bytes;
      if (!still) {
        sink_.abandon(ticket);
        if (!now) return std::unexpected(now.error());
        if (Status read = data(part); !read) return read;
      } else {
        if (Status taken = sink_.finish_zero(ticket); !taken) return taken;
        pace_.passed(part.bytes);
      }
      at += part.bytes;
    }
    return {};
  }

  Status data(const Extent& extent) {
    for (std::uint64_t at = 0; at < extent.bytes;) {
      const std::uint64_t offset = extent.offset + at;
      // Chunks end at multiples of their length, so that ranges of any alignment do not make all reads unaligned.
      const auto bytes = static_cast<std::size_t>(
          std::min<std::uint64_t>(extent.bytes - at, chunk_bytes - offset % chunk_bytes));
      Read& read = reads_[next_];
      if (Status ended = settle(read); !ended) return ended;
      next_ = (next_ + 1) % reads_.size();
      // A QEMU that cannot get rid of its answers cannot stop its guest.
      if (Status waited = pace_.wait(bytes, [this] { return finish(); }); !waited) return waited;
      read.buffer.resize(chunk_bytes);
      read.offset = offset;
      read.bytes = bytes;
      read.ticket = sink_.begin(offset, bytes);
      read.cookie = ::nbd_aio_pread(reader_.library_->handle, read.buffer.data(), bytes, offset,
                                    NBD_NULL_COMPLETION, 0);
      if (read.cookie < 0) {
        sink_.abandon(read.ticket);
        return unreadable(offset);
      }
      read.under_way = true;
      at += bytes;
    }
    return {};
  }

  /// Waits for this read's end and hands on what was read.
  Status settle(Read& read) {
    const auto give_up = Clock::now() + silence_max;
    while (read.under_way) {
      const int completed =
          ::nbd_aio_command_completed(reader_.library_->handle, static_cast<std::uint64_t>(read.cookie));
      if (completed < 0) {
        return unreadable(read.offset);
      }
      if (completed == 1) return take(read);
      if (Status wanted = pace_.may_go_on(); !wanted) return wanted;
      if (Clock::now() > give_up)
        return fail(Errc::timeout, fmt::format("no answer for {} s to a read of the disk at byte {}",
                                               silence_max.count(), read.offset));
      if (::nbd_poll(reader_.library_->handle, 100) < 0) return unreadable(read.offset);
    }
    return {};
  }

  Status take(Read& read) {
    read.under_way = false;
    const std::span data{read.buffer.data(), read.bytes};
    const bool zero = all_zero(data);
    REMUS_FAULT_POINT("disk.read");
    if (Status taken = zero ? sink_.finish_zero(read.ticket) : sink_.finish(read.ticket, data); !taken)
      return taken;
    pace_.read(read.bytes);
    return {};
  }

  static std::unexpected<Error> unreadable(std::uint64_t offset) {
    return fail(Errc::io, fmt::format("cannot read the disk at byte {}: {}", offset, library_words()));
  }

  NbdReader& reader_;
  CopySink& sink_;
  std::uint64_t align_;
  CopyPace pace_;
  std::array<Read, reads_max> reads_{};
  std::size_t next_{};
};

Status NbdReader::copy(std::span<const CopyRange> ranges, CopySink& sink, const CopyControl& control) {
  if (library_->handle == nullptr)
    return fail(Errc::closed, "the connection to the disk's export was ended by an error");
  std::uint64_t total_bytes = 0;
  for (const CopyRange& range : ranges) {
    if (range.offset > bytes_ || range.bytes > bytes_ - range.offset)
      return fail(Errc::invalid, fmt::format("bytes {} to {} are beyond the disk's end at {}", range.offset,
                                             range.offset + range.bytes, bytes_));
    total_bytes += range.bytes;
  }
  Run run{*this, sink, control, total_bytes};
  for (const CopyRange& range : ranges)
    if (Status done = run.range(range); !done) return done;
  return run.finish();
}

}  // namespace remus::disk
