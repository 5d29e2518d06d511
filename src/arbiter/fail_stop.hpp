// No arbiter: whoever asks is granted.
//
// Right only as long as a host that is silent on every path is dead (fail-stop). The engine adds what can be had without a
// third party: host reports, and the backup's lease. A failure that cuts every path between two living hosts makes both run the
// guest; `remus status` and `doctor` say so wherever this is in use.
#pragma once

#include <functional>

#include "arbiter/arbiter.hpp"

namespace remus::arbiter {

class FailStop final : public Arbiter {
 public:
  /// Runs a job later on the guard's main thread.
  using Post = std::function<void(std::function<void()>)>;
  explicit FailStop(Post post) : post_{std::move(post)} {}

  void claim(Claim claim, std::function<void(Verdict)> answer) override;
  [[nodiscard]] bool exclusive() const noexcept override { return false; }
  [[nodiscard]] std::string_view name() const noexcept override { return "fail-stop"; }

 private:
  Post post_;
};

}  // namespace remus::arbiter
