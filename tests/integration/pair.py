"""Two hosts with the product on them, a guest, and a client's session: what every scenario begins with."""

import os
import signal
import time
from pathlib import Path

from eventually import eventually

from lab.qemu import GuestSpec, Lab

PATIENCE_S = 60  # against hanging only
AT_POINT = "/run/host/at-point"


def new_lab(name: str) -> Lab:
    """A lab for a module's tests, whatever else runs on this machine: other checkouts have tests of the same names."""
    return Lab(f"t-{name}-{os.getpid()}")


class Pair:
    """A lab whose guest is protected from one host to the other, and can be turned round after a failover."""

    def __init__(self, lab: Lab, config: str = "") -> None:
        self.lab = lab
        self.config = config
        self.primary, self.backup = "A", "B"
        self.guest = None
        self.qmp = None
        lab.install_remus(extra_config=config)

    # -- set-up --------------------------------------------------------------------------------------------------

    def start_guest(self, spec: GuestSpec | None = None) -> None:
        self.guest = self.lab.start_guest(spec or GuestSpec(), on=self.primary)
        self.qmp = self.guest.spec.qmp

    @property
    def name(self) -> str:
        return self.guest.spec.name

    def protect(self, *options: str, check: bool = True):
        words = ["protect", self.name, "--to", f"host{self.backup}"]
        if self.qmp:
            words += ["--qmp", self.qmp]
        return self.lab.remus(self.primary, *words, *options, check=check, timeout=90)

    def restart_daemon(self, host: str, env: dict[str, str] | None = None) -> None:
        """Ends remusd by SIGTERM and starts it again; guards are not touched. `env` may arm fault points."""
        machine = self.lab.host(host)
        for pid in machine.pids("remusd"):
            machine.signal(pid, signal.SIGTERM)
        eventually(lambda: not machine.pids("remusd"), 20, what="remusd ends")
        self.lab.start_remus(host, env)

    def arm(self, host: str, fault: str) -> None:
        """Guards that this host's daemon starts from now on have the fault point; it strikes once.

        The action `file:` is to name AT_POINT; `at_point()` tells when it is reached.
        """
        flag = "/run/host/fault-struck"
        for left_over in (flag, AT_POINT):
            self.lab.host(host).path(left_over).unlink(missing_ok=True)
        self.restart_daemon(host, {"REMUS_FAULT": fault, "REMUS_FAULT_ONCE": flag})

    def at_point(self, host: str) -> Path:
        """Exists while a guard of the host waits at the point; to be removed to let it go on."""
        return self.lab.host(host).path(AT_POINT)

    def struck(self, host: str) -> bool:
        return self.lab.host(host).path("/run/host/fault-struck").exists()

    def unprotect(self) -> None:
        self.lab.remus(self.primary, "unprotect", self.name)

    # -- what is so ----------------------------------------------------------------------------------------------

    def status(self, host: str | None = None) -> dict:
        return self.lab.remus_json(host or self.primary, "status", self.name)

    def guard(self, host: str | None = None) -> dict:
        """The guard's own status, as the daemon passes it on."""
        return self.status(host).get("guard") or {}

    def is_protected(self) -> bool:
        return self.guard().get("state") == "protected"

    def wait_protected(self) -> None:
        eventually(self.is_protected, PATIENCE_S, what="protected")

    def wait_active_on_backup(self) -> dict:
        return eventually(
            lambda: (g := self.guard(self.backup)).get("state") == "active" and g, PATIENCE_S, what="active on the backup"
        )

    def committed(self) -> int:
        return self.guard().get("epoch", {}).get("committed") or 0

    def wait_for_commits(self, count: int = 3) -> None:
        before = self.committed()
        eventually(lambda: self.committed() >= before + count, PATIENCE_S, what=f"{count} more commits")

    def guard_pid(self, host: str | None = None) -> int:
        """As seen from outside: the guard itself, not its keeper."""
        side = host or self.primary
        found = [pid for pid, comm in self.lab.host(side).processes().items() if comm == "remus-guard"]
        assert len(found) == 1, f"host {side}: {self.lab.host(side).processes()}"
        return found[0]

    def client_moves(self, client) -> None:
        """The session goes on: the client has more records than now, soon."""
        before = client.stats.get("records_in", 0)
        eventually(lambda: client.stats.get("records_in", 0) > before + 20, PATIENCE_S, what="the session goes on")

    # -- failover and back ---------------------------------------------------------------------------------------

    def turn_round(self, *options: str) -> None:
        """After a failover: boots the dead host and protects the guest from where it runs now, to it."""
        dead = self.primary
        self.primary, self.backup = self.backup, self.primary
        host = self.lab.host(dead)
        if host.is_up:
            host.kill_all()
        else:
            host.boot()
        self.lab.start_remus(dead)
        self.qmp = self.status()["qmp"]
        eventually(lambda: self.protect(*options, check=False).returncode == 0, PATIENCE_S, what="protected the other way round",
                   pause=0.5)
        self.wait_protected()


def settle(seconds: float) -> None:
    """Lets things run for a while: for scenarios whose point is that nothing happens."""
    time.sleep(seconds)
