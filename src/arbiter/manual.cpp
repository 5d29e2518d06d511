#include "arbiter/manual.hpp"

#include <utility>

namespace remus::arbiter {

void Manual::claim(Claim claim, std::function<void(Verdict)> answer) {
  Verdict verdict = Verdict::granted;
  if (claim.purpose == Purpose::activate && !std::exchange(approved_, false)) verdict = Verdict::unavailable;
  post_([answer = std::move(answer), verdict] { answer(verdict); });
}

}  // namespace remus::arbiter
