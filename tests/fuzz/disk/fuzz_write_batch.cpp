// The decoder of disk writes on any bytes: success or Errc::corrupt, every write within its disk and by rising offset,
// and validate() and visit() agree.
//
// Each input is taken as a payload as it is, and as the body of an unpacked batch with a sound header, which brings the
// fuzzer straight to the records.
#include <algorithm>
#include <vector>

#include "../checkpoint/check.hpp"
#include "checkpoint/wire.hpp"
#include "disk/write_batch.hpp"

namespace {

using namespace remus;
using namespace remus::disk;

const std::vector<std::uint64_t> disks{1U << 20, 12345, std::uint64_t{1} << 56};

void try_payload(WriteBatchDecoder& decoder, std::span<const std::byte> payload) {
  const auto valid = decoder.validate(payload);
  if (!valid) FUZZ_CHECK(valid.error().kind == Errc::corrupt);
  std::uint64_t behind = 0;
  std::uint64_t bytes = 0;
  const auto visited = decoder.visit(payload, [&](DiskIndex disk, const Write& write) -> Status {
    FUZZ_CHECK(disk < disks.size());
    FUZZ_CHECK(write.bytes != 0 && write.offset >= behind && write.offset + write.bytes <= disks[disk]);
    FUZZ_CHECK(write.data.size() == (write.kind == WriteKind::data ? write.bytes : 0));
    // Touches all of it: a sanitizer sees what is outside.
    const auto ones = std::ranges::count(write.data, std::byte{1});
    FUZZ_CHECK(static_cast<std::size_t>(ones) <= write.data.size());
    behind = write.offset + write.bytes;
    bytes += write.bytes;
    return {};
  });
  FUZZ_CHECK(valid.has_value() == visited.has_value());
  if (valid) FUZZ_CHECK(valid->data_bytes + valid->zero_bytes == bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static WriteBatchDecoder decoder{disks};
  const auto bytes = std::as_bytes(std::span{data, size});
  try_payload(decoder, bytes);

  if (size < 1 || size > write_batch_body_bytes_max) return 0;
  const auto body = bytes.subspan(1);
  std::vector<std::byte> forged(write_batch_header_bytes + body.size());
  checkpoint::wire::store(forged.data(), write_batch_version);
  checkpoint::wire::store(forged.data() + 2, static_cast<std::uint16_t>(data[0] % 3));
  checkpoint::wire::store(forged.data() + 4, static_cast<std::uint32_t>(data[0] / 3 % 8 + 1));
  checkpoint::wire::store(forged.data() + 8, static_cast<std::uint32_t>(body.size()));
  std::ranges::copy(body, forged.begin() + write_batch_header_bytes);
  try_payload(decoder, forged);
  return 0;
}
