#include "engine/mutation.hpp"

namespace remus::engine {

std::string_view to_string(Mutation mutation) noexcept {
  switch (mutation) {
    case Mutation::none: return "none";
    case Mutation::s1_release_before_ack: return "s1_release_before_ack";
    case Mutation::s1_ack_before_whole: return "s1_ack_before_whole";
    case Mutation::s2_activate_despite_report: return "s2_activate_despite_report";
    case Mutation::s2_lease_ignored: return "s2_lease_ignored";
    case Mutation::s2_alone_without_grant: return "s2_alone_without_grant";
    case Mutation::s2_pass_before_confirmed: return "s2_pass_before_confirmed";
    case Mutation::s2_activate_torn: return "s2_activate_torn";
    case Mutation::s3_generation_not_raised: return "s3_generation_not_raised";
    case Mutation::s3_fence_ignored: return "s3_fence_ignored";
    case Mutation::s4_apply_memory_only: return "s4_apply_memory_only";
    case Mutation::s5_acked_epoch_dropped: return "s5_acked_epoch_dropped";
    case Mutation::s5_activate_before_applied: return "s5_activate_before_applied";
    case Mutation::s5_doomed_guest_resynchronized: return "s5_doomed_guest_resynchronized";
    case Mutation::s6_hung_capture_kept: return "s6_hung_capture_kept";
  }
  return "?";
}

}  // namespace remus::engine
