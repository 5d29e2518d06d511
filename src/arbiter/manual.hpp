// The operator is the arbiter: a backup activates only on his word (`remus failover`), so a primary may go on alone whenever it
// has to.
#pragma once

#include <functional>

#include "arbiter/arbiter.hpp"

namespace remus::arbiter {

class Manual final : public Arbiter {
 public:
  /// Runs a job later on the guard's main thread.
  using Post = std::function<void(std::function<void()>)>;
  explicit Manual(Post post) : post_{std::move(post)} {}

  /// activate: `unavailable` (the backup keeps waiting) until approve(); one approval grants one activation.
  void claim(Claim claim, std::function<void(Verdict)> answer) override;
  [[nodiscard]] bool exclusive() const noexcept override { return false; }
  [[nodiscard]] std::string_view name() const noexcept override { return "manual"; }

  /// The operator says that the backup shall activate.
  void approve() noexcept { approved_ = true; }

 private:
  Post post_;
  bool approved_{false};
};

}  // namespace remus::arbiter
