#include "guard/keeper.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

namespace remus::guard {
namespace {

volatile std::sig_atomic_t child_pid = 0;

void forward(int signal) {
  if (child_pid > 0) ::kill(static_cast<pid_t>(child_pid), signal);
}

}  // namespace

void become_guarded_child(const std::function<void()>& rescue) {
  const pid_t child = ::fork();
  if (child < 0) return;  // no keeper then: remusd still rescues; better a guard without keeper than none
  if (child == 0) {
    ::prctl(PR_SET_NAME, "remus-guard");
    return;
  }
  ::prctl(PR_SET_NAME, "remus-keeper");
  child_pid = child;
  struct sigaction action {};
  action.sa_handler = forward;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);

  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) std::_Exit(0);
  rescue();
  std::_Exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

}  // namespace remus::guard
