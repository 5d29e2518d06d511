// The console (xen/io/console.h): a ring that xenconsoled empties.
#include <stdint.h>
#include <xen/io/console.h>

#include "guest.h"

static volatile struct xencons_interface* ring;

void console_open(void) {
  ring = page_at(start->console.domU.mfn);
}

// What nobody takes away within a second is lost.
void console_write(const char* text, size_t bytes) {
  if (ring == NULL) return;
  const uint64_t until = clock_ns() + 1000000000;
  for (size_t i = 0; i < bytes;) {
    if (ring->out_prod - ring->out_cons < sizeof ring->out) {
      ring->out[MASK_XENCONS_IDX(ring->out_prod, ring->out)] = text[i++];
      xen_wmb();
      ++ring->out_prod;
      continue;
    }
    event_send(start->console.domU.evtchn);
    const evtchn_port_t port = start->console.domU.evtchn;
    event_taken(port);
    if (clock_ns() > until) return;
    event_wait(&port, 1, clock_ns() + 10000000);
  }
  event_send(start->console.domU.evtchn);
}
