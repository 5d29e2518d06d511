// A "host" of the lab: namespaces around a tiny init, so that two hosts with identical paths live on one
// machine and one SIGKILL (to the init) ends every process of a host at the same instant, as a power cut
// does.
//
//   labhost keeper DIR DISK_SIZE          holds the host's disk: /etc/remus and /var/lib/remus survive a
//   power cut.
//                                         Says "ready" on stdout and sleeps until it is killed.
//   labhost init KEEPER NETNS SHM NAME DIR    boots the host: new PID, mount, IPC and UTS namespaces on the
//   keeper's disk,
//                                         DIR/host on /run/host; says the pid of the host's init, waits until
//                                         it is gone.
//   labhost exec INIT PIDFD -- CMD...     runs CMD on the host, writes its pid (as seen outside) to PIDFD
//   (-1: to nobody), ends
//                                         with CMD's exit status (128 + signal where it was killed).
//
//   keeper (mount ns: overlay /etc, /var/lib) ── init 1 (pid, mount, ipc, uts ns) ── remusd, qemu, ...
//                                             └─ power cut, boot again ── init 1' ── ...
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void fail(const char* format, ...) {
  const int error = errno;
  va_list args;
  va_start(args, format);
  fprintf(stderr, "labhost: ");
  vfprintf(stderr, format, args);
  fprintf(stderr, ": %s\n", strerror(error));
  va_end(args);
  exit(125);
}

// Never freed: a handful of paths, in a process that needs them to its end.
static const char* path_of(const char* dir, const char* name) {
  char* path;
  if (asprintf(&path, "%s/%s", dir, name) < 0) fail("out of memory");
  return path;
}

static void make_dir(const char* path) {
  if (mkdir(path, 0755) != 0 && errno != EEXIST) fail("cannot create %s", path);
}

static void mount_on(const char* what, const char* where, const char* type, unsigned long flags,
                     const char* options) {
  if (mount(what, where, type, flags, options) != 0)
    fail("cannot mount %s on %s (%s)", type ? type : what, where, options ? options : "bind");
}

static void private_mounts(void) {
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) fail("cannot make mounts private");
}

// The machine's own /etc and /var/lib stay untouched: an overlay gives the mount point, a bind hides what is
// there.
static void private_directory(const char* disk, const char* parent, const char* label) {
  char options[4 * PATH_MAX];
  char upper[64], work[64];
  snprintf(upper, sizeof upper, "%s.upper", label);
  snprintf(work, sizeof work, "%s.work", label);
  const char* store = path_of(disk, label);
  make_dir(path_of(disk, upper));
  make_dir(path_of(disk, work));
  make_dir(store);
  snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", parent, path_of(disk, upper),
           path_of(disk, work));
  mount_on("overlay", parent, "overlay", 0, options);
  const char* target = path_of(parent, "remus");
  make_dir(target);
  mount_on(store, target, NULL, MS_BIND, NULL);
}

static _Noreturn void keeper(const char* dir, const char* disk_size) {
  char options[64];
  if (unshare(CLONE_NEWNS) != 0) fail("cannot create a mount namespace (root needed)");
  private_mounts();
  // Copies of these mounts would keep network namespaces alive after their removal, sockets of dead hosts
  // included.
  while (umount2("/run/netns", MNT_DETACH) == 0) {
  }
  const int artefacts = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (artefacts < 0) fail("cannot open %s", dir);
  const char* disk = path_of(dir, "disk");
  make_dir(disk);
  snprintf(options, sizeof options, "size=%s,mode=755", disk_size);
  mount_on("tmpfs", disk, "tmpfs", 0, options);
  const int disk_fd = open(disk, O_PATH | O_DIRECTORY | O_CLOEXEC);
  private_directory(disk, "/etc", "etc-remus");
  private_directory(disk, "/var/lib", "var-lib-remus");
  // Where the source tree itself lies below /var/lib or /etc, logs must still reach the real directory.
  char self[64];
  snprintf(self, sizeof self, "/proc/self/fd/%d", artefacts);
  mount_on(self, dir, NULL, MS_BIND, NULL);
  snprintf(self, sizeof self, "/proc/self/fd/%d", disk_fd);
  mount_on(self, disk, NULL, MS_BIND, NULL);
  printf("ready\n");
  fflush(stdout);
  for (;;) pause();
}

