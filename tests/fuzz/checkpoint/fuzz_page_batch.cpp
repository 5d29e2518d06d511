// The batch decoder on any bytes: success or Errc::corrupt, nothing outside the image, and validate() and
// apply() agree.
//
// Few random inputs get past the header and the packing. So each input is taken as a payload as it is, and
// also as the body of an unpacked batch with a sound header, which brings the fuzzer straight to the records.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "check.hpp"
#include "checkpoint/batch_decoder.hpp"
#include "checkpoint/wire.hpp"

namespace {

using namespace remus;
using namespace remus::checkpoint;

constexpr PageIndex ram_pages = 6;
constexpr PageIndex vram_pages = 3;

struct Backup {
  static Layout make_layout() {
    Layout made;
    made.add("ram", std::uint64_t{ram_pages} * page_bytes);
    made.add("vram", std::uint64_t{vram_pages} * page_bytes);
    return made;
  }
  Layout layout = make_layout();
  std::vector<std::byte> ram = std::vector<std::byte>(ram_pages * page_bytes);
  std::vector<std::byte> vram = std::vector<std::byte>(vram_pages * page_bytes);
  Image image = Image::create(layout, {ram, vram}).value();
  BatchDecoder decoder{layout};
};

void try_payload(Backup& backup, std::span<const std::byte> payload) {
  const auto valid = backup.decoder.validate(payload);
  if (!valid) FUZZ_CHECK(valid.error().kind == Errc::corrupt);
  const auto applied = backup.decoder.apply(payload, backup.image);
  FUZZ_CHECK(valid.has_value() == applied.has_value());
  if (!applied) return;
  FUZZ_CHECK(valid->records == valid->zero + valid->raw + valid->delta);
  FUZZ_CHECK(valid->records == applied->records);
  // The hash kept while applying is that of real memory.
  FUZZ_CHECK(backup.image.differing(backup.image.table(), 1).empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Backup backup;
  std::ranges::fill(backup.ram, std::byte{0});
  std::ranges::fill(backup.vram, std::byte{0x11});
  backup.image.recompute();
  const auto bytes = std::as_bytes(std::span{data, size});
  try_payload(backup, bytes);

  if (size < 1 || size > batch_body_bytes_max) return 0;
  const auto body = bytes.subspan(1);
  std::vector<std::byte> forged(batch_header_bytes + body.size());
  wire::store(forged.data(), batch_version);
  wire::store(forged.data() + 4, static_cast<std::uint32_t>(data[0] % 8 + 1));
  wire::store(forged.data() + 8, static_cast<std::uint32_t>(body.size()));
  std::ranges::copy(body, forged.data() + batch_header_bytes);
  try_payload(backup, forged);
  return 0;
}
