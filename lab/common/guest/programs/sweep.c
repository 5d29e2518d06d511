// Dirties ever other numbers of pages: SECONDS long each of PAGES between two checkpoints, then the next, and
// again from the first.
//
//   sweep SECONDS PAGES [PAGES...]
//
// The whole working set is touched every 10 ms (or as often as the processor can). So whatever the interval
// between two checkpoints, as long as it is longer, each holds about that number; and nobody need talk to the
// guest to change the load.
#include "common.h"

enum { PAGE_BYTES = 4096, TICK_US = 10000 };

int main(int argc, char** argv) {
  const uint64_t each_us = argc > 2 ? strtoull(argv[1], NULL, 10) * 1000000U : 0;
  size_t largest = 0;
  for (int i = 2; i < argc; ++i) {
    const size_t count = strtoull(argv[i], NULL, 10);
    if (count > largest) largest = count;
  }
  if (each_us == 0 || largest == 0) {
    fprintf(stderr, "usage: sweep SECONDS PAGES [PAGES...]\n");
    return 2;
  }
  unsigned char* memory = pages(largest * PAGE_BYTES);
  const uint64_t steps_a_us = clock_steps_a_us(), start_us = __rdtsc() / steps_a_us;
  for (uint64_t round = 1;; ++round) {
    const size_t level = (size_t)(((uint64_t)__rdtsc() / steps_a_us - start_us) / each_us % (uint64_t)(argc - 2));
    const size_t count = strtoull(argv[2 + level], NULL, 10);
    for (size_t i = 0; i < count; ++i) *(uint64_t*)(memory + i * PAGE_BYTES) = round;
    publish("sweep", round);
    sleep_until_us(now_us() + TICK_US);
  }
}
