// POST /v1/verify: what is asked, and what the backup's answers say.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "checkpoint/layout.hpp"
#include "guard/api.hpp"
#include "http/types.hpp"
#include "link/messages.hpp"

namespace remus::guard {

struct VerifyRequest {
  bool disks{};  ///< replicated disks too, block by block
  /// The guest stands still so long for it at a checkpoint, and a little more: until one MiB has been read.
  std::chrono::milliseconds max_pause{10};
};
/// {"disks": true, "max_pause_ms": 10}, {} or nothing. Errors: invalid; refused (disks of a guest that has none replicated).
[[nodiscard]] Result<VerifyRequest> verify_request(const http::Request& request, const GuardSpec& spec);

/// One answer of several, each for some of the memory.
void add_pages(VerifyReport& report, const link::VerifyResult& result, const checkpoint::Layout& layout);
/// `disks`: names of the replicated ones, in the order of their numbers on the link.
void add_blocks(VerifyReport& report, const link::VerifyResult& result,
                const std::vector<std::string>& disks);

/// "epochs 7 to 9: 65536 pages compared, 0 differ; 5120 blocks of disks compared, 0 differ"
[[nodiscard]] std::string sentence_of(const VerifyReport& report);

}  // namespace remus::guard
