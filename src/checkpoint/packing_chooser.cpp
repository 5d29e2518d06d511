#include "checkpoint/packing_chooser.hpp"

#include <algorithm>
#include <utility>

namespace remus::checkpoint {

void PackingChooser::link_rate(std::uint64_t bytes_per_s) noexcept {
  link_ns_per_byte_ = 1e9 / static_cast<double>(std::max<std::uint64_t>(bytes_per_s, 1));
}

double PackingChooser::cost(const Estimate& estimate) const noexcept {
  const double link_ns = estimate.ratio * link_ns_per_byte_;
  return std::max(estimate.ns_per_byte, link_ns) + 0.25 * (estimate.ns_per_byte + link_ns);
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
  // A small batch says little: its time is mostly the packer's set-up. Nor does one during which we were
  // preempted.
  const auto body = static_cast<double>(body_bytes);
  const double weight = (estimate.trials < 2 ? 0.5 : 0.25) * std::min(1.0, body / (64.0 * 1024));
  ++estimate.trials;
  const double ns_per_byte =
      std::min(static_cast<double>(ns) / body, 4 * std::max(estimate.ns_per_byte, 0.1));
  estimate.ratio += weight * (static_cast<double>(packed_bytes) / body - estimate.ratio);
  estimate.ns_per_byte += weight * (ns_per_byte - estimate.ns_per_byte);
}

}  // namespace remus::checkpoint
