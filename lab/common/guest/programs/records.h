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
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
  RECORD_MAGIC = 0x52534d52,
  RECORD_HEADER_BYTES = 48,
  RECORD_PAYLOAD_MAX_BYTES = 65536,
  RECORD_MAX_BYTES = RECORD_HEADER_BYTES + RECORD_PAYLOAD_MAX_BYTES + 4
};

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

// One side's account of a session.
struct record_account {
  uint64_t sent, taken;
  uint32_t taken_crc, faults;
};

// Writes the account's next record to `out` (RECORD_MAX_BYTES of room); returns its length.
static inline size_t seal_record(unsigned char* out, struct record_account* account, uint32_t payload_bytes,
                                 uint64_t boot_id, uint64_t uptime_us) {
  const struct record_header header = {RECORD_MAGIC, payload_bytes,  account->sent,      boot_id,
                                       uptime_us,    account->taken, account->taken_crc, account->faults};
  memcpy(out, &header, sizeof header);
  fill_payload(out + sizeof header, payload_bytes, account->sent);
  const size_t covered = sizeof header + payload_bytes;
  const uint32_t crc = crc32_of(0, out, covered);
  memcpy(out + covered, &crc, sizeof crc);
  ++account->sent;
  return covered + sizeof crc;
}

// Enters the record at the front of what came in; returns how many bytes are done with, 0: it is not whole yet.
// A fault is counted, and told in every record sent from then on. Where the framing is lost, it is so for good:
// nothing that came in can be told apart.
static inline size_t take_record(struct record_account* account, const unsigned char* in, size_t bytes) {
  struct record_header header;
  if (bytes < sizeof header) return 0;
  memcpy(&header, in, sizeof header);
  if (header.magic != RECORD_MAGIC || header.payload_bytes > RECORD_PAYLOAD_MAX_BYTES) {
    ++account->faults;
    return bytes;
  }
  const size_t covered = sizeof header + header.payload_bytes;
  uint32_t crc;
  if (bytes < covered + sizeof crc) return 0;
  memcpy(&crc, in + covered, sizeof crc);
  if (crc != crc32_of(0, in, covered) || header.sequence != account->taken) ++account->faults;
  account->taken_crc = crc32_of(account->taken_crc, in, covered + sizeof crc);
  account->taken = header.sequence + 1;
  return covered + sizeof crc;
}
