// Loads a disk and says how long its operations took.
//
//   disk-bench KIND DEVICE SECONDS DEPTH [RATE]
//
// KIND: randwrite (4 KiB each), write and read (1 MiB each, in order), fsync (4 KiB at random, then fdatasync). DEPTH
// operations are under way at once (fsync: one). RATE, if given and not 0, is how many are begun a second at most.
// What is written cannot be packed. Past the page cache (O_DIRECT), and no page of memory is changed for it.
// Last line: {"operations": N, "p50_us": N, "p99_us": N, "max_us": N}, by the guest's clock, which stands still while the guest does:
// for rates ask the disk's counters in QEMU.
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, CHUNK = 1 << 20, POOL = 8 << 20, DEPTH_MAX = 64, SAMPLES_MAX = 1 << 20 };

static uint64_t random_state = 0x9e3779b97f4a7c15U;
static uint32_t samples[SAMPLES_MAX];
static size_t operations;

static uint64_t random_number(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static uint64_t now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000U + (uint64_t)time.tv_nsec / 1000U;
}

static void die(const char* what) {
  fprintf(stderr, "disk-bench: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void took(uint64_t since) {
  samples[operations++ % SAMPLES_MAX] = (uint32_t)(now_us() - since);
}

static int by_size(const void* a, const void* b) {
  const uint32_t x = *(const uint32_t*)a;
  const uint32_t y = *(const uint32_t*)b;
  return (x > y) - (x < y);
}

/// Waits until the next operation is due, where a rate is asked for.
static void keep_rate(uint64_t begin, uint64_t begun, uint64_t rate) {
  if (rate == 0) return;
  const uint64_t due = begin + begun * 1000000U / rate;
  const uint64_t now = now_us();
  if (due > now) usleep((useconds_t)(due - now));
}

struct load {
  int disk;
  uint64_t bytes;  // of the disk
  uint64_t size;   // of an operation
  int random, reads;
  char* pool;
  uint64_t position;
};

/// Where the next operation goes.
static uint64_t next_place(struct load* load) {
  if (load->random) return random_number() % (load->bytes / load->size) * load->size;
  const uint64_t place = load->position;
  load->position = place + 2 * load->size > load->bytes ? 0 : place + load->size;
  return place;
}

/// Any place of the pool that O_DIRECT takes: so the same data does not come twice soon.
static char* next_data(const struct load* load) {
  return load->pool + random_number() % ((POOL - load->size) / 512) * 512;
}

static void sync_each(struct load* load, uint64_t begin, uint64_t end, uint64_t rate) {
  while (now_us() < end) {
    keep_rate(begin, operations, rate);
    const uint64_t since = now_us();
    if (pwrite(load->disk, next_data(load), load->size, (off_t)next_place(load)) != (ssize_t)load->size)
      die("write");
    if (fdatasync(load->disk) != 0) die("fdatasync");
    took(since);
  }
}

static void many_at_once(struct load* load, int depth, uint64_t begin, uint64_t end, uint64_t rate) {
  static struct iocb blocks[DEPTH_MAX];
  static uint64_t since[DEPTH_MAX];
  static struct io_event events[DEPTH_MAX];
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, depth, &context) != 0) die("io_setup");
  int idle[DEPTH_MAX];
  int idle_count = depth;
  for (int i = 0; i < depth; ++i) idle[i] = i;
  for (uint64_t begun = 0; now_us() < end || idle_count < depth;) {
    while (idle_count > 0 && now_us() < end) {
      keep_rate(begin, begun++, rate);
      const int slot = idle[--idle_count];
      struct iocb* block = &blocks[slot];
      memset(block, 0, sizeof *block);
      block->aio_data = (unsigned)slot;
      block->aio_lio_opcode = load->reads ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE;
      block->aio_fildes = (uint32_t)load->disk;
      block->aio_buf = (uint64_t)(uintptr_t)next_data(load);
      block->aio_nbytes = load->size;
      block->aio_offset = (int64_t)next_place(load);
      since[slot] = now_us();
      if (syscall(SYS_io_submit, context, 1, &block) != 1) die("io_submit");
    }
    if (idle_count == depth) break;
    const long got = syscall(SYS_io_getevents, context, 1, depth, events, NULL);
    if (got < 0 && errno != EINTR) die("io_getevents");
    for (long i = 0; i < got; ++i) {
      if (events[i].res != (int64_t)load->size) {
        fprintf(stderr, "disk-bench: an operation ended with %lld\n", (long long)events[i].res);
        exit(1);
      }
      took(since[events[i].data]);
      idle[idle_count++] = (int)events[i].data;
    }
  }
}

int main(int count, char** words) {
  if (count < 5) {
    fprintf(stderr, "usage: disk-bench randwrite|write|read|fsync DEVICE SECONDS DEPTH [RATE]\n");
    return 2;
  }
  const char* kind = words[1];
  struct load load = {0};
  load.disk = open(words[2], O_RDWR | O_DIRECT);
  if (load.disk < 0) die(words[2]);
  if (ioctl(load.disk, BLKGETSIZE64, &load.bytes) != 0) die("size of the disk");
  const double seconds = strtod(words[3], NULL);
  const int depth = atoi(words[4]);
  const uint64_t rate = count > 5 ? strtoull(words[5], NULL, 10) : 0;
  load.random = strcmp(kind, "randwrite") == 0 || strcmp(kind, "fsync") == 0;
  load.reads = strcmp(kind, "read") == 0;
  load.size = load.random ? BLOCK : CHUNK;
  if (depth < 1 || depth > DEPTH_MAX || (!load.random && !load.reads && strcmp(kind, "write") != 0)) {
    fprintf(stderr, "disk-bench: no such kind, or a depth that is not 1 to %d\n", DEPTH_MAX);
    return 2;
  }
  load.pool = aligned_alloc(BLOCK, POOL);
  if (load.pool == NULL) die("memory");
  for (size_t i = 0; i < POOL / sizeof(uint64_t); ++i) ((uint64_t*)load.pool)[i] = random_number();
  random_state ^= now_us() << 20;  // another order of places in each run
  const uint64_t begin = now_us();
  const uint64_t end = begin + (uint64_t)(seconds * 1e6);
  if (strcmp(kind, "fsync") == 0) {
    sync_each(&load, begin, end, rate);
  } else {
    many_at_once(&load, depth, begin, end, rate);
  }
  const size_t kept = operations < SAMPLES_MAX ? operations : SAMPLES_MAX;
  if (kept == 0) die("nothing was done in that time");
  qsort(samples, kept, sizeof samples[0], by_size);
  printf("{\"operations\": %zu, \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u}\n", operations,
         samples[kept / 2], samples[kept * 99 / 100], samples[kept - 1]);
  return 0;
}
