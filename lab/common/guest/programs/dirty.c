// Dirties pages at a known rate over a known working set, with content of a known kind.
//
//   dirty MIB PAGES_PER_S [random|sparse|text]
//
// random: every byte changes, nothing compresses. sparse: 16 bytes of the page change. text: the page is
// filled with words, as source code or logs would. The rate is kept in bursts of 1 ms; 0 pages a second: as
// fast as the CPU can.
#include "common.h"

enum { PAGE_BYTES = 4096 };

static const char* const words[] = {"return ", "static ", "const ", "int ", "guest", "page",
                                    " = ",     "if (",    ") {\n",  "}\n",  "  ",    "struct ",
                                    "0x7f",    "error",   "count",  ";\n"};

static void write_random(uint64_t* page, uint64_t* state) {
  for (int i = 0; i < PAGE_BYTES / 8; ++i) page[i] = next_random(state);
}

static void write_sparse(uint64_t* page, uint64_t* state) {
  const uint64_t at = next_random(state) % (PAGE_BYTES / 8 - 1);
  page[at] = next_random(state);
  page[at + 1] += 1;
}

static void write_text(uint64_t* page, uint64_t* state) {
  char* text = (char*)page;
  for (size_t at = 0; at < PAGE_BYTES;) {
    const char* word = words[next_random(state) % (sizeof words / sizeof *words)];
    size_t length = strlen(word);
    if (length > PAGE_BYTES - at) length = PAGE_BYTES - at;
    memcpy(text + at, word, length);
    at += length;
  }
}

int main(int argc, char** argv) {
  const size_t mib = argc > 2 ? strtoull(argv[1], NULL, 10) : 0;
  const uint64_t rate = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
  const char* kind = argc > 3 ? argv[3] : "random";
  void (*const write_page)(uint64_t*, uint64_t*) = strcmp(kind, "sparse") == 0   ? write_sparse
                                                   : strcmp(kind, "text") == 0   ? write_text
                                                   : strcmp(kind, "random") == 0 ? write_random
                                                                                 : NULL;
  if (mib == 0 || write_page == NULL) {
    fprintf(stderr, "usage: dirty MIB PAGES_PER_S [random|sparse|text]\n");
    return 2;
  }
  const size_t count = mib << 20 >> 12;
  unsigned char* memory = pages(count * PAGE_BYTES);
  uint64_t state = 0x2545f4914f6cdd1dU, written = 0, at = 0;
  const uint64_t start_us = now_us();
  for (uint64_t tick_us = start_us;; tick_us += 1000) {
    const uint64_t target = rate ? (now_us() - start_us) * rate / 1000000U : written + 256;
    // After the guest stood still (a pause, a busy host) the rate goes on; the arrears are not written in one
    // burst.
    const uint64_t burst_max = rate / 50 + 256;
    if (target > written + burst_max) written = target - burst_max;
    for (; written < target; ++written) {
      write_page((uint64_t*)(memory + at * PAGE_BYTES), &state);
      at = at + 1 == count ? 0 : at + 1;
    }
    publish("dirty", written);
    if (rate) sleep_until_us(tick_us + 1000);
    if (now_us() > tick_us + 100000) tick_us = now_us();
  }
}
