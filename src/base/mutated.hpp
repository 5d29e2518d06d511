// Faults put into code on purpose, to prove that tests and simulator would find them.
//
// A room names its own in an enumeration whose first is `none`. They exist only in builds with REMUS_FAULTS (tests);
// otherwise mutated() is constant false and the compiler removes the branch.
#pragma once

namespace remus {

#ifdef REMUS_FAULTS
/// Set before anything runs that asks for it; not synchronized.
template <typename Mutation>
inline Mutation active_mutation = Mutation::none;

template <typename Mutation>
[[nodiscard]] inline bool mutated(Mutation mutation) noexcept {
  return active_mutation<Mutation> == mutation;
}
#else
template <typename Mutation>
[[nodiscard]] constexpr bool mutated(Mutation) noexcept {
  return false;
}
#endif

}  // namespace remus
