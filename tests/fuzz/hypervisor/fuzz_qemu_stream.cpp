// Arbitrary bytes as QEMU's stream: first an initial stream, then checkpoints until the input ends. Whatever
// comes, the parser must end, name pages only within the layout it told, and point only at memory it was
// given.
#include <cstdlib>
#include <deque>
#include <vector>

#include "hypervisor/qemu/stream_parser.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor::qemu;

/// A part of the input, given out in pieces.
class Pieces final : public ByteSource {
 public:
  Pieces(std::span<const std::byte> bytes, std::size_t piece) : bytes_{bytes}, piece_{piece} {}
  Result<std::size_t> read(std::span<std::byte> into) override {
    const std::size_t count = std::min({into.size(), piece_, bytes_.size()});
    if (count == 0) return fail(Errc::closed, "end");
    std::copy_n(bytes_.begin(), count, into.begin());
    bytes_ = bytes_.subspan(count);
    return count;
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t piece_;
};

void require(bool condition) {
  if (!condition) std::abort();
}

class CheckingSink final : public checkpoint::CheckpointSink {
 public:
  void layout(const checkpoint::Layout& layout) override {
    std::uint64_t bytes = 0;
    for (const auto& block : layout.blocks) bytes += block.bytes;
    require(layout.blocks.size() <= StreamParser::blocks_max && bytes <= StreamParser::ram_bytes_max);
    pages_ = bytes / checkpoint::page_bytes;
  }
  void paused() override {}
  std::span<std::byte> space(std::size_t at_least) override {
    require(at_least <= StreamParser::device_bytes_max + (1UL << 20));
    if (at_least > (4UL << 20)) return {};  // a sink may be full
    if (pieces_.empty() || pieces_.back().size() - used_ < at_least) {
      pieces_.emplace_back(at_least + 4096);
      used_ = 0;
    }
    return std::span{pieces_.back()}.subspan(used_);
  }
  void advance(std::size_t bytes) override {
    require(!pieces_.empty() && bytes <= pieces_.back().size() - used_);
    used_ += bytes;
  }
  void page(checkpoint::PageIndex index, const std::byte* data) override {
    require(index < pages_);
    touch({data, checkpoint::page_bytes});
  }
  void zero_page(checkpoint::PageIndex index) override { require(index < pages_); }
  void device_state(std::span<const std::byte> state) override {
    touch(state);
    require(parse_blob(state).has_value());
  }

 private:
  /// Within memory of ours that has been taken into use (the sanitizer sees the rest).
  void touch(std::span<const std::byte> bytes) const {
    bool inside = false;
    for (const auto& piece : pieces_)
      inside = inside ||
               (bytes.data() >= piece.data() && bytes.data() + bytes.size() <= piece.data() + piece.size());
    require(inside);
  }
  std::deque<std::vector<std::byte>> pieces_{};
  std::size_t used_{};
  std::uint64_t pages_{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const auto input = std::as_bytes(std::span{data, size}).subspan(3);
  const std::size_t piece = data[0] * std::size_t{37} + 1;
  const std::size_t first = std::min<std::size_t>(data[1] * std::size_t{256} + data[2], input.size());
  Pieces beginning{input.first(first), piece};
  Pieces rest{input.subspan(first), piece};
  CheckingSink sink;
  StreamParser parser;
  StreamHooks hooks;
  hooks.ping = [](std::uint32_t) {};
  if (!parser.initial(beginning, sink, hooks)) return 0;
  for (int epoch = 0; epoch < 8; ++epoch)
    if (!parser.checkpoint(rest, sink, hooks)) break;
  return 0;
}
