// A 32-bit paravirtual guest, to test with: it serves the lab's TCP session, changes memory and page tables, and suspends
// itself when asked to. Written from Xen's public headers.
#include <string.h>

#include "guest.h"

enum { TICK_NS = 20000000, WORK_PAGES = 64 };

volatile uint32_t counter;
unsigned suspends, moves, suspends_by_event;
static PAGE_ALIGNED uint32_t work[WORK_PAGES][PAGE_BYTES / sizeof(uint32_t)];

// The fast way to be asked: an event channel. Without it (and besides) xenstore.
static evtchn_port_t suspend_port;

static void offer_event(void) {
  if (strstr((const char*)start->cmd_line, "suspend-event") == NULL) return;
  suspend_port = event_listen(0);
  store_write("device/suspend/event-channel", suspend_port);
}

static void open_control(void) {
  offer_event();
  store_watch("control/shutdown", "control");
  store_write("control/feature-suspend", 1);
  store_write("control/feature-poweroff", 1);
  store_write("control/feature-reboot", 1);
}

static void suspend(void) {
  const uint64_t was_ns = clock_ns();
  grants_suspend();
  memory_suspend();
  struct sched_shutdown why = {SHUTDOWN_suspend};
  // 1: it was only looked at, and runs where it was.
  const bool elsewhere = sched_op(SCHEDOP_shutdown, &why, frame_of(start)) == 0;
  memory_resume(elsewhere);
  grants_resume();
  ++suspends;
  if (!elsewhere) return;
  ++moves;
  clock_resume(was_ns);
  open_control();
  front_reconnect();
  say("MOVED %u", moves);
}

static void answer_request(void) {
  char request[32];
  store_take_request(request, sizeof request);
  if (strcmp(request, "suspend") == 0) suspend();
  struct sched_shutdown why = {strcmp(request, "reboot") == 0 ? SHUTDOWN_reboot : SHUTDOWN_poweroff};
  if (strcmp(request, "poweroff") == 0 || strcmp(request, "halt") == 0 || strcmp(request, "reboot") == 0)
    sched_op(SCHEDOP_shutdown, &why, 0);
}

static void tick(void) {
  ++counter;
  work[counter % WORK_PAGES][counter / WORK_PAGES % (PAGE_BYTES / sizeof(uint32_t))] = counter;
  if (counter % 8 == 0) memory_churn();
}

void guest_main(struct start_info* info);
void guest_main(struct start_info* info) {
  memory_open(info);
  clock_resume(0);
  console_open();
  say("%s, %u pages: %s", (const char*)start->magic, (unsigned)start->nr_pages, (const char*)start->cmd_line);
  store_open();
  open_control();
  grants_open();
  net_open((const char*)start->cmd_line);
  stream_open();
  shell_open();
  say("BOOT-OK");
  for (uint64_t next_ns = clock_ns();;) {
    if (store_changed()) {
      answer_request();
      front_look();
    }
    if (suspend_port != 0 && event_taken(suspend_port)) {
      ++suspends_by_event;
      suspend();
    }
    net_poll();
    stream_poll();
    if (clock_ns() >= next_ns) {
      tick();
      next_ns = clock_ns() + TICK_NS;
    }
    uint64_t until = next_ns;
    if (net_next_ns() < until) until = net_next_ns();
    if (stream_next_ns() < until) until = stream_next_ns();
    evtchn_port_t ports[3] = {store_port()};
    unsigned count = 1;
    if (front_port() != 0) ports[count++] = front_port();
    if (suspend_port != 0) ports[count++] = suspend_port;
    event_wait(ports, count, until);
  }
}
