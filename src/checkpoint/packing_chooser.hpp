// Which packing pays, by measurement.
//
// Packing well costs time, packing badly costs the link's. The two work at the same time, on one batch after
// another, so the slower one is what an epoch waits for; what both take together counts a quarter on top,
// since the processor has other work. The chooser keeps a moving average of ratio and time for each packing,
// takes the cheapest, and now and then tries another one, since guests change what they do. Pure: the caller
// measures.
#pragma once

#include <array>
#include <cstdint>

#include "checkpoint/page_batch.hpp"

namespace remus::checkpoint {

class PackingChooser final {
 public:
  explicit PackingChooser(std::uint64_t link_bytes_per_s) noexcept { link_rate(link_bytes_per_s); }

  void link_rate(std::uint64_t bytes_per_s) noexcept;
  [[nodiscard]] Packing next() noexcept;
  void measured(Packing packing, std::size_t body_bytes, std::size_t packed_bytes, std::uint64_t ns) noexcept;

 private:
  static constexpr std::uint32_t probe_every = 16;  ///< batches between two trials of another packing
  struct Estimate {
    double ratio;
    double ns_per_byte;
    std::uint32_t trials;
  };
  [[nodiscard]] double cost(const Estimate& estimate) const noexcept;
  [[nodiscard]] Packing best() const noexcept;

  double link_ns_per_byte_{};
  std::array<Estimate, 3> estimates_{
      {{1.0, 0.0, 0}, {0.6, 1.5, 0}, {0.45, 3.5, 0}}};  ///< none, lz4, zstd: typical to begin with
  std::uint32_t batches_{0};
};

}  // namespace remus::checkpoint
