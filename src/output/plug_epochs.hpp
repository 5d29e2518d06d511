// Which epochs' packets the kernel's plug can tell apart: two, the one it may let go next and the one under way.
//
//   packets     a b │ c d │ e          mark(1) is told to plug; at mark(2) epoch 1 is not yet released: plug would forget
//   mark            1     2            where it ended, so mark(2) is not told, and c d are held together with e until
//   plug's mark     1     -            mark(3). Held longer than needed, never shorter.
//
// With several epochs on their way output therefore waits for at most one epoch more.
#pragma once

#include <optional>

#include "checkpoint/layout.hpp"

namespace remus::output {

class PlugEpochs final {
 public:
  using Epoch = checkpoint::Epoch;

  /// Whether a mark taken now may be told to plug.
  [[nodiscard]] bool free() const noexcept { return !marked_.has_value(); }
  /// Plug was told: all packets so far belong to epochs ≤ `epoch`.
  void marked(Epoch epoch) noexcept { marked_ = epoch; }
  /// Whether a release up to `upto` lets go what plug has marked.
  [[nodiscard]] bool releasable(Epoch upto) const noexcept { return marked_ && *marked_ <= upto; }
  void released() noexcept { marked_.reset(); }

 private:
  std::optional<Epoch> marked_{};
};

}  // namespace remus::output
