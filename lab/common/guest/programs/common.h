// What every guest program needs: time, counters that survive in /run/stat for whoever asks, failure that is
// heard.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static inline void die(const char* what) {
  fprintf(stderr, "guest: %s: %s\n", what, strerror(errno));
  exit(1);
}

static inline uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000U + (uint64_t)t.tv_nsec / 1000U;
}

// Sleeps to a point in time rather than for a while: the pace holds however long the work between took.
static inline void sleep_until_us(uint64_t when) {
  const struct timespec t = {(time_t)(when / 1000000U), (long)(when % 1000000U) * 1000};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

// The processor's clock in steps a microsecond, measured against the system's. It goes on while a guest is suspended:
// CLOCK_MONOTONIC does not, so a guest that suspends itself for a checkpoint sees nothing of it there.
static inline uint64_t clock_steps_a_us(void) {
  const uint64_t start_us = now_us(), start = __rdtsc();
  usleep(100000);
  const uint64_t steps = (__rdtsc() - start) / (now_us() - start_us);
  return steps ? steps : 1;
}

static inline uint64_t next_random(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

// Shows `value` as the file /run/stat/NAME (decimal, 20 digits): cheap enough to do after each unit of work.
static inline void publish(const char* name, uint64_t value) {
  static int fd = -1;
  char text[24];
  if (fd < 0) {
    char path[64];
    mkdir("/run/stat", 0755);
    snprintf(path, sizeof path, "/run/stat/%s", name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) die(path);
  }
  const int length = snprintf(text, sizeof text, "%020llu\n", (unsigned long long)value);
  if (pwrite(fd, text, (size_t)length, 0) != length) die("cannot publish");
}

static inline void* pages(size_t bytes) {
  void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) die("not enough memory for the working set");
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  return memory;
}
