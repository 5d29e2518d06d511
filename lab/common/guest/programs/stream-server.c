// The guest's end of the demo's TCP session: sends numbered, checksummed records all the time and verifies
// those it gets, so that any lost, duplicated or changed byte is found, in either direction (format:
// records.h).
//
//   stream-server [PORT]
//
// A session starts with a line of text from the client: "INTERVAL_US PAYLOAD_BYTES\n" (interval 0: as fast as
// the connection takes). One process per session.
#include <poll.h>
#include <sys/socket.h>

#include "common.h"
#include "records.h"
#include "sessions.h"

struct session {
  int fd;
  uint64_t interval_us, boot_id;
  uint32_t payload_bytes;
  struct record_account account;
  unsigned char in[RECORD_MAX_BYTES], out[RECORD_MAX_BYTES];
  size_t in_bytes, out_bytes, out_done;
};

static uint64_t read_boot_id(void) {
  char text[64] = {0};
  const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) die("boot_id");
  close(fd);
  text[8] = 0;
  char low[16];
  memcpy(low, text + 9, 4);
  low[4] = 0;
  return strtoull(text, NULL, 16) << 16 | strtoull(low, NULL, 16);
}

static void compose(struct session* s) {
  s->out_bytes = seal_record(s->out, &s->account, s->payload_bytes, s->boot_id, now_us());
  s->out_done = 0;
}

static void receive(struct session* s) {
  const ssize_t got = recv(s->fd, s->in + s->in_bytes, sizeof s->in - s->in_bytes, MSG_DONTWAIT);
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) exit(0);
  if (got > 0) s->in_bytes += (size_t)got;
  size_t done;
  while ((done = take_record(&s->account, s->in, s->in_bytes)) > 0) {
    s->in_bytes -= done;
    memmove(s->in, s->in + done, s->in_bytes);
  }
}

static void transmit(struct session* s) {
  const ssize_t put =
      send(s->fd, s->out + s->out_done, s->out_bytes - s->out_done, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (put < 0 && errno != EAGAIN && errno != EINTR) exit(0);
  if (put > 0) s->out_done += (size_t)put;
}

static void greet(struct session* s) {
  char line[64];
  size_t length = 0;
  unsigned long interval_us, payload_bytes;
  while (length < sizeof line - 1 && recv(s->fd, line + length, 1, 0) == 1 && line[length] != '\n') ++length;
  line[length] = 0;
  if (sscanf(line, "%lu %lu", &interval_us, &payload_bytes) != 2 || payload_bytes > RECORD_PAYLOAD_MAX_BYTES)
    exit(2);
  s->interval_us = interval_us;
  s->payload_bytes = (uint32_t)payload_bytes;
}

static void serve(int fd) {
  static struct session s;
  s.fd = fd;
  s.boot_id = read_boot_id();
  greet(&s);
  uint64_t next_us = now_us();
  for (;;) {
    const uint64_t now = now_us();
    if (s.out_done == s.out_bytes && now >= next_us) {
      compose(&s);
      next_us = next_us + s.interval_us > now ? next_us + s.interval_us : now;
    }
    const int pending = s.out_done < s.out_bytes;
    const uint64_t wait_us = pending ? 1000000 : next_us > now ? next_us - now : 0;
    struct pollfd poll_fd = {fd, (short)(POLLIN | (pending ? POLLOUT : 0)), 0};
    const struct timespec timeout = {(time_t)(wait_us / 1000000), (long)(wait_us % 1000000) * 1000};
    if (ppoll(&poll_fd, 1, &timeout, NULL) < 0 && errno != EINTR) die("poll");
    if (poll_fd.revents & (POLLIN | POLLHUP | POLLERR)) receive(&s);
    if (s.out_done < s.out_bytes) transmit(&s);
  }
}

int main(int argc, char** argv) {
  serve_sessions(argc, argv, 7000, serve);
}
