// The device state decoder on any bytes, as the first of a session and after a good one.
#include <algorithm>
#include <vector>

#include "check.hpp"
#include "checkpoint/device_codec.hpp"

using namespace remus;
using namespace remus::checkpoint;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span{data, size});
  // What this may allocate is bounded by 64 MiB; announcing that much each time only makes the fuzzer slow.
  if (size >= device_header_bytes && (data[6] > 1 || data[7] != 0)) return 0;
  static DeviceDecoder fresh;
  fresh.reset();
  if (const auto state = fresh.decode(bytes); !state) FUZZ_CHECK(state.error().kind == Errc::corrupt);

  static DeviceDecoder running;
  static const auto previous = [] {
    std::vector<std::byte> state(3000);
    for (std::size_t i = 0; i < state.size(); ++i) state[i] = static_cast<std::byte>(i * i >> 3);
    return state;
  }();
  static const auto first = [] {
    DeviceEncoder encoder;
    std::vector<std::byte> packed;
    FUZZ_CHECK(encoder.encode(previous, packed).has_value());
    return packed;
  }();
  FUZZ_CHECK(running.decode(first).has_value());
  if (const auto state = running.decode(bytes); !state) FUZZ_CHECK(state.error().kind == Errc::corrupt);
  running.reset();
  return 0;
}
