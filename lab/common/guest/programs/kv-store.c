// A workload like an in-memory key-value server: a large table, small values, a skewed choice of keys. Most
// updates change some tens of bytes of a page, a few keys are hot, and a log of changes grows at its end.
//
//   kv-store MIB UPDATES_PER_S      the count of updates is in /run/stat/kv
#include "common.h"

struct entry {
  uint64_t key, version, updated_us;
  char value[104];
};

static const char empty[] = "{\"user\":0,\"name\":\"customer\",\"balance\":0}";

enum { LOG_BYTES = 4 << 20 };

int main(int argc, char** argv) {
  const size_t bytes = (argc > 2 ? strtoull(argv[1], NULL, 10) : 0) << 20;
  const uint64_t rate = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
  if (bytes == 0 || rate == 0) {
    fprintf(stderr, "usage: kv-store MIB UPDATES_PER_S\n");
    return 2;
  }
  struct entry* table = pages(bytes);
  char* log = pages(LOG_BYTES);
  const uint64_t count = bytes / sizeof *table;
  for (uint64_t i = 0; i < count; ++i) {
    table[i].key = i * 0x9e3779b97f4a7c15U;
    memcpy(table[i].value, empty, sizeof empty);
  }
  uint64_t state = 0x853c49e6748fea9bU, log_at = 0;
  const uint64_t start_us = now_us();
  for (uint64_t updates = 0;; ++updates) {
    // The cube of a uniform draw: about half of the updates go to an eighth of the keys.
    const double a = (double)(next_random(&state) >> 11) / 9007199254740992.0;
    struct entry* entry = &table[(uint64_t)(a * a * a * (double)count) % count];
    ++entry->version;
    entry->updated_us = now_us();
    snprintf(entry->value, sizeof entry->value, "{\"user\":%llu,\"name\":\"customer\",\"balance\":%llu}",
             (unsigned long long)(entry - table), (unsigned long long)(next_random(&state) % 1000000));
    if (log_at + 64 > LOG_BYTES) log_at = 0;
    log_at += (uint64_t)snprintf(log + log_at, 64, "set %llu v%llu\n", (unsigned long long)entry->key,
                                 (unsigned long long)entry->version);
    if (updates % 64 == 0) {
      publish("kv", updates);
      sleep_until_us(start_us + updates * 1000000U / rate);
    }
  }
}
