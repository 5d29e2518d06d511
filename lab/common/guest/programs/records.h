// The record of the demo's TCP session, both directions, little-endian:
//
//   0 magic u32 'RMSR' · 4 payload bytes u32 · 8 sequence u64 · 16 boot id u64 · 24 uptime_us u64
//   32 taken u64 · 40 taken_crc u32 · 44 faults u32 · 48 payload · then crc32 u32 of everything before it
//
// `sequence` counts the sender's records from the session's start. `taken` says how many records of the other
// side were taken in order, `taken_crc` is the running crc32 of all their bytes: a lost, duplicated or
// changed byte in either direction shows at both ends. The payload is a function of (sequence, offset), so
// that it can be checked by itself.
#pragma once
#include <stdint.h>

enum { RECORD_MAGIC = 0x52534d52, RECORD_HEADER_BYTES = 48, RECORD_PAYLOAD_MAX_BYTES = 65536 };

struct record_header {
  uint32_t magic, payload_bytes;
  uint64_t sequence, boot_id, uptime_us, taken;
  uint32_t taken_crc, faults;
};
_Static_assert(sizeof(struct record_header) == RECORD_HEADER_BYTES, "the layout is the wire format");

static inline uint32_t crc32_of(uint32_t crc, const void* data, uint64_t length) {
  static uint32_t table[256];
  if (table[1] == 0)
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xedb88320U : 0);
      table[i] = value;
    }
  const unsigned char* byte = data;
  crc = ~crc;
  while (length--) crc = table[(crc ^ *byte++) & 255] ^ (crc >> 8);
  return ~crc;
}

// 256 bytes of pattern for a sequence number, repeated: (sequence * 31 + offset * 7) mod 256.
static inline void fill_payload(unsigned char* payload, uint32_t bytes, uint64_t sequence) {
  for (uint32_t i = 0; i < bytes; ++i) payload[i] = (unsigned char)(sequence * 31U + i * 7U);
}
