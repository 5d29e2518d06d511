#include "disk/image_reader.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/fault.hpp"
#include "disk/copy_pace.hpp"

namespace remus::disk {

namespace {

/// Of offsets, lengths and buffers: enough for every device in use.
constexpr std::uint64_t direct_align_bytes = 4096;

constexpr std::uint64_t down(std::uint64_t value, std::uint64_t align) {
  return value / align * align;
}
constexpr std::uint64_t up(std::uint64_t value, std::uint64_t align) {
  return down(value + align - 1, align);
}

struct FreeBuffer {
  void operator()(std::byte* buffer) const noexcept { std::free(buffer); }
};

}  // namespace

Result<std::unique_ptr<DiskReader>> ImageReader::open(const std::filesystem::path& image,
                                                      std::uint64_t bytes) {
  Fd file{::open(image.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT)};
  // Where there are no such reads, nobody writes past the page cache either.
  if (!file && errno == EINVAL) file.reset(::open(image.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno(errno, fmt::format("cannot read the guest's disk '{}'", image.native()));
  return std::unique_ptr<DiskReader>{new ImageReader{std::move(file), bytes}};
}

std::uint64_t ImageReader::next_data(std::uint64_t offset) const {
  const off_t at = ::lseek(file_.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (at >= 0) return std::min(static_cast<std::uint64_t>(at), bytes_);
  return errno == ENXIO ? bytes_ : offset;  // else: a file that does not know, all of it data
}

std::uint64_t ImageReader::next_hole(std::uint64_t offset) const {
  const off_t at = ::lseek(file_.get(), static_cast<off_t>(offset), SEEK_HOLE);
  return at >= 0 ? std::min(static_cast<std::uint64_t>(at), bytes_) : bytes_;
}

/// One copy() under way.
class ImageReader::Run final {
 public:
  Run(const ImageReader& reader, CopySink& sink, const CopyControl& control, std::uint64_t total_bytes)
      : reader_{reader}, sink_{sink}, align_{control.align_bytes}, pace_{control, total_bytes} {
    buffer_.reset(static_cast<std::byte*>(
        std::aligned_alloc(direct_align_bytes, chunk_bytes + 2 * direct_align_bytes)));
  }

  Status range(CopyRange range) {
    if (!buffer_) return fail(Errc::exhausted, "no memory to read the guest's disk into");
    const std::uint64_t end = range.offset + range.bytes;
    for (std::uint64_t at = range.offset; at < end;) {  // the range's beginning, or a multiple of `align_`
      const std::uint64_t data = std::min(reader_.next_data(at), end);
      if (const std::uint64_t to = data == end ? end : down(data, align_); to > at) {
        if (Status passed = holes(at, to); !passed) return passed;
        at = to;
        continue;
      }
      const std::uint64_t to = std::min(up(std::max(reader_.next_hole(data), at + 1), align_), end);
      if (Status read = all_of(at, to); !read) return read;
      at = to;
    }
    return {};
  }

 private:
  Status holes(std::uint64_t at, std::uint64_t end) {
    while (at < end) {
      const std::uint64_t bytes = std::min(end - at, hole_bytes_max);
      if (Status wanted = pace_.may_go_on(); !wanted) return wanted;
      const auto ticket = sink_.begin(at, bytes);
      if (reader_.next_data(at) >= at + bytes) {
        if (Status taken = sink_.finish_zero(ticket); !taken) return taken;
        pace_.passed(bytes);
      } else {
        sink_.abandon(ticket);
        if (Status read = all_of(at, at + bytes); !read) return read;
      }
      at += bytes;
    }
    return {};
  }

  Status all_of(std::uint64_t at, std::uint64_t end) {
    while (at < end) {
      // Chunks end at multiples of their length, so that ranges of any alignment do not make all reads unaligned.
      const std::uint64_t bytes = std::min<std::uint64_t>(end - at, chunk_bytes - at % chunk_bytes);
      if (Status waited = pace_.wait(bytes, [] { return Status{}; }); !waited) return waited;
      const auto ticket = sink_.begin(at, bytes);
      auto data = read(at, static_cast<std::size_t>(bytes));
      if (!data) {
        sink_.abandon(ticket);
        return std::unexpected(data.error());
      }
      const bool zero = all_zero(*data);
      REMUS_FAULT_POINT("disk.read");
      if (Status taken = zero ? sink_.finish_zero(ticket) : sink_.finish(ticket, *data); !taken) return taken;
      pace_.read(bytes);
      at += bytes;
    }
    return {};
  }

  Result<std::span<const std::byte>> read(std::uint64_t offset, std::size_t bytes) {
    const std::uint64_t first = down(offset, direct_align_bytes);
    const auto wanted = static_cast<std::size_t>(up(offset + bytes, direct_align_bytes) - first);
    std::size_t got = 0;
    while (got < wanted) {
      const ssize_t now =
          ::pread(reader_.file_.get(), buffer_.get() + got, wanted - got, static_cast<off_t>(first + got));
      if (now < 0 && errno == EINTR) continue;
      if (now < 0) return fail_errno(errno, fmt::format("cannot read the guest's disk at byte {}", offset));
      if (now == 0) break;
      got += static_cast<std::size_t>(now);
      if (got % direct_align_bytes != 0) break;  // the end of the file
    }
    std::fill(buffer_.get() + got, buffer_.get() + wanted, std::byte{0});
    return std::span<const std::byte>{buffer_.get() + (offset - first), bytes};
  }

  const ImageReader& reader_;
  CopySink& sink_;
  std::uint64_t align_;
  std::unique_ptr<std::byte, FreeBuffer> buffer_{};
  CopyPace pace_;
};

Status ImageReader::copy(std::span<const CopyRange> ranges, CopySink& sink, const CopyControl& control) {
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
  return {};
}

}  // namespace remus::disk
