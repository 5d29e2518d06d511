// Faults put into the engine on purpose, to prove that the simulator would find them.
//
// Each mutation breaks one rule that an invariant rests on. See base/mutated.hpp.
#pragma once

#include <string_view>

#include "base/mutated.hpp"

namespace remus::engine {

enum class Mutation {
  none,
  s1_release_before_ack,       ///< primary releases an epoch's output when it is captured
  s1_ack_before_whole,         ///< backup acknowledges one epoch more than it holds
  s2_activate_despite_report,  ///< backup activates although reports say the guest is running
  s2_lease_ignored,            ///< backup activates although the primary may have gone alone
  s2_alone_without_grant,      ///< primary goes alone without asking
  s2_pass_before_confirmed,    ///< primary lets output pass before the backup's old image is void
  s2_activate_torn,            ///< backup activates one epoch more than its image holds
  s3_generation_not_raised,    ///< backup activates under the generation it shared with the primary
  s3_fence_ignored,            ///< a superseded primary goes on
  s4_apply_memory_only,    ///< the epoch's disk writes are not applied (a fault of the shell: modelled by the
                           ///< simulator)
  s5_acked_epoch_dropped,  ///< backup forgets its newest acknowledged epoch when the link is lost
  s5_activate_before_applied,      ///< backup activates while acknowledged epochs are not applied
  s5_doomed_guest_resynchronized,  ///< a session is begun for a guest that can only be handed over
  s6_hung_capture_kept,            ///< a capture that does not come to an end is not abandoned
};

inline constexpr Mutation all_mutations[] = {
    Mutation::s1_release_before_ack,
    Mutation::s1_ack_before_whole,
    Mutation::s2_activate_despite_report,
    Mutation::s2_lease_ignored,
    Mutation::s2_alone_without_grant,
    Mutation::s2_pass_before_confirmed,
    Mutation::s2_activate_torn,
    Mutation::s3_generation_not_raised,
    Mutation::s3_fence_ignored,
    Mutation::s4_apply_memory_only,
    Mutation::s5_acked_epoch_dropped,
    Mutation::s5_activate_before_applied,
    Mutation::s5_doomed_guest_resynchronized,
    Mutation::s6_hung_capture_kept,
};

[[nodiscard]] std::string_view to_string(Mutation mutation) noexcept;

}  // namespace remus::engine
