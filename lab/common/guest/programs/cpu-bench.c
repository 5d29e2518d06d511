// Counts units of work, so that the cost of protection shows as units a second lost. The reader takes the
// time outside of the guest: a paused guest does not notice that it stood still.
//
//   cpu-bench      one unit is 4096 rounds of integer mixing over 16 KiB; the count is in /run/stat/cpu
#include "common.h"

int main(void) {
  static uint64_t memory[2048];
  uint64_t state = 88172645463325252U;
  for (uint64_t units = 1;; ++units) {
    for (int i = 0; i < 4096; ++i) {
      const uint64_t value = next_random(&state);
      memory[value & 2047] += value ^ memory[(value >> 16) & 2047];
    }
    if (units % 16 == 0) publish("cpu", units);
  }
}
