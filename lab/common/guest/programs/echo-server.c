// Answers every byte with itself, at once: what a client measures against it is the latency of the path.
//
//   echo-server [PORT]      TCP; one process per connection
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>

#include "common.h"

static void serve(int fd) {
  char buffer[65536];
  for (;;) {
    const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0) exit(0);
    for (ssize_t done = 0; done < got;) {
      const ssize_t put = send(fd, buffer + done, (size_t)(got - done), MSG_NOSIGNAL);
      if (put <= 0) exit(0);
      done += put;
    }
  }
}

int main(int argc, char** argv) {
  const int one = 1;
  signal(SIGCHLD, SIG_IGN);
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0) die("socket");
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 7007))};
  if (bind(listener, (const struct sockaddr*)&address, sizeof address) != 0 || listen(listener, 64) != 0)
    die("listen");
  for (;;) {
    const int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fork() == 0) {
      close(listener);
      serve(fd);
    }
    close(fd);
  }
}
