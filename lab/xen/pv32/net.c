// lwIP on the front end.
#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>
#include <string.h>

#include "guest.h"

enum { MTU_BYTES = 1500, NS_A_MS = 1000000 };

static struct netif interface;

uint32_t sys_now(void) {
  return (uint32_t)(clock_ns() / NS_A_MS);
}
uint32_t port_random(void) {
  static uint32_t state;
  state = state * 1664525 + 1013904223 + (uint32_t)clock_tsc();
  return state >> 8;
}

static void copy_out(void* frame, void* context) {
  const struct pbuf* packet = context;
  pbuf_copy_partial(packet, frame, packet->tot_len, 0);
}
static err_t send(struct netif* unused, struct pbuf* packet) {
  (void)unused;
  return front_send(copy_out, packet, packet->tot_len) ? ERR_OK : ERR_MEM;
}

static void receive(const void* frame, size_t bytes) {
  struct pbuf* packet = pbuf_alloc(PBUF_RAW, (u16_t)bytes, PBUF_POOL);
  if (packet == NULL) return;  // as a network card would: the sender sends it again
  pbuf_take(packet, frame, (u16_t)bytes);
  if (interface.input(packet, &interface) != ERR_OK) pbuf_free(packet);
}

static err_t set_up(struct netif* made) {
  made->name[0] = 'e';
  made->name[1] = 't';
  made->output = etharp_output;
  made->linkoutput = send;
  made->mtu = MTU_BYTES;
  made->hwaddr_len = 6;
  front_mac(made->hwaddr);
  made->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
  return ERR_OK;
}

// address=ADDRESS/BITS,GATEWAY
void net_open(const char* arguments) {
  ip4_addr_t address = {0}, mask = {0}, gateway = {0};
  const char* at = strstr(arguments, "address=");
  if (at == NULL) die("no address= on the command line");
  uint32_t part[9] = {0};
  at += strlen("address=");
  for (unsigned i = 0; i < 9; ++i) {
    part[i] = number_in(at);
    while (*at >= '0' && *at <= '9') ++at;
    if (*at != 0 && *at != ' ') ++at;
  }
  IP4_ADDR(&address, part[0], part[1], part[2], part[3]);
  IP4_ADDR(&gateway, part[5], part[6], part[7], part[8]);
  mask.addr = lwip_htonl(part[4] == 0 ? 0 : 0xffffffffU << (32 - part[4]));
  lwip_init();
  netif_add(&interface, &address, &mask, &gateway, NULL, set_up, ethernet_input);
  netif_set_default(&interface);
  netif_set_up(&interface);
  front_open(receive);
}

void net_poll(void) {
  if (front_poll()) {  // connected: a new bridge learns where this guest is
    netif_set_link_up(&interface);
    etharp_gratuitous(&interface);
  }
  sys_check_timeouts();
}

uint64_t net_next_ns(void) {
  const uint32_t ms = sys_timeouts_sleeptime();
  return clock_ns() + (ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? 1000 : ms) * (uint64_t)NS_A_MS;
}
