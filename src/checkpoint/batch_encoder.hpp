// The primary's encoder: captured pages in, batches out, each page in the form that pays.
//
//   same as what the backup holds                 → left out
//   zero                                          → one byte
//   a version of it is cached (or was zero)       → delta, if smaller
//   else                                          → raw, packed with its neighbours
//
// The hash table and the cache always stand for the backup *after* everything encoded so far was applied in
// order. So the bytes of a session must reach the backup all and in order (the guard keeps them until
// acknowledged and sends the same bytes again). A new session: cache cleared, table loaded with what the
// backup offers, new_session().
#pragma once

#include <memory>
#include <vector>

#include "checkpoint/device_codec.hpp"
#include "checkpoint/encoded_epoch.hpp"
#include "checkpoint/epoch_buffer.hpp"
#include "checkpoint/packer.hpp"
#include "checkpoint/page_batch.hpp"
#include "checkpoint/page_cache.hpp"
#include "checkpoint/page_hash_table.hpp"

namespace remus::checkpoint {

struct EncoderSettings {
  Compression compression = Compression::automatic;
  std::uint64_t link_bytes_per_s = 125'000'000;  ///< for `automatic`; the guard tells what it measures
  bool delta = true;
};

/// Counts since construction; subtract two to have an epoch's.
struct EncoderStats {
  std::uint64_t pages{};  ///< given to the encoder
  std::uint64_t same{};   ///< left out: the backup holds it
  std::uint64_t zero{};
  std::uint64_t delta{};
  std::uint64_t raw{};
  std::uint64_t batches{};
  std::uint64_t body_bytes{};  ///< before packing
  std::uint64_t out_bytes{};   ///< batch payloads
  [[nodiscard]] std::uint64_t raw_bytes() const noexcept { return pages * page_bytes; }
  [[nodiscard]] std::uint64_t records() const noexcept { return zero + delta + raw; }
  [[nodiscard]] EncoderStats operator-(const EncoderStats& before) const noexcept;
};

class BatchEncoder final {
 public:
  /// `table` and `cache` must outlive the encoder; table.pages() == layout.pages().
  BatchEncoder(const Layout& layout, PageHashTable& table, PageCache& cache, EncoderSettings settings = {});
  BatchEncoder(const BatchEncoder&) = delete;
  BatchEncoder& operator=(const BatchEncoder&) = delete;
  ~BatchEncoder();

  /// A whole epoch, ended by flush().
  void encode(const EpochBuffer& epoch, BatchOutput& out);
  /// The same, and fills in everything of out.digest() that concerns pages (all but the device state's
  /// fields).
  void encode(const EpochBuffer& epoch, EncodedEpoch& out);

  /// Page by page, for the synchronization. `data` is read before return.
  void add(PageIndex index, const std::byte* data, BatchOutput& out);
  void add_zero(PageIndex index, BatchOutput& out);
  /// Ends the batch under way, if it holds anything.
  void flush(BatchOutput& out);

  /// Forgets what the old session's backup held: the cache is cleared, a batch under way dropped. The table
  /// is the caller's: load the offer before or after.
  void new_session();

  [[nodiscard]] const PageHasher& hasher() const noexcept { return table_.hasher(); }
  void link_rate(std::uint64_t bytes_per_s) noexcept { packer_.link_rate(bytes_per_s); }
  [[nodiscard]] const EncoderStats& stats() const noexcept { return stats_; }

 private:
  void make_room(BatchOutput& out);
  [[nodiscard]] std::byte* put_header(std::byte* to, PageIndex index, RecordKind kind) const noexcept;
  void end_record(PageIndex index, const std::byte* end) noexcept;
  void put_zero(PageIndex index) noexcept;
  void drop_body() noexcept;
  [[nodiscard]] bool raw_is_smaller(const std::byte* data, std::size_t delta_size);

  PageIndex page_count_;
  PageHashTable& table_;
  PageCache& cache_;
  EncoderSettings settings_;
  Packer packer_;
  std::vector<std::byte> body_;
  std::size_t body_used_{0};
  std::uint32_t body_records_{0};
  std::int64_t next_index_{0};  ///< the page a record is expected to be about
  EncoderStats stats_{};
};

/// Everything of a captured epoch: pages, device state and digest. Errors: exhausted, if the device state is
/// too large; nothing is remembered of the epoch then.
[[nodiscard]] Status encode_epoch(const EpochBuffer& epoch, BatchEncoder& pages, DeviceEncoder& device,
                                  EncodedEpoch& out);

}  // namespace remus::checkpoint
