// "A host that is silent on every path is dead." Grants at once, to whoever asks.
//
// This arbiter decides nothing: it is the statement that hosts fail by stopping and that not every path
// between them fails while both live. Where that is not true (one switch between the hosts, a partition that
// cuts link and host reports alike), BOTH hosts may run the guest. The engine adds leases and host reports to
// make this rare; only an exclusive arbiter makes it impossible. `remus status` and `remus doctor` say so
// wherever it is in use.
#pragma once

#include <functional>

#include "arbiter/arbiter.hpp"

namespace remus::arbiter {

/// Runs a function later, on the guard's main thread: an answer is never given from within claim().
using Post = std::function<void(std::function<void()>)>;

class FailStop final : public Arbiter {
 public:
  explicit FailStop(Post post);

  void claim(Claim claim, std::function<void(Verdict)> answer) override;
  [[nodiscard]] bool exclusive() const noexcept override { return false; }
  [[nodiscard]] std::string_view name() const noexcept override { return "fail-stop"; }

 private:
  Post post_;
};

}  // namespace remus::arbiter
