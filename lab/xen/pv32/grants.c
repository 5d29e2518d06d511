// Which pages other domains may reach: Xen's table of grants, version 1, one frame.
#include "guest.h"

static PAGE_ALIGNED struct grant_entry_v1 table[PAGE_BYTES / sizeof(struct grant_entry_v1)];
_Static_assert(sizeof table / sizeof table[0] == GRANT_MAX, "one frame of grants");

static void map_table(void) {
  xen_pfn_t frame = 0;
  struct gnttab_setup_table setup = {.dom = DOMID_SELF, .nr_frames = 1};
  set_xen_guest_handle(setup.frame_list, &frame);
  if (grant_table_op(GNTTABOP_setup_table, &setup, 1) != 0 || setup.status != GNTST_okay)
    die("no table of grants");
  map_frame(table, frame);
}

void grants_open(void) {
  map_table();
}
void grants_suspend(void) {
  map_own(table);
}
void grants_resume(void) {
  map_table();
}

void grant(unsigned reference, domid_t other, const void* page, bool read_only) {
  volatile struct grant_entry_v1* entry = &table[reference];
  entry->frame = (uint32_t)frame_of(page);
  entry->domid = other;
  xen_wmb();
  entry->flags = (uint16_t)(GTF_permit_access | (read_only ? GTF_readonly : 0));
}
