// Xenstore's protocol (xen/io/xs_wire.h): one request at a time, events of watches kept as one fact.
#include <stdint.h>
#include <string.h>
#include <xen/io/xs_wire.h>

#include "guest.h"

enum { BODY_MAX = 512 };

static struct xenstore_domain_interface* ring;
static bool changed;

void store_open(void) {
  ring = page_at(start->store_mfn);
}
evtchn_port_t store_port(void) {
  return start->store_evtchn;
}

static void wait_a_while(void) {
  const evtchn_port_t port = start->store_evtchn;
  event_wait(&port, 1, clock_ns() + 100000000);
  event_taken(port);
}

static void put(const void* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    while (*(volatile XENSTORE_RING_IDX*)&ring->req_prod - *(volatile XENSTORE_RING_IDX*)&ring->req_cons ==
           XENSTORE_RING_SIZE)
      wait_a_while();
    ring->req[MASK_XENSTORE_IDX(ring->req_prod)] = ((const char*)data)[i];
    xen_wmb();
    ++ring->req_prod;
  }
}

static bool waiting_reply(void) {
  return *(volatile XENSTORE_RING_IDX*)&ring->rsp_prod != ring->rsp_cons;
}

static void get(void* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    while (!waiting_reply()) {
      event_send(start->store_evtchn);
      wait_a_while();
    }
    xen_rmb();
    const char byte = ring->rsp[MASK_XENSTORE_IDX(ring->rsp_cons)];
    if (data != NULL) ((char*)data)[i] = byte;
    xen_mb();
    ++ring->rsp_cons;
  }
}

// Takes one message: the answer, or an event.
static bool take(struct xsd_sockmsg* header, char* body, size_t room) {
  get(header, sizeof *header);
  const size_t kept = header->len < room ? header->len : room;
  get(body, kept);
  get(NULL, header->len - kept);
  event_send(start->store_evtchn);
  if (header->type != XS_WATCH_EVENT) return true;
  changed = true;
  return false;
}

/// The answer's length, cut to `room`; negative if it is an error.
static int ask(uint32_t type, uint32_t transaction, const char* words, size_t bytes, char* out, size_t room) {
  static uint32_t number;
  struct xsd_sockmsg header = {type, ++number, transaction, (uint32_t)bytes};
  put(&header, sizeof header);
  put(words, bytes);
  event_send(start->store_evtchn);
  while (!take(&header, out, room)) {
  }
  return header.type == XS_ERROR ? -1 : (int)(header.len < room ? header.len : room);
}

static bool read_in(uint32_t transaction, const char* path, char* out, size_t bytes) {
  const int got = ask(XS_READ, transaction, path, strlen(path) + 1, out, bytes - 1);
  out[got < 0 ? 0 : got] = 0;
  return got >= 0;
}

static void write_in(uint32_t transaction, const char* path, const char* value) {
  char words[BODY_MAX], answer[BODY_MAX];
  const int length = format_text(words, sizeof words, "%s", path);
  const size_t more = strlen(value);
  memcpy(words + length + 1, value, more);
  if (ask(XS_WRITE, transaction, words, (size_t)length + 1 + more, answer, sizeof answer) < 0)
    say("xenstore does not let %s be written", path);
}

bool store_read(const char* path, char* out, size_t bytes) {
  return read_in(0, path, out, bytes);
}

void store_write(const char* path, unsigned value) {
  char text[16];
  format_text(text, sizeof text, "%u", value);
  write_in(0, path, text);
}

void store_watch(const char* path, const char* token) {
  char words[BODY_MAX], answer[BODY_MAX];
  const int length = format_text(words, sizeof words, "%s", path) + 1;
  const int whole = length + format_text(words + length, sizeof words - (size_t)length, "%s", token) + 1;
  // On the host where it was set already that is an error, and as good.
  ask(XS_WATCH, 0, words, (size_t)whole, answer, sizeof answer);
}

// In a transaction: whoever asked may withdraw it, and must know whether it was taken.
void store_take_request(char* out, size_t bytes) {
  static const char path[] = "control/shutdown";
  for (;;) {
    char answer[BODY_MAX];
    const int got = ask(XS_TRANSACTION_START, 0, "", 1, answer, sizeof answer - 1);
    if (got < 0) die("xenstore begins no transaction");
    answer[got] = 0;
    const uint32_t transaction = number_in(answer);
    read_in(transaction, path, out, bytes);
    const bool wanted = out[0] != 0;
    if (wanted) write_in(transaction, path, "");
    if (ask(XS_TRANSACTION_END, transaction, wanted ? "T" : "F", 2, answer, sizeof answer) >= 0 || !wanted)
      return;
  }
}

bool store_changed(void) {
  char body[BODY_MAX];
  struct xsd_sockmsg header;
  event_taken(start->store_evtchn);
  while (waiting_reply()) take(&header, body, sizeof body);
  const bool was = changed;
  changed = false;
  return was;
}
