// The migration stream of a stock QEMU, as sent by its COLO source (docs/qemu.md lists every record).
//
// Pure: bytes come from a ByteSource, pages go to a CheckpointSink, nothing else is touched. A malformed
// stream is an error of kind corrupt that names the byte offset and what was expected there; nothing read can
// make it loop, or allocate beyond stated bounds.
//
//   initial():     "QEVM" 3 | 07 configuration | 08 commands | 01 ram: blocks | 02 02 ... ram, guest runs
//                  | 03 ram, guest paused | 04 devices ... 00 | 06 description
//   checkpoint():  (VMSTATE_SEND was read) 08 commands | 03 ram | 00 | VMSTATE_SIZE | devices
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "hypervisor/domain.hpp"
#include "hypervisor/qemu/device_blob.hpp"
#include "hypervisor/qemu/stream_window.hpp"

namespace remus::hypervisor::qemu {

/// COLO's messages: be32 each, in QEMU's enumeration order.
enum class ColoMessage : std::uint32_t {
  checkpoint_ready = 0,
  checkpoint_request = 1,
  checkpoint_reply = 2,
  vmstate_send = 3,
  vmstate_size = 4,
  vmstate_received = 5,
  vmstate_loaded = 6,
};

struct StreamCounts {
  std::uint64_t pages{};
  std::uint64_t zero_pages{};
  std::uint64_t device_bytes{};
};

struct StreamHooks {
  std::function<void()> paused{};                ///< initial(): the guest stands still from here on
  std::function<void()> ram_done{};              ///< all pages of this part are in the sink
  std::function<void(SyncProgress)> progress{};  ///< initial(): every 8 MiB or so
  std::function<void(std::uint32_t)> ping{};     ///< return path: to be answered with PONG (QEMU ≥ 11)
};

class StreamParser final {
 public:
  static constexpr std::size_t blocks_max = 1024;
  static constexpr std::uint64_t ram_bytes_max = 16ULL << 40;
  static constexpr std::size_t device_bytes_max = 256UL << 20;

  /// The whole first stream. Its device part carries no length; it ends where QEMU's JSON description ends
  /// and QEMU falls silent.
  Result<StreamCounts> initial(ByteSource& source, checkpoint::CheckpointSink& sink,
                               const StreamHooks& hooks);

  /// One checkpoint, from behind VMSTATE_SEND to its last byte.
  Result<StreamCounts> checkpoint(ByteSource& source, checkpoint::CheckpointSink& sink,
                                  const StreamHooks& hooks);

  [[nodiscard]] const checkpoint::Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] const StreamPreamble& preamble() const noexcept { return preamble_; }

 private:
  struct Run {  ///< one part of the stream under way
    StreamWindow& in;
    checkpoint::CheckpointSink& sink;
    const StreamHooks& hooks;
    StreamCounts counts{};
    std::uint64_t next_report_bytes{};
  };

  void configuration(Run& run);
  void command(Run& run);
  void ram_section(Run& run, bool start);
  void ram_records(Run& run);
  void ram_page(Run& run, std::uint64_t flags, std::uint64_t address);
  void block_list(Run& run, std::uint64_t total);
  void footer(Run& run);
  void initial_devices(Run& run);
  void checkpoint_devices(Run& run);
  void devices(Run& run, std::size_t bytes, std::size_t description);

  checkpoint::Layout layout_{};
  StreamPreamble preamble_{};
  std::size_t current_block_{blocks_max};  ///< CONT refers to it, also across checkpoints
};

}  // namespace remus::hypervisor::qemu
