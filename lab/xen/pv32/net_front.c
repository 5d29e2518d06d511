// The front end of a paravirtual network interface (xen/io/netif.h): a ring for each direction, pages granted once for all.
#include <stdint.h>
#include <string.h>
#include <xen/io/netif.h>
#include <xen/io/xenbus.h>

#include "guest.h"

enum { TX_PAGES = 64, RX_PAGES = 128, GRANT_RINGS = GRANT_FIRST };
#define VIF "device/vif/0/"

static PAGE_ALIGNED char tx_page[TX_PAGES][PAGE_BYTES];
static PAGE_ALIGNED char rx_page[RX_PAGES][PAGE_BYTES];
static PAGE_ALIGNED char tx_ring_page[PAGE_BYTES];
static PAGE_ALIGNED char rx_ring_page[PAGE_BYTES];
static netif_tx_front_ring_t tx;
static netif_rx_front_ring_t rx;
static uint16_t tx_free[TX_PAGES];
static unsigned tx_free_count;
static evtchn_port_t port;
static bool connected, news;
static char backend[128];
static void (*receiver)(const void* frame, size_t bytes);

evtchn_port_t front_port(void) {
  return port;
}

void front_mac(uint8_t mac[6]) {
  char text[32];
  if (!store_read(VIF "mac", text, sizeof text)) die("no network interface");
  for (unsigned i = 0; i < 6; ++i) {
    unsigned value = 0;
    for (unsigned digit = 0; digit < 2; ++digit) {
      const char c = text[i * 3 + digit];
      value = value * 16 + (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    mac[i] = (uint8_t)value;
  }
}

static void give(uint16_t id) {
  netif_rx_request_t* request = RING_GET_REQUEST(&rx, rx.req_prod_pvt);
  ++rx.req_prod_pvt;
  request->id = id;
  request->gref = GRANT_RX + id;
}

static void set_up(domid_t other) {
  memset(tx_ring_page, 0, sizeof tx_ring_page);
  memset(rx_ring_page, 0, sizeof rx_ring_page);
  SHARED_RING_INIT((netif_tx_sring_t*)tx_ring_page);
  SHARED_RING_INIT((netif_rx_sring_t*)rx_ring_page);
  FRONT_RING_INIT(&tx, (netif_tx_sring_t*)tx_ring_page, PAGE_BYTES);
  FRONT_RING_INIT(&rx, (netif_rx_sring_t*)rx_ring_page, PAGE_BYTES);
  grant(GRANT_RINGS, other, tx_ring_page, false);
  grant(GRANT_RINGS + 1, other, rx_ring_page, false);
  tx_free_count = 0;
  for (uint16_t i = 0; i < TX_PAGES; ++i) {
    grant(GRANT_TX + i, other, tx_page[i], true);
    tx_free[tx_free_count++] = i;
  }
  for (uint16_t i = 0; i < RX_PAGES; ++i) {
    grant(GRANT_RX + i, other, rx_page[i], false);
    give(i);
  }
  RING_PUSH_REQUESTS(&rx);
  port = event_listen(other);
}

static unsigned backend_state(void) {
  char path[160], text[16];
  if (backend[0] == 0) return 0;
  format_text(path, sizeof path, "%s/state", backend);
  return store_read(path, text, sizeof text) ? number_in(text) : 0;
}

static void find_backend(void) {
  char path[160];
  if (!store_read(VIF "backend", backend, sizeof backend)) die("the network interface has no backend");
  format_text(path, sizeof path, "%s/state", backend);
  store_watch(path, "vif");
}

void front_look(void) {
  const unsigned state = backend_state();
  if (port == 0 && state == XenbusStateInitWait) {
    char text[16];
    store_read(VIF "backend-id", text, sizeof text);
    set_up((domid_t)number_in(text));
    store_write(VIF "tx-ring-ref", (unsigned)GRANT_RINGS);
    store_write(VIF "rx-ring-ref", (unsigned)GRANT_RINGS + 1);
    store_write(VIF "event-channel", port);
    store_write(VIF "request-rx-copy", 1);
    store_write(VIF "feature-rx-notify", 1);
    store_write(VIF "feature-no-csum-offload", 1);
    store_write(VIF "state", XenbusStateConnected);
  } else if (port != 0 && !connected && state == XenbusStateConnected) {
    connected = news = true;
    event_send(port);
  }
}

void front_open(void (*receive)(const void* frame, size_t bytes)) {
  receiver = receive;
  find_backend();
  front_look();
}

void front_reconnect(void) {
  connected = false;
  port = 0;
  find_backend();
  front_look();
}

bool front_send(void (*copy)(void* frame, void* context), void* context, size_t bytes) {
  if (!connected || tx_free_count == 0 || bytes > PAGE_BYTES) return false;
  const uint16_t id = tx_free[--tx_free_count];
  copy(tx_page[id], context);
  netif_tx_request_t* request = RING_GET_REQUEST(&tx, tx.req_prod_pvt);
  ++tx.req_prod_pvt;
  *request = (netif_tx_request_t){.gref = GRANT_TX + id, .id = id, .size = (uint16_t)bytes};
  int notify;
  RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&tx, notify);
  if (notify) event_send(port);
  return true;
}

static void take_sent(void) {
  int more;
  do {
    const RING_IDX end = tx.sring->rsp_prod;
    xen_rmb();
    for (; tx.rsp_cons != end; ++tx.rsp_cons) {
      const netif_tx_response_t* response = RING_GET_RESPONSE(&tx, tx.rsp_cons);
      if (response->status != NETIF_RSP_NULL) tx_free[tx_free_count++] = response->id;
    }
    RING_FINAL_CHECK_FOR_RESPONSES(&tx, more);
  } while (more);
}

static void take_received(void) {
  int more;
  do {
    const RING_IDX end = rx.sring->rsp_prod;
    xen_rmb();
    while (rx.rsp_cons != end) {
      const netif_rx_response_t response = *RING_GET_RESPONSE(&rx, rx.rsp_cons);
      ++rx.rsp_cons;
      if (response.status > 0 && response.id < RX_PAGES && response.offset + response.status <= PAGE_BYTES)
        receiver(rx_page[response.id] + response.offset, (size_t)response.status);
      if (response.id < RX_PAGES) give(response.id);
    }
    RING_FINAL_CHECK_FOR_RESPONSES(&rx, more);
  } while (more);
  int notify;
  RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&rx, notify);
  if (notify) event_send(port);
}

bool front_poll(void) {
  if (port != 0) {
    event_taken(port);
    take_sent();
    take_received();
  }
  const bool was = news;
  news = false;
  return was;
}
