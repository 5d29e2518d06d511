// Event channels, asked for with SCHEDOP_poll.
#include "guest.h"

evtchn_port_t event_listen(domid_t other) {
  struct evtchn_alloc_unbound listen = {.dom = DOMID_SELF, .remote_dom = other};
  if (event_channel_op(EVTCHNOP_alloc_unbound, &listen) != 0) die("no event channel with domain %u", other);
  return listen.port;
}

bool event_taken(evtchn_port_t port) {
  unsigned char before;
  __asm__ volatile("lock; btrl %2, %0; setc %1"
                   : "+m"(shared->evtchn_pending), "=q"(before)
                   : "r"(port)
                   : "memory");
  return before != 0;
}

void event_send(evtchn_port_t port) {
  struct evtchn_send send = {port};
  event_channel_op(EVTCHNOP_send, &send);
}

void event_wait(const evtchn_port_t* ports, unsigned count, uint64_t until_ns) {
  struct sched_poll poll = {.nr_ports = count, .timeout = clock_xen_ns(until_ns)};
  evtchn_port_t copy[8];
  for (unsigned i = 0; i < count && i < 8; ++i) copy[i] = ports[i];
  set_xen_guest_handle(poll.ports, copy);
  const long failed = sched_op(SCHEDOP_poll, &poll, 0);
  if (failed != 0) die("cannot wait for events: %u", (unsigned)-failed);
}
