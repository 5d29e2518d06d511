// Machine frames, the shared information, and how Xen finds the table of frames (p2m).
#include "guest.h"

enum { P2M_ENTRIES_A_PAGE = PAGE_BYTES / sizeof(unsigned long) };

struct start_info* start;
static PAGE_ALIGNED char shared_page[PAGE_BYTES];
struct shared_info* shared = (struct shared_info*)shared_page;

// Where Xen's tools find the table of frames (p2m): a tree of frames, three levels deep with the table itself.
static PAGE_ALIGNED unsigned long list_of_lists[P2M_ENTRIES_A_PAGE];
static PAGE_ALIGNED unsigned long list[P2M_ENTRIES_A_PAGE];
static PAGE_ALIGNED uint64_t spare_table[PAGE_BYTES / sizeof(uint64_t)];
static PAGE_ALIGNED char mapped_by_spare[PAGE_BYTES];

static unsigned long* p2m(void) {
  return (unsigned long*)start->mfn_list;
}
static unsigned long pfn_of(const void* address) {
  return ((unsigned long)address - GUEST_BASE) / PAGE_BYTES;
}
unsigned long frame_of(const void* address) {
  return p2m()[pfn_of(address)];
}
void* page_at(unsigned long mfn) {
  for (unsigned long pfn = 0; pfn < start->nr_pages; ++pfn)
    if (p2m()[pfn] == mfn) return (void*)(GUEST_BASE + pfn * PAGE_BYTES);
  die("frame %x is not the guest's", (unsigned)mfn);
}

enum { PRESENT = 1, WRITABLE = 2, ACCESSED = 0x20, DIRTY = 0x40 };
static void map(void* page, unsigned long mfn, unsigned flags) {
  const long failed = update_va_mapping(page, (uint64_t)mfn << 12 | flags, UVMF_INVLPG);
  if (failed != 0) die("cannot map frame %x at %x: %u", (unsigned)mfn, (unsigned)page, (unsigned)-failed);
}
void map_frame(void* page, unsigned long mfn) {
  map(page, mfn, PRESENT | WRITABLE | ACCESSED | DIRTY);
}
void map_own(void* page) {
  map_frame(page, frame_of(page));
}

static void show_frames(void) {
  const unsigned long pages = (start->nr_pages + P2M_ENTRIES_A_PAGE - 1) / P2M_ENTRIES_A_PAGE;
  if (pages > P2M_ENTRIES_A_PAGE) die("more memory than this guest can describe");
  for (unsigned long i = 0; i < pages; ++i) list[i] = frame_of((char*)p2m() + i * PAGE_BYTES);
  list_of_lists[0] = frame_of(list);
  shared->arch.max_pfn = start->nr_pages;
  shared->arch.pfn_to_mfn_frame_list_list = frame_of(list_of_lists);
}

static void map_shared(void) {
  map_frame(shared_page, (unsigned long)(start->shared_info / PAGE_BYTES));
  shared->vcpu_info[0].evtchn_upcall_mask = 1;
}

void memory_open(struct start_info* info) {
  start = info;
  map_shared();
  show_frames();
}

// No page table may name a frame that is not the guest's when it is saved; and the pages it shares with xenstored and
// xenconsoled are named by their pfns in the start-of-day page then.
void memory_suspend(void) {
  map_own(shared_page);
  start->store_mfn = pfn_of(page_at(start->store_mfn));
  start->console.domU.mfn = (uint32_t)pfn_of(page_at(start->console.domU.mfn));
}

void memory_resume(bool elsewhere) {
  if (!elsewhere) {
    start->store_mfn = p2m()[start->store_mfn];
    start->console.domU.mfn = (uint32_t)p2m()[start->console.domU.mfn];
  }
  map_shared();
  show_frames();
}

void memory_churn(void) {
  static bool pinned;
  struct mmuext_op operation = {.cmd = pinned ? MMUEXT_UNPIN_TABLE : MMUEXT_PIN_L1_TABLE};
  operation.arg1.mfn = frame_of(spare_table);
  if (!pinned) {
    for (unsigned i = 0; i < sizeof spare_table / sizeof spare_table[0]; i += 1 + i % 7)
      spare_table[i] = (uint64_t)frame_of(mapped_by_spare) << 12 | PRESENT | ACCESSED;
    map(spare_table, frame_of(spare_table), PRESENT | ACCESSED);
  }
  const long failed = mmuext_op(&operation);
  if (failed != 0) die("cannot %s a page table: %u", pinned ? "unpin" : "pin", (unsigned)-failed);
  pinned = !pinned;
  if (!pinned) map_own(spare_table);
}
