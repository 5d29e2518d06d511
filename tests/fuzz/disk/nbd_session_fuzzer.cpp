// Arbitrary bytes as an NBD client: after a handshake (the first byte says which), until the input ends. Whatever comes,
// nothing outside of the disk reaches the sink, and how the bytes are cut into pieces changes nothing.
#include <cstdlib>
#include <vector>

#include "disk/nbd_session.hpp"

namespace {

using namespace remus;
using namespace remus::disk;

constexpr std::uint64_t disk_bytes = 3 * 4096 + 512;

/// Sums up what it is told, and traps on what no sink may be told.
class Watch final : public WriteSink {
 public:
  Status write(std::uint64_t offset, std::span<const std::byte> data) override {
    for (const std::byte byte : data) sum = sum * 31 + std::to_integer<std::uint64_t>(byte);
    return note(offset, data.size());
  }
  Status zero(std::uint64_t offset, std::uint64_t bytes, bool may_unmap) override {
    sum = sum * 31 + (may_unmap ? 2 : 3);
    return note(offset, bytes);
  }
  Status trim(std::uint64_t offset, std::uint64_t bytes) override { return note(offset, bytes); }
  Status flush() override {
    sum = sum * 31 + 1;
    return {};
  }
  std::uint64_t sum{};

 private:
  Status note(std::uint64_t offset, std::uint64_t bytes) {
    if (bytes == 0 || offset > disk_bytes || bytes > disk_bytes - offset) std::abort();
    sum = (sum * 31 + offset) * 31 + bytes;
    if (sum % 7 == 0) return fail(Errc::exhausted, "full");
    return {};
  }
};

struct Outcome {
  std::uint64_t sum{};
  std::vector<std::byte> answers{};
  bool operator==(const Outcome&) const = default;
};

Outcome converse(std::span<const std::byte> input, std::size_t piece) {
  Watch watch;
  NbdSession session{{.name = "d", .bytes = disk_bytes}, watch};
  Outcome out;
  std::size_t begin = 0;
  for (std::size_t end = 0; end < input.size() && session.state() != NbdSession::State::ended;) {
    end += std::min(piece, input.size() - end);
    const auto taken = session.take(input.subspan(begin, end - begin), out.answers);
    if (!taken) break;
    if (*taken > end - begin) std::abort();
    begin += *taken;
  }
  out.sum = watch.sum;
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> input;
  if (size != 0 && data[0] % 2 == 1) {
    nbd::append(input, 3, 4);
    nbd::append(input, nbd::option_magic, 8);
    nbd::append(input, 7, 4);
    nbd::append(input, 6, 4);
    nbd::append(input, 0, 6);
  }
  for (std::size_t i = 1; i < size; ++i) input.push_back(static_cast<std::byte>(data[i]));
  if (converse(input, input.size() + 1) != converse(input, 7)) std::abort();
  return 0;
}
