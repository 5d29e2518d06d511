// POST /v1/verify: what is asked, and what the backup's answer says of disks.
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "guard/api.hpp"
#include "http/types.hpp"
#include "link/messages.hpp"

namespace remus::guard {

struct VerifyRequest {
  bool disks{};  ///< replicated disks too, block by block
};
/// {"disks": true}, {} or nothing. Errors: invalid; refused (disks of a guest that has none replicated).
[[nodiscard]] Result<VerifyRequest> verify_request(const http::Request& request, const GuardSpec& spec);

/// `disks`: names of the replicated ones, in the order of their numbers on the link.
void add_blocks(VerifyReport& report, const link::VerifyResult& result,
                const std::vector<std::string>& disks);

/// "epoch 7: 65536 pages compared, 0 differ; 5120 blocks of disks compared, 0 differ"
[[nodiscard]] std::string sentence_of(const VerifyReport& report);

}  // namespace remus::guard
