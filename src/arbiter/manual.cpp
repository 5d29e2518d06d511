#include "arbiter/manual.hpp"

#include <utility>

#include "base/assert.hpp"

namespace remus::arbiter {

Manual::Manual(Post post) : post_{std::move(post)} {
  REMUS_ASSERT("pre", post_ != nullptr, "an arbiter needs a way to answer later");
}

void Manual::claim(Claim claim, std::function<void(Verdict)> answer) {
  const bool granted = claim.purpose == Purpose::go_alone || std::exchange(approved_, false);
  const Verdict verdict = granted ? Verdict::granted : Verdict::unavailable;
  post_([answer = std::move(answer), verdict] { answer(verdict); });
}

}  // namespace remus::arbiter
