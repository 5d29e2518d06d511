// A person decides about activation; a primary without a backup goes on by itself.
//
//   silence ─▶ claim(activate) ─▶ unavailable, unavailable, ...   (the engine asks again)
//   operator: "that host is dead" ─▶ approve() ─▶ the next claim(activate) is granted, once
//
// Not exclusive: the operator's word stands for the fencing of the other host.
#pragma once

#include <functional>

#include "arbiter/arbiter.hpp"
#include "arbiter/fail_stop.hpp"

namespace remus::arbiter {

class Manual final : public Arbiter {
 public:
  explicit Manual(Post post);

  void claim(Claim claim, std::function<void(Verdict)> answer) override;
  /// The operator asked for a failover: the next activation is granted. Call before
  /// Backup::operator_failover().
  void approve() noexcept { approved_ = true; }
  /// The failover was refused or is not wanted any more.
  void withdraw() noexcept { approved_ = false; }
  [[nodiscard]] bool exclusive() const noexcept override { return false; }
  [[nodiscard]] std::string_view name() const noexcept override { return "manual"; }

 private:
  Post post_;
  bool approved_{};
};

}  // namespace remus::arbiter
