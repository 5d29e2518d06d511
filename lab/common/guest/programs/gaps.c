// Notes when this guest stood still: /run/gaps gets a line, "MOMENT_US GAP_US", for each time its clock
// jumped.
//
//   gaps [PERIOD_US [LEAST_US]]     default: looks every 4000 us, notes 3000 us and more
//
// A gap is how late it woke up, so up to a period less than it stood still: more often than this would be a
// load of its own to an emulated machine. It wakes up by the clock and asks how late it is. Of real-time
// priority, so that other programs of the guest are not taken for a pause. What it sees is all a program can
// see of a checkpoint: frozen by its own kernel, or stopped from outside.
#include <sched.h>

#include "common.h"

int main(int argc, char** argv) {
  const uint64_t period_us = argc > 1 ? strtoull(argv[1], NULL, 10) : 4000;
  const uint64_t least_us = argc > 2 ? strtoull(argv[2], NULL, 10) : 3000;
  if (period_us == 0) {
    fprintf(stderr, "usage: gaps [PERIOD_US [LEAST_US]]\n");
    return 2;
  }
  const struct sched_param priority = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) die("no real-time priority");
  const int fd = open("/run/gaps", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) die("/run/gaps");
  const uint64_t steps_a_us = clock_steps_a_us();
  uint64_t noted = 0;
  for (uint64_t last_us = __rdtsc() / steps_a_us;;) {
    usleep((useconds_t)period_us);
    const uint64_t slept_us = __rdtsc() / steps_a_us - last_us;
    const uint64_t gap_us = slept_us > period_us ? slept_us - period_us : 0;
    if (gap_us >= least_us) {
      char line[48];
      const int length =
          snprintf(line, sizeof line, "%llu %llu\n", (unsigned long long)last_us, (unsigned long long)gap_us);
      if (write(fd, line, (size_t)length) != length) die("/run/gaps");
      publish("gaps", ++noted);
    }
    last_us = __rdtsc() / steps_a_us;
  }
}
