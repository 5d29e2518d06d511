// Deltas of any bytes: refused with the page unchanged, or applied; and what was applied is the one delta
// between the two versions, so that encoding their difference gives the same bytes again.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "check.hpp"
#include "checkpoint/delta.hpp"

using namespace remus;
using namespace remus::checkpoint;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<std::byte> delta(std::as_bytes(std::span{data, size}).begin(),
                                     std::as_bytes(std::span{data, size}).end());
  std::array<std::byte, page_bytes> before;
  for (std::size_t i = 0; i < before.size(); ++i) before[i] = static_cast<std::byte>(i * 7);
  auto after = before;

  const auto applied = apply_delta(delta, after.data());
  FUZZ_CHECK(applied.has_value() == valid_delta(delta));
  if (!applied) {
    FUZZ_CHECK(applied.error().kind == Errc::corrupt);
    FUZZ_CHECK(after == before);
    return 0;
  }
  std::vector<std::byte> again(delta_bytes_max + delta_overrun_bytes);
  again.resize(encode_delta(before.data(), after.data(), again, delta_bytes_max));
  FUZZ_CHECK(again == delta);
  return 0;
}
