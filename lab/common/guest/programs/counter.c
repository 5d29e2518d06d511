// A number and the guest's uptime on the serial console, ten times a second: seen from outside without any
// network.
//
//   counter [INTERVAL_MS]      prints "COUNT n uptime_ms"
#include "common.h"

int main(int argc, char** argv) {
  const uint64_t interval_us = 1000U * (uint64_t)(argc > 1 ? atoi(argv[1]) : 100);
  uint64_t next_us = now_us();
  for (uint64_t n = 0;; ++n) {
    printf("COUNT %llu %llu\n", (unsigned long long)n, (unsigned long long)(now_us() / 1000));
    fflush(stdout);
    publish("counter", n);
    next_us += interval_us;
    sleep_until_us(next_us);
  }
}
