#include "arbiter/fail_stop.hpp"

#include <utility>

#include "base/assert.hpp"

namespace remus::arbiter {

FailStop::FailStop(Post post) : post_{std::move(post)} {
  REMUS_ASSERT("pre", post_ != nullptr, "an arbiter needs a way to answer later");
}

void FailStop::claim(Claim, std::function<void(Verdict)> answer) {
  post_([answer = std::move(answer)] { answer(Verdict::granted); });
}

}  // namespace remus::arbiter
