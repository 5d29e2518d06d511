// Arbiters as the engine meets them: fail-stop (an opinion), manual (a person), exclusive (durable, at most
// one host per generation; may be out of reach, may lose its answer after having granted).
#pragma once

#include <map>

#include "engine/types.hpp"
#include "rng.hpp"
#include "truth.hpp"

namespace remus::sim {

enum class ArbiterKind : std::uint8_t { fail_stop, manual, exclusive };

class ArbiterModel final {
 public:
  explicit ArbiterModel(ArbiterKind kind) noexcept : kind_{kind} {}

  [[nodiscard]] engine::Verdict claim(std::size_t host, Generation generation, bool activate);
  [[nodiscard]] bool exclusive() const noexcept { return kind_ == ArbiterKind::exclusive; }
  [[nodiscard]] ArbiterKind kind() const noexcept { return kind_; }
  void approve(bool yes) noexcept { approved_ = yes; }

 private:
  ArbiterKind kind_;
  bool approved_{};
  std::map<Generation, std::size_t> granted_{};
};

}  // namespace remus::sim
