// labd: runs commands on a lab host for whoever drives the lab. What ssh would be, without keys, on a closed network.
//
//   request:   "MODE COUNT\n", then COUNT words, each ended by a zero byte: the command
//     run      frames both ways: type (1 byte), length (4 bytes, big endian), content
//                to labd:  I  input (length 0: its end)      K  a signal's number, for the command's process group
//                back:     P  pid    O  output    E  error output    X  exit status (128 + signal where killed), last
//     raw      the connection itself is the command's input and output; how it ends is not told (labsh, below)
//     tty      like raw, through a terminal of its own
//
// In mode run, a connection that breaks leaves the command running; who wants it ended sends K first. A dead peer of a
// raw connection is noticed after 5 s, as an administrator would set up ssh for `xl remus`.
//
//   labd PORT                    serves, in the foreground
//   labsh HOST WORD...           (labd under that name) has /bin/sh of HOST run the words: for `xl migrate -s labsh`
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PORT = 7011, WORDS_MAX = 4096, REQUEST_BYTES_MAX = 1 << 20, CHUNK_BYTES = 1 << 16 };

static _Noreturn void fail(const char* what) {
  fprintf(stderr, "labd: %s: %s\n", what, strerror(errno));
  exit(125);
}

static int write_all(int fd, const void* bytes, size_t length) {
  const char* at = bytes;
  while (length > 0) {
    const ssize_t done = write(fd, at, length);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return -1;
    at += done;
    length -= (size_t)done;
  }
  return 0;
}

static int read_all(int fd, void* bytes, size_t length) {
  char* at = bytes;
  while (length > 0) {
    const ssize_t done = read(fd, at, length);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return -1;
    at += done;
    length -= (size_t)done;
  }
  return 0;
}

static int send_frame(int fd, char type, const void* content, size_t length) {
  unsigned char header[5] = {(unsigned char)type};
  const uint32_t size = htonl((uint32_t)length);
  memcpy(header + 1, &size, sizeof size);
  return write_all(fd, header, sizeof header) != 0 || write_all(fd, content, length) != 0 ? -1 : 0;
}

static int send_number(int fd, char type, int number) {
  char text[16];
  const int length = snprintf(text, sizeof text, "%d", number);
  return send_frame(fd, type, text, (size_t)length);
}

static void notice_dead_peers(int fd) {
  const int one = 1, idle_s = 2, interval_s = 1, probes = 3;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static _Noreturn void become(char** command) {
  signal(SIGPIPE, SIG_DFL);
  execvp(command[0], command);
  dprintf(2, "cannot run %s: %s\n", command[0], strerror(errno));
  _exit(127);
}

// Copies what is there; 0 at the end of `from`.
static int pump(int from, int to) {
  static char buffer[CHUNK_BYTES];
  const ssize_t got = read(from, buffer, sizeof buffer);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return 1;
  return got > 0 && write_all(to, buffer, (size_t)got) == 0;
}

static int exit_status(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// One frame from whoever drives; 0 when the connection ended.
static int take_frame(int connection, pid_t child, int* input) {
  static char content[CHUNK_BYTES];
  unsigned char header[5];
  uint32_t length;
  if (read_all(connection, header, sizeof header) != 0) return 0;
  memcpy(&length, header + 1, sizeof length);
  length = ntohl(length);
  if (length > sizeof content || read_all(connection, content, length) != 0) return 0;
  if (header[0] == 'K' && length > 0 && length < 4) {
    content[length] = 0;
    kill(-child, atoi(content));
  } else if (header[0] == 'I' && *input >= 0 && (length == 0 || write_all(*input, content, length) != 0)) {
    close(*input);
    *input = -1;
  }
  return 1;
}

static void run_framed(int connection, char** command) {
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) fail("pipe");
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    setsid();
    dup2(in[0], 0);
    dup2(out[1], 1);
    dup2(err[1], 2);
    close(connection);
    become(command);
  }
  close(in[0]);
  close(out[1]);
  close(err[1]);
  send_number(connection, 'P', (int)child);
  static char buffer[CHUNK_BYTES];
  struct pollfd fds[] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}, {connection, POLLIN, 0}};
  int input = in[1];
  // A command that leaves a daemon behind keeps no pipe of ours open for ever: its own end is enough (looked at each
  // half second), once its output is drained.
  for (;;) {
    const int events = poll(fds, 3, 500);
    for (int i = 0; i < 2; ++i) {
      if (fds[i].fd < 0 || !fds[i].revents) continue;
      const ssize_t got = read(fds[i].fd, buffer, sizeof buffer);
      if (got > 0)
        send_frame(connection, i == 0 ? 'O' : 'E', buffer, (size_t)got);
      else
        fds[i].fd = -1;
    }
    if (fds[2].fd >= 0 && fds[2].revents && !take_frame(connection, child, &input)) fds[2].fd = -1;
    if (fds[0].fd < 0 && fds[1].fd < 0) break;
    siginfo_t info = {.si_pid = 0};
    if (events == 0 && waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child)
      break;
  }
  // Its output may have been closed before its end; signals are heard meanwhile.
  for (;;) {
    siginfo_t info = {.si_pid = 0};
    if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child) break;
    struct pollfd one = {fds[2].fd, POLLIN, 0};
    if (poll(&one, 1, 20) > 0 && !take_frame(connection, child, &input)) fds[2].fd = -1;
  }
  send_number(connection, 'X', exit_status(child));
}

