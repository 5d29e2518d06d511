// Answers the few scripts that a test asks of any guest (lab/common/userland.py): whether it has booted, and its counters.
#include <lwip/tcp.h>
#include <string.h>

#include "guest.h"

enum { PORT = 7001, SCRIPT_MAX = 128 };
#define STAT "cat /run/stat/"

static void answer(struct tcp_pcb* connection, const char* script) {
  char text[64];
  int length;
  if (strcmp(script, "test -e /run/booted") == 0)
    length = format_text(text, sizeof text, "exit 0\n");
  else if (strcmp(script, STAT "counter") == 0)
    length = format_text(text, sizeof text, "%u\nexit 0\n", (unsigned)counter);
  else if (strcmp(script, "cat /proc/uptime") == 0)
    length = format_text(text, sizeof text, "%u\nexit 0\n", (unsigned)(clock_ns() / 1000000000));
  else if (strcmp(script, STAT "suspends") == 0)
    length = format_text(text, sizeof text, "%u\nexit 0\n", suspends);
  else if (strcmp(script, STAT "suspends_by_event") == 0)
    length = format_text(text, sizeof text, "%u\nexit 0\n", suspends_by_event);
  else if (strcmp(script, STAT "moves") == 0)
    length = format_text(text, sizeof text, "%u\nexit 0\n", moves);
  else
    length = format_text(text, sizeof text, "this guest has no shell\nexit 127\n");
  tcp_write(connection, text, (u16_t)length, TCP_WRITE_FLAG_COPY);
}

// A script comes as its length, a new line, itself: short enough for one packet.
static err_t received(void* argument, struct tcp_pcb* connection, struct pbuf* data, err_t error) {
  (void)argument;
  (void)error;
  if (data != NULL) {
    char text[SCRIPT_MAX + 8];
    text[pbuf_copy_partial(data, text, sizeof text - 1, 0)] = 0;
    tcp_recved(connection, data->tot_len);
    pbuf_free(data);
    const char* script = strstr(text, "\n");
    answer(connection, script == NULL ? "" : script + 1);
  }
  tcp_recv(connection, NULL);
  return tcp_close(connection);
}

static err_t accepted(void* argument, struct tcp_pcb* connection, err_t error) {
  (void)argument;
  if (error != ERR_OK || connection == NULL) return ERR_VAL;
  tcp_recv(connection, received);
  return ERR_OK;
}

void shell_open(void) {
  struct tcp_pcb* listener = tcp_new();
  if (listener == NULL || tcp_bind(listener, IP_ADDR_ANY, PORT) != ERR_OK) die("no port %u", (unsigned)PORT);
  tcp_accept(tcp_listen(listener), accepted);
}
