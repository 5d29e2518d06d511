// The guest's end of the lab's TCP session, as lab/common/guest/programs/stream-server.c is for guests with Linux.
#include <lwip/tcp.h>
#include <string.h>

#include "guest.h"
#include "records.h"

enum { PORT = 7000, SESSIONS = 4, GREETING_MAX = 64 };

struct session {
  struct tcp_pcb* connection;  // NULL: free
  bool greeted;
  uint64_t interval_ns, next_ns;
  uint32_t payload_bytes;
  struct record_account account;
  unsigned char in[RECORD_MAX_BYTES], out[RECORD_MAX_BYTES];
  size_t in_bytes, out_bytes, out_done;
};

static struct session sessions[SESSIONS];
static uint64_t boot_id;

static void compose(struct session* s) {
  s->out_bytes = seal_record(s->out, &s->account, s->payload_bytes, boot_id, clock_ns() / 1000);
  s->out_done = 0;
}

// A line "INTERVAL_US PAYLOAD_BYTES" comes first.
static bool greet(struct session* s) {
  size_t length = 0;
  while (length < s->in_bytes && s->in[length] != '\n') ++length;
  if (length == s->in_bytes) {
    if (length > GREETING_MAX) ++s->account.faults;
    return false;
  }
  s->in[length] = 0;
  const char* words = (const char*)s->in;
  s->interval_ns = number_in(words) * 1000ULL;
  const char* second = strstr(words, " ");
  const uint32_t wanted = second == NULL ? 0 : number_in(second + 1);
  s->payload_bytes = wanted < RECORD_PAYLOAD_MAX_BYTES ? wanted : RECORD_PAYLOAD_MAX_BYTES;
  s->in_bytes -= length + 1;
  memmove(s->in, s->in + length + 1, s->in_bytes);
  s->next_ns = clock_ns();
  s->greeted = true;
  return true;
}

static void take_records(struct session* s) {
  size_t done;
  while ((done = take_record(&s->account, s->in, s->in_bytes)) > 0) {
    s->in_bytes -= done;
    memmove(s->in, s->in + done, s->in_bytes);
  }
}

static void broken(void* argument, err_t error) {
  (void)error;  // lwIP has freed the connection
  ((struct session*)argument)->connection = NULL;
}

static err_t received(void* argument, struct tcp_pcb* connection, struct pbuf* data, err_t error) {
  struct session* s = argument;
  (void)error;
  if (data == NULL) {
    s->connection = NULL;
    tcp_arg(connection, NULL);
    tcp_recv(connection, NULL);
    tcp_err(connection, NULL);
    return tcp_close(connection);
  }
  for (u16_t done = 0; done < data->tot_len;) {
    const size_t room = sizeof s->in - s->in_bytes, left = (size_t)data->tot_len - done;
    const u16_t now = (u16_t)(left < room ? left : room);
    pbuf_copy_partial(data, s->in + s->in_bytes, now, done);
    s->in_bytes += now;
    done = (u16_t)(done + now);
    if (s->greeted || greet(s)) take_records(s);
  }
  tcp_recved(connection, data->tot_len);
  pbuf_free(data);
  return ERR_OK;
}

static err_t accepted(void* argument, struct tcp_pcb* connection, err_t error) {
  (void)argument;
  if (error != ERR_OK || connection == NULL) return ERR_VAL;
  for (struct session* s = sessions; s < sessions + SESSIONS; ++s) {
    if (s->connection != NULL) continue;
    memset(s, 0, offsetof(struct session, in));
    s->in_bytes = s->out_bytes = s->out_done = 0;
    s->connection = connection;
    tcp_nagle_disable(connection);
    tcp_arg(connection, s);
    tcp_recv(connection, received);
    tcp_err(connection, broken);
    return ERR_OK;
  }
  tcp_abort(connection);
  return ERR_ABRT;
}

void stream_open(void) {
  boot_id = clock_tsc() * 0x9e3779b97f4a7c15ULL >> 16;
  struct tcp_pcb* listener = tcp_new();
  if (listener == NULL || tcp_bind(listener, IP_ADDR_ANY, PORT) != ERR_OK) die("no port %u", (unsigned)PORT);
  tcp_accept(tcp_listen(listener), accepted);
}

static void transmit(struct session* s) {
  size_t room = tcp_sndbuf(s->connection);
  if (room > s->out_bytes - s->out_done) room = s->out_bytes - s->out_done;
  if (room == 0 || tcp_write(s->connection, s->out + s->out_done, (u16_t)room, TCP_WRITE_FLAG_COPY) != ERR_OK)
    return;
  s->out_done += room;
  tcp_output(s->connection);
}

void stream_poll(void) {
  const uint64_t now = clock_ns();
  for (struct session* s = sessions; s < sessions + SESSIONS; ++s) {
    if (s->connection == NULL || !s->greeted) continue;
    if (s->out_done == s->out_bytes && now >= s->next_ns) {
      compose(s);
      s->next_ns = s->next_ns + s->interval_ns > now ? s->next_ns + s->interval_ns : now;
    }
    if (s->out_done < s->out_bytes) transmit(s);
  }
}

uint64_t stream_next_ns(void) {
  uint64_t next = ~0ULL;
  for (const struct session* s = sessions; s < sessions + SESSIONS; ++s)
    if (s->connection != NULL && s->greeted && s->out_done == s->out_bytes && s->next_ns < next)
      next = s->next_ns;
  return next;
}
