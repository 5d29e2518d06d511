// Writes a disk from several threads, and looks whether every write stays written.
//
//   disk-storm DEVICE THREADS SYNC RATE BLOCKS
//
// BLOCKS of 4 KiB, spread evenly over the disk (0: all of it), are dealt out to THREADS threads. Each writes its own at random, past
// the page cache (O_DIRECT), with a number that rises; where SYNC is 1, fdatasync() follows each write. RATE: writes a second, of
// all threads together; 0: as many as they can. What a block must hold is known in memory: after each write another block is
// read and compared, so that after a failover memory and disk stand against each other. On SIGTERM every block is compared.
//
// /run/storm/written: how many writes have ended, 20 digits. /run/storm/wrong: a line for each block that held something else, or could not
// be written or read. /run/storm/verdict: at the end, "COMPARED WRONG".
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 4096, WORDS = BLOCK / sizeof(uint64_t), THREADS_MAX = 64 };

static int disk, threads, sync_each, wrong_file;
static uint64_t rate, blocks, stride;  // a block's place: its number times stride, in blocks
static uint64_t* numbers;              // what each block holds; 0: not written yet
static atomic_ullong written, wrong;
static atomic_int stopping;

static void die(const char* what) {
  fprintf(stderr, "disk-storm: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void complain(const char* what, uint64_t block, uint64_t found) {
  char line[160];
  const int length = snprintf(line, sizeof line, "block %llu: %s: %llu instead of %llu\n",
                              (unsigned long long)(block * stride), what, (unsigned long long)found,
                              (unsigned long long)numbers[block]);
  atomic_fetch_add(&wrong, 1);
  if (write(wrong_file, line, (size_t)length) != length) die("/run/storm/wrong");
}

static off_t place_of(uint64_t block) {
  return (off_t)(block * stride * BLOCK);
}

/// Number and place, again and again: a block that is torn shows.
static void fill(uint64_t* buffer, uint64_t block, uint64_t number) {
  for (size_t i = 0; i < WORDS; i += 2) {
    buffer[i] = number;
    buffer[i + 1] = block * stride;
  }
}

static void compare(uint64_t* buffer, uint64_t block) {
  if (numbers[block] == 0) return;
  if (pread(disk, buffer, BLOCK, place_of(block)) != BLOCK) {
    complain(strerror(errno), block, 0);
    return;
  }
  for (size_t i = 0; i < WORDS; i += 2) {
    if (buffer[i] == numbers[block] && buffer[i + 1] == block * stride) continue;
    complain("holds another number", block, buffer[i]);
    return;
  }
}

static void* work(void* argument) {
  const uint64_t self = (uint64_t)(uintptr_t)argument;
  const uint64_t own = (blocks - self + (uint64_t)threads - 1) / (uint64_t)threads;
  uint64_t random_state = 0x9e3779b97f4a7c15U * (self + 1);
  uint64_t* buffer = aligned_alloc(BLOCK, BLOCK);
  if (buffer == NULL) die("memory");
  while (!atomic_load(&stopping)) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    const uint64_t block = self + random_state % own * (uint64_t)threads;
    fill(buffer, block, numbers[block] + 1);
    if (pwrite(disk, buffer, BLOCK, place_of(block)) != BLOCK || (sync_each && fdatasync(disk) != 0)) {
      complain(strerror(errno), block, 0);
      break;
    }
    ++numbers[block];
    atomic_fetch_add(&written, 1);
    compare(buffer, self + (random_state >> 32) % own * (uint64_t)threads);
    if (rate != 0) usleep((useconds_t)(1000000U * (uint64_t)threads / rate));
  }
  free(buffer);
  return NULL;
}

static void begin(char** words) {
  disk = open(words[1], O_RDWR | O_DIRECT);
  if (disk < 0) die(words[1]);
  uint64_t bytes = 0;
  if (ioctl(disk, BLKGETSIZE64, &bytes) != 0) die("size of the disk");
  threads = atoi(words[2]);
  sync_each = atoi(words[3]);
  rate = strtoull(words[4], NULL, 10);
  const uint64_t all = bytes / BLOCK;
  blocks = strtoull(words[5], NULL, 10);
  if (blocks == 0 || blocks > all) blocks = all;
  if (threads < 1 || threads > THREADS_MAX || blocks < (uint64_t)threads) {
    fprintf(stderr, "disk-storm: 1 to %d threads, and a block for each\n", THREADS_MAX);
    exit(2);
  }
  stride = all / blocks;
  numbers = calloc(blocks, sizeof *numbers);
  if (numbers == NULL) die("memory");
  if (mkdir("/run/storm", 0755) != 0 && errno != EEXIST) die("/run/storm");
  wrong_file = open("/run/storm/wrong", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
  if (wrong_file < 0) die("/run/storm/wrong");
  unlink("/run/storm/verdict");
}

static void tell_written(int file) {
  char text[32];
  const int length = snprintf(text, sizeof text, "%020llu\n", (unsigned long long)atomic_load(&written));
  if (pwrite(file, text, (size_t)length, 0) != length) die("/run/storm/written");
}

static void tell_verdict(uint64_t compared) {
  FILE* out = fopen("/run/storm/verdict.new", "w");
  if (out == NULL) die("/run/storm/verdict");
  fprintf(out, "%llu %llu\n", (unsigned long long)compared, (unsigned long long)atomic_load(&wrong));
  fclose(out);
  if (rename("/run/storm/verdict.new", "/run/storm/verdict") != 0) die("/run/storm/verdict");
}

int main(int count, char** words) {
  if (count != 6) {
    fprintf(stderr, "usage: disk-storm DEVICE THREADS SYNC RATE BLOCKS\n");
    return 2;
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, NULL);
  begin(words);
  const int progress = open("/run/storm/written", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (progress < 0) die("/run/storm/written");
  tell_written(progress);
  pthread_t workers[THREADS_MAX];
  for (int i = 0; i < threads; ++i)
    if (pthread_create(&workers[i], NULL, work, (void*)(uintptr_t)i) != 0) die("thread");
  const struct timespec step = {.tv_sec = 0, .tv_nsec = 100000000};
  while (sigtimedwait(&ends, NULL, &step) != SIGTERM) tell_written(progress);
  atomic_store(&stopping, 1);
  for (int i = 0; i < threads; ++i) pthread_join(workers[i], NULL);
  tell_written(progress);
  uint64_t* buffer = aligned_alloc(BLOCK, BLOCK);
  if (buffer == NULL) die("memory");
  uint64_t compared = 0;
  for (uint64_t block = 0; block < blocks; ++block) {
    compare(buffer, block);
    if (numbers[block] != 0) ++compared;
  }
  tell_verdict(compared);
  return atomic_load(&wrong) == 0 ? 0 : 1;
}