static void join(const char* path, int kind) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("cannot open %s (is the host down?)", path);
  if (setns(fd, kind) != 0) fail("cannot enter %s", path);
  close(fd);
}

static _Noreturn void reap_for_ever(void) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL);
  for (;;) {
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    siginfo_t info;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigwaitinfo(&child, &info);
  }
}

static void set_up_host(const char* shm_size, const char* name, const char* dir) {
  char options[64];
  private_mounts();
  mount_on("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount_on("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount_on("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=256m");
  make_dir("/run/remus");
  make_dir("/run/host");
  mount_on(path_of(dir, "host"), "/run/host", NULL, MS_BIND, NULL);
  snprintf(options, sizeof options, "mode=1777,size=%s", shm_size);
  mount_on("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, options);
  if (sethostname(name, strlen(name)) != 0) fail("cannot set the host name");
}

static int init(const char* keeper_pid, const char* netns, const char* shm_size, const char* name,
                const char* dir) {
  int ready[2];
  char byte;
  join(netns, CLONE_NEWNET);
  join(path_of(path_of("/proc", keeper_pid), "ns/mnt"), CLONE_NEWNS);
  if (chdir("/") != 0 || unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) != 0)
    fail("cannot create the namespaces of host %s", name);
  if (pipe2(ready, O_CLOEXEC) != 0) fail("cannot create a pipe");
  const pid_t child = fork();
  if (child < 0) fail("cannot fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setsid();
    set_up_host(shm_size, name, dir);
    if (write(ready[1], "r", 1) != 1) fail("cannot report");
    const int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
    close_range(3, ~0U, 0);
    reap_for_ever();
  }
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1) {
    waitpid(child, NULL, 0);
    return 125;
  }
  printf("%d\n", (int)child);
  fflush(stdout);
  // The kernel lets the init go only when every process of its namespace is gone: our end says that the host
  // is empty.
  while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
  }
  return 0;
}

static int exec_on(const char* init_pid, int pid_fd, char** command) {
  static const struct {
    const char* name;
    int kind;
  } namespaces[] = {{"ns/pid", CLONE_NEWPID},
                    {"ns/net", CLONE_NEWNET},
                    {"ns/uts", CLONE_NEWUTS},
                    {"ns/ipc", CLONE_NEWIPC},
                    {"ns/mnt", CLONE_NEWNS}};
  char dir[64];
  snprintf(dir, sizeof dir, "/proc/%s", init_pid);
  for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; ++i)
    join(path_of(dir, namespaces[i].name), namespaces[i].kind);
  if (chdir("/") != 0) fail("cannot enter the host's root");
  fcntl(pid_fd, F_SETFD, FD_CLOEXEC);
  const pid_t child = fork();
  if (child < 0) fail("cannot fork on the host (is it down?)");
  if (child == 0) {
    setsid();
    execvp(command[0], command);
    fail("cannot run %s", command[0]);
  }
  dprintf(pid_fd, "%d\n", (int)child);
  close(pid_fd);
  signal(SIGPIPE, SIG_IGN);
  // Hold none of the command's pipes open: whoever reads its output must see its end.
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 2; ++fd) dup2(null, fd);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char** argv) {
  if (argc == 4 && strcmp(argv[1], "keeper") == 0) keeper(argv[2], argv[3]);
  if (argc == 7 && strcmp(argv[1], "init") == 0) return init(argv[2], argv[3], argv[4], argv[5], argv[6]);
  if (argc >= 6 && strcmp(argv[1], "exec") == 0 && strcmp(argv[4], "--") == 0)
    return exec_on(argv[2], atoi(argv[3]), argv + 5);
  fprintf(stderr,
          "usage: labhost keeper DIR DISK_SIZE | init KEEPER NETNS SHM_SIZE NAME DIR | exec INIT PIDFD -- "
          "CMD...\n");
  return 2;
}
