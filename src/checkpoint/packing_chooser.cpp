#include "checkpoint/packing_chooser.hpp"

#include <algorithm>
#include <utility>

namespace remus::checkpoint {

void PackingChooser::link_rate(std::uint64_t bytes_per_s) noexcept {
  link_ns_per_byte_ = 1e9 / static_cast<double>(std::max<std::uint64_t>(bytes_per_s, 1));
}

double PackingChooser::cost(const Estimate& estimate) const noexcept {
  return estimate.ns_per_byte + estimate.ratio * link_ns_per_byte_;
}

Packing PackingChooser::best() const noexcept {
  const auto cheapest = std::ranges::min_element(
      estimates_, [this](const Estimate& a, const Estimate& b) { return cost(a) < cost(b); });
  return static_cast<Packing>(cheapest - estimates_.begin());
}

Packing PackingChooser::next() noexcept {
  ++batches_;
  // Storing needs no trial: what it costs is known.
  if (batches_ % probe_every == 0) {
    return batches_ / probe_every % 2 == 0 ? Packing::lz4 : Packing::zstd;
  }
  return best();
}

void PackingChooser::measured(Packing packing, std::size_t body_bytes, std::size_t packed_bytes,
                              std::uint64_t ns) noexcept {
  if (packing == Packing::none || body_bytes == 0) return;
  Estimate& estimate = estimates_[std::to_underlying(packing)];
  // The first measurements count for more than what is typical. A small batch says little: its time is mostly
  // the packer's set-up.
  const auto body = static_cast<double>(body_bytes);
  const double weight = std::max(0.25, 1.0 / ++estimate.trials) * std::min(1.0, body / (64.0 * 1024));
  estimate.ratio += weight * (static_cast<double>(packed_bytes) / body - estimate.ratio);
  estimate.ns_per_byte += weight * (static_cast<double>(ns) / body - estimate.ns_per_byte);
}

}  // namespace remus::checkpoint
