// Answers every byte with itself, at once: what a client measures against it is the latency of the path.
//
//   echo-server [PORT]      TCP; one process per connection
#include <sys/socket.h>

#include "common.h"
#include "sessions.h"

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
  serve_sessions(argc, argv, 7007, serve);
}