static void run_raw(int connection, char** command) {
  const int log = open("/run/host/labsh.log", O_WRONLY | O_CREAT | O_APPEND, 0644);
  dup2(connection, 0);
  dup2(connection, 1);
  if (log >= 0) dup2(log, 2);
  become(command);
}

static void run_tty(int connection, char** command) {
  int terminal;
  const pid_t child = forkpty(&terminal, NULL, NULL, NULL);
  if (child < 0) fail("forkpty");
  if (child == 0) become(command);
  struct pollfd fds[] = {{terminal, POLLIN, 0}, {connection, POLLIN, 0}};
  for (;;) {
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[0].revents && !pump(terminal, connection)) break;
    if (fds[1].revents && !pump(connection, terminal)) break;
  }
  kill(child, SIGHUP);
}

static void serve(int connection) {
  static char request[REQUEST_BYTES_MAX];
  static char* words[WORDS_MAX + 1];
  size_t length = 0;
  while (length < 64 && read_all(connection, request + length, 1) == 0 && request[length] != '\n') ++length;
  char mode[8];
  unsigned count;
  request[length] = 0;
  if (sscanf(request, "%7s %u", mode, &count) != 2 || count == 0 || count > WORDS_MAX) return;
  length = 0;
  for (unsigned i = 0; i < count; ++i) {
    words[i] = request + length;
    do {
      if (length == sizeof request || read_all(connection, request + length, 1) != 0) return;
    } while (request[length++] != 0);
  }
  notice_dead_peers(connection);
  if (strcmp(mode, "run") == 0) run_framed(connection, words);
  if (strcmp(mode, "raw") == 0) run_raw(connection, words);
  if (strcmp(mode, "tty") == 0) run_tty(connection, words);
}

static void listen_for_ever(int port) {
  const int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void*)&address, sizeof address) != 0 || listen(listener, 64) != 0) fail("listen");
  signal(SIGCHLD, SIG_IGN);  // nobody asks how a connection's process ended
  for (;;) {
    const int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection < 0) continue;
    if (fork() == 0) {
      signal(SIGCHLD, SIG_DFL);
      close(listener);
      serve(connection);
      _exit(0);
    }
    close(connection);
  }
}

static int labsh(int count, char** words) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
  if (count < 2 || inet_pton(AF_INET, words[0], &address.sin_addr) != 1) {
    fprintf(stderr, "usage: labsh ADDRESS WORD...\n");
    return 255;
  }
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(connection, (void*)&address, sizeof address) != 0) {
    fprintf(stderr, "labsh: cannot connect to %s: %s\n", words[0], strerror(errno));
    return 255;
  }
  notice_dead_peers(connection);
  static const char request[] = "raw 3\n/bin/sh\0-c";
  write_all(connection, request, sizeof request);
  for (int i = 1; i < count; ++i) {
    write_all(connection, words[i], strlen(words[i]));
    write_all(connection, i + 1 < count ? " " : "", 1);
  }
  struct pollfd fds[] = {{0, POLLIN, 0}, {connection, POLLIN, 0}};
  for (;;) {
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents && !pump(connection, 1)) return 0;
    if (fds[0].fd >= 0 && fds[0].revents && !pump(0, connection)) {
      shutdown(connection, SHUT_WR);
      fds[0].fd = -1;
    }
  }
}

int main(int argc, char** argv) {
  const char* slash = strrchr(argv[0], '/');
  signal(SIGPIPE, SIG_IGN);
  if (strcmp(slash ? slash + 1 : argv[0], "labsh") == 0) return labsh(argc - 1, argv + 1);
  if (argc == 2) listen_for_ever(atoi(argv[1]));
  fprintf(stderr, "usage: labd PORT\n");
  return 2;
}
