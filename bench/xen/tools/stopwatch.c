// A stop-watch around stock Xen's own checkpoints, preloaded into libxl-save-helper by `xl remus`.
//
// What stock does is not changed: xc_domain_save() gets callbacks that note the time and call the ones it was
// given, and the number of dirty pages is read where the helper asks Xen for them. The line of a checkpoint
// is written after the guest runs again. What is noted, against what CaptureReport of the product calls the
// same part:
//
//   suspend ──stop──▶ returned ──copy──▶ clock asked for ──device──▶ postcopy ──resume──▶ returned
//                                        (the first record after the pages)
//
// STOPWATCH_LOG: the file lines go to. STOPWATCH_STOP: when this file exists, the session ends after a
// checkpoint, in order.
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>
#include <xenctrl.h>
#include <xenguest.h>

static struct save_callbacks given;
static FILE* lines;
static unsigned number;
static uint64_t asked_us, stopped_us, copied_us, written_us, running_us;
static uint64_t stopped_clock;  // the processor's, as Xen's own trace has it
static uint32_t dirty_pages;

static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000U + (uint64_t)t.tv_nsec / 1000U;
}

static int suspend(void* data) {
  asked_us = now_us();
  const int done = given.suspend(data);
  stopped_us = now_us();
  stopped_clock = __rdtsc();
  return done;
}

static int postcopy(void* data) {
  written_us = now_us();
  const int done = given.postcopy(data);
  running_us = now_us();
  return done;
}

static int checkpoint(void* data) {
  fprintf(lines, "epoch %u: pause %llu us (stop %llu, copy %llu, device %llu), %u pages, clock %llu\n",
          number++, (unsigned long long)(running_us - stopped_us),
          (unsigned long long)(stopped_us - asked_us), (unsigned long long)(copied_us - stopped_us),
          (unsigned long long)(written_us - copied_us), dirty_pages, (unsigned long long)stopped_clock);
  fflush(lines);
  const int more = given.checkpoint(data);
  const char* stop = getenv("STOPWATCH_STOP");
  return stop != NULL && access(stop, F_OK) == 0 ? 0 : more;
}

int xc_domain_save(xc_interface* xch, int fd, uint32_t domid, uint32_t flags,
                   struct save_callbacks* callbacks, xc_stream_type_t type, int back_fd) {
  int (*real)(xc_interface*, int, uint32_t, uint32_t, struct save_callbacks*, xc_stream_type_t, int) = NULL;
  *(void**)&real = dlsym(RTLD_NEXT, "xc_domain_save");
  const char* path = getenv("STOPWATCH_LOG");
  lines = path != NULL ? fopen(path, "ae") : NULL;
  if (real == NULL || lines == NULL) {
    errno = EINVAL;
    return -1;
  }
  given = *callbacks;
  struct save_callbacks mine = *callbacks;
  mine.suspend = suspend;
  mine.postcopy = postcopy;
  mine.checkpoint = checkpoint;
  return real(xch, fd, domid, flags, &mine, type, back_fd);
}

int xc_domain_get_tsc_info(xc_interface* xch, uint32_t domid, uint32_t* mode, uint64_t* ns, uint32_t* khz,
                           uint32_t* incarnation) {
  static int (*real)(xc_interface*, uint32_t, uint32_t*, uint64_t*, uint32_t*, uint32_t*);
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "xc_domain_get_tsc_info");
  copied_us = now_us();
  return real(xch, domid, mode, ns, khz, incarnation);
}

long long xc_logdirty_control(xc_interface* xch, uint32_t domid, unsigned int operation,
                              xc_hypercall_buffer_t* bitmap, unsigned long pages, unsigned int mode,
                              xc_shadow_op_stats_t* stats) {
  static long long (*real)(xc_interface*, uint32_t, unsigned int, xc_hypercall_buffer_t*, unsigned long,
                           unsigned int, xc_shadow_op_stats_t*);
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "xc_logdirty_control");
  const long long done = real(xch, domid, operation, bitmap, pages, mode, stats);
  if (operation == XEN_DOMCTL_SHADOW_OP_CLEAN && stats != NULL) dirty_pages = stats->dirty_count;
  return done;
}
