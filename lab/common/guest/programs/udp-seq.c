// Numbered datagrams, to see what a path loses, duplicates or puts out of order (TCP would hide all three).
//
//   udp-seq send HOST PORT RATE     RATE datagrams a second: sequence u64, uptime_us u64, 48 bytes of padding
//   udp-seq receive PORT            counts in /run/stat/udp-receive-{received,lost,late}
#include <arpa/inet.h>
#include <sys/socket.h>

#include "common.h"

struct datagram {
  uint64_t sequence, uptime_us;
  unsigned char padding[48];
};

static void write_count(const char* name, uint64_t value) {
  char path[64], text[24];
  snprintf(path, sizeof path, "/run/stat/udp-receive-%s", name);
  const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  const int length = snprintf(text, sizeof text, "%020llu\n", (unsigned long long)value);
  if (fd < 0 || write(fd, text, (size_t)length) != length) die(path);
  close(fd);
}

static void send_all(const char* host, const char* port, uint64_t rate) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (inet_pton(AF_INET, host, &to.sin_addr) != 1 || rate == 0) die("bad address or rate");
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr*)&to, sizeof to) != 0) die("connect");
  uint64_t next_us = now_us();
  struct datagram d = {0};
  for (;; ++d.sequence) {
    d.uptime_us = now_us();
    // A refused or unroutable datagram is a lost one: the number is spent, the receiver sees the gap.
    (void)!send(fd, &d, sizeof d, 0);
    publish("udp-send", d.sequence + 1);
    next_us += 1000000U / rate;
    sleep_until_us(next_us);
  }
}

static void receive_all(const char* port) {
  const struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (const struct sockaddr*)&here, sizeof here) != 0) die("bind");
  uint64_t received = 0, late = 0, next = 0;
  mkdir("/run/stat", 0755);
  for (struct datagram d;;) {
    if (recv(fd, &d, sizeof d, 0) < (ssize_t)offsetof(struct datagram, padding)) continue;
    ++received;
    if (d.sequence < next)
      ++late;
    else
      next = d.sequence + 1;
    write_count("received", received);
    write_count("late", late);
    write_count("lost", next > received ? next - received : 0);
  }
}

int main(int argc, char** argv) {
  if (argc == 5 && strcmp(argv[1], "send") == 0) send_all(argv[2], argv[3], strtoull(argv[4], NULL, 10));
  if (argc == 3 && strcmp(argv[1], "receive") == 0) receive_all(argv[2]);
  fprintf(stderr, "usage: udp-seq send HOST PORT RATE | receive PORT\n");
  return 2;
}
