// Latency, loss and bandwidth for a link of the lab where the kernel has no netem.
//
// The two ends of the link are interfaces that nothing else connects; linkd carries every frame from one to
// the other, and back, later, slower, or not at all. Offloaded frames (up to 64 KiB with a virtio-net header)
// pass whole, so that a fast link stays fast.
//
//   linkd IF_X IF_Y      reads settings from stdin, one line each: DELAY_US LOSS_PPM RATE_KBIT (0 =
//   unlimited);
//                        answers "ok" on stdout; ends when stdin ends.
//
//   frame in ──▶ lost? ──▶ leaves the "wire" at max(now, wire free) + bytes/rate ──▶ + delay ──▶ frame out
//
// Bounds: a direction holds at most QUEUE_FRAMES frames and QUEUE_BYTES bytes; a frame above that is dropped,
// as at a full switch port.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { QUEUE_FRAMES_MAX = 16384, FRAME_BYTES = 80 << 10 };

struct frame {
  uint64_t due_ns;
  size_t length;
  unsigned char* bytes;
};

struct direction {
  int from, to;
  struct frame queue[QUEUE_FRAMES_MAX];  // ring
  size_t head, count, bytes;
  uint64_t wire_free_ns;
};

static struct { uint64_t delay_ns, loss_ppm, rate_kbit, queue_bytes; } settings;

static struct direction directions[2];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static uint64_t random_u64(void) {
  static uint64_t state = 0x9e3779b97f4a7c15U;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static void die(const char* what) {
  fprintf(stderr, "linkd: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int open_end(const char* interface) {
  const int one = 1, buffer_bytes = 16 << 20;
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
  if (fd < 0) die("cannot open a packet socket");
  if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one) != 0) die("PACKET_VNET_HDR");
  if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) != 0)
    die("PACKET_IGNORE_OUTGOING");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof buffer_bytes);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer_bytes, sizeof buffer_bytes);
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  address.sll_ifindex = (int)if_nametoindex(interface);
  if (address.sll_ifindex == 0) die(interface);
  if (bind(fd, (struct sockaddr*)&address, sizeof address) != 0) die("bind");
  struct packet_mreq promiscuous = {.mr_ifindex = address.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
  if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous) != 0)
    die("promiscuous mode");
  return fd;
}

// An offloaded frame stands for several on the wire: it is lost as likely as one of them would be.
static int is_lost(const unsigned char* bytes, size_t length) {
  if (settings.loss_ppm == 0) return 0;
  const struct virtio_net_hdr* header = (const void*)bytes;
  const size_t segments = header->gso_size > 0 ? (length + header->gso_size - 1) / header->gso_size : 1;
  return random_u64() % 1000000U < settings.loss_ppm * segments;
}

static void take_frames(struct direction* d) {
  static unsigned char buffer[FRAME_BYTES];
  for (int i = 0; i < 64; ++i) {
    const ssize_t got = recv(d->from, buffer, sizeof buffer, 0);
    if (got < 0) return;  // EAGAIN; ENETDOWN where the interface is down for now
    const size_t length = (size_t)got;
    if (is_lost(buffer, length) || d->count == QUEUE_FRAMES_MAX || d->bytes + length > settings.queue_bytes)
      continue;
    const uint64_t now = now_ns();
    const uint64_t start = d->wire_free_ns > now ? d->wire_free_ns : now;
    d->wire_free_ns = start + (settings.rate_kbit ? length * 8U * 1000000U / settings.rate_kbit : 0);
    struct frame* f = &d->queue[(d->head + d->count) % QUEUE_FRAMES_MAX];
    f->bytes = malloc(length);
    if (f->bytes == NULL) die("out of memory");
    memcpy(f->bytes, buffer, length);
    f->length = length;
    f->due_ns = d->wire_free_ns + settings.delay_ns;
    ++d->count;
    d->bytes += length;
  }
}

static void give_frames(struct direction* d, uint64_t now) {
  while (d->count > 0 && d->queue[d->head].due_ns <= now) {
    struct frame* f = &d->queue[d->head];
    // A full or absent far end drops, as a wire does.
    (void)!send(d->to, f->bytes, f->length, 0);
    free(f->bytes);
    d->head = (d->head + 1) % QUEUE_FRAMES_MAX;
    --d->count;
    d->bytes -= f->length;
  }
}

static void read_settings(void) {
  char line[128];
  unsigned long delay_us, loss_ppm, rate_kbit, queue_bytes;
  const ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);
  if (got <= 0) exit(0);
  line[got] = 0;
  if (sscanf(line, "%lu %lu %lu %lu", &delay_us, &loss_ppm, &rate_kbit, &queue_bytes) != 4) {
    fprintf(stderr, "linkd: bad settings: %s", line);
    exit(2);
  }
  settings.delay_ns = delay_us * 1000U;
  settings.loss_ppm = loss_ppm;
  settings.rate_kbit = rate_kbit;
  settings.queue_bytes = queue_bytes;
  printf("ok\n");
  fflush(stdout);
}

static void wait_for_work(void) {
  struct pollfd fds[] = {
      {directions[0].from, POLLIN, 0}, {directions[1].from, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  uint64_t next = UINT64_MAX;
  for (int i = 0; i < 2; ++i)
    if (directions[i].count > 0 && directions[i].queue[directions[i].head].due_ns < next)
      next = directions[i].queue[directions[i].head].due_ns;
  const uint64_t now = now_ns();
  const uint64_t wait = next > now ? next - now : 0;
  const struct timespec timeout = {(time_t)(wait / 1000000000U), (long)(wait % 1000000000U)};
  if (ppoll(fds, 3, next == UINT64_MAX ? NULL : &timeout, NULL) < 0 && errno != EINTR) die("poll");
  if (fds[2].revents) read_settings();
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: linkd IF_X IF_Y < SETTINGS\n");
    return 2;
  }
  directions[0].from = directions[1].to = open_end(argv[1]);
  directions[1].from = directions[0].to = open_end(argv[2]);
  for (;;) {
    wait_for_work();
    for (int i = 0; i < 2; ++i) take_frames(&directions[i]);
    for (int i = 0; i < 2; ++i) give_frames(&directions[i], now_ns());
  }
}
