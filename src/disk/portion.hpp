// The writes of one disk between two marks: an epoch's, or a piece of the synchronization's.
//
// Data stands in chunks, one after the other in the order it came; the extents say what belongs where. Who holds a
// portion that is closed may read it from any thread while the log goes on.
#pragma once

#include <span>
#include <vector>

#include "disk/chunk_pool.hpp"
#include "disk/extent_map.hpp"

namespace remus::disk {

using PortionNumber = std::uint64_t;

/// A piece of a portion, as it is sent and applied. `data` is empty unless kind is data.
struct Write {
  std::uint64_t offset{};
  std::uint64_t bytes{};
  WriteKind kind{};
  std::span<const std::byte> data{};
};

class Portion final {
 public:
  struct Memory;  ///< where nodes of extent maps come from
  [[nodiscard]] static std::shared_ptr<Memory> make_memory();

  Portion(PortionNumber number, std::shared_ptr<ChunkPool> pool, std::shared_ptr<Memory> memory);
  Portion(const Portion&) = delete;
  Portion& operator=(const Portion&) = delete;
  ~Portion();

  /// Chunks that must be reserved before so much data can be put.
  [[nodiscard]] std::size_t chunks_for(std::size_t bytes) const noexcept;
  /// The caller has reserved chunks_for(data.size()). Errors: those of spilling; the portion is incomplete then.
  [[nodiscard]] Status put(std::uint64_t offset, std::span<const std::byte> data);
  void put(std::uint64_t offset, std::uint64_t bytes, WriteKind kind);
  /// Replaces data that stands here in memory in one piece: costs no room. False: there is none such.
  [[nodiscard]] bool rewrite(std::uint64_t offset, std::span<const std::byte> data) noexcept;

  /// All writes by rising offset, none overlapping; data in pieces of at most a chunk. Stops at the visitor's first error.
  /// Errors: io (spilled data cannot be read back), the visitor's.
  template <typename Visitor>
  [[nodiscard]] Status visit(Visitor&& visitor) const {
    std::vector<std::byte> scratch;
    Status status{};
    extents_.visit([&](const Extent& extent) {
      if (!status) return;
      if (extent.kind != WriteKind::data) {
        status = visitor(Write{extent.offset, extent.bytes, extent.kind, {}});
        return;
      }
      for (std::uint64_t done = 0; done < extent.bytes && status;) {
        const auto piece = piece_at(extent.place + done, extent.bytes - done, scratch);
        if (!piece) {
          status = std::unexpected(piece.error());
          return;
        }
        status = visitor(Write{extent.offset + done, piece->size(), WriteKind::data, *piece});
        done += piece->size();
      }
    });
    return status;
  }

  [[nodiscard]] PortionNumber number() const noexcept { return number_; }
  [[nodiscard]] const ExtentMap& extents() const noexcept { return extents_; }
  [[nodiscard]] bool empty() const noexcept { return extents_.empty(); }
  [[nodiscard]] std::size_t chunks() const noexcept { return chunks_.size(); }
  /// Of data; what a rewrite replaced elsewhere counts too.
  [[nodiscard]] std::uint64_t data_bytes() const noexcept { return used_; }

 private:
  [[nodiscard]] Status next_chunk();
  [[nodiscard]] Result<std::span<const std::byte>> piece_at(std::uint64_t place, std::uint64_t bytes,
                                                            std::vector<std::byte>& scratch) const;

  PortionNumber number_;
  std::shared_ptr<ChunkPool> pool_;
  std::shared_ptr<Memory> memory_;
  ExtentMap extents_;
  std::vector<Chunk> chunks_{};
  std::uint64_t used_{};  ///< bytes of chunks_
};

}  // namespace remus::disk
