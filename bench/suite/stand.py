"""A test stand: the laboratory's two hosts with the product installed, one guest, and eyes that disturb little.

`remus status` asks the daemon, which asks the guard some times a second: right for people, too coarse to see each
checkpoint. So the stand asks the guard's own socket (docs/guard-api.md), reached through the host's init process.
"""

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lab.qemu import GuestSpec, Lab, LabError
from lab.qemu.guest import Guest

NAME = "web1"
GUARD_SOCKET = f"/run/remus/guards/{NAME}.primary.sock"
DAEMON_SOCKET = "/run/remus/remusd.sock"
SETTLE_S = 20
ATTEMPTS = 3
PATIENT = {"detect_min": "5s", "detect_max": "10s", "alone_after": "30s"}  # no failover where a host only stalls
T = TypeVar("T")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, method: str, target: str, body: dict | None = None) -> dict:
    """One HTTP request over a unix socket; an answer that is no success raises LabError."""
    with contextlib.closing(_UnixConnection(path)) as connection:
        try:
            text = json.dumps(body) if body is not None else None
            connection.request(method, target, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except OSError as error:
            raise LabError(f"{method} {target} on {path}: {error}") from error
    if answer.status >= 300:
        raise LabError(f"{method} {target} on {path}: {answer.status} {content[:300]!r}")
    return json.loads(content) if content else {}


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, as the primary's guard saw it."""

    epoch: int
    dirty_pages: int
    pause_ms: float


class Stand:
    """The guest runs on A and may be protected to B any number of times."""

    def __init__(self, lab: Lab, guest: Guest) -> None:
        self.lab = lab
        self.guest = guest
        self.losses = 0  # measurements thrown away, protection or an answer having been lost in their midst

    def protect(self, *more: str, **options: str | int | float) -> None:
        """Protects the guest and waits until it is; options as of `remus protect`, '_' for '-'; `more` are further words.

        Whoever measures something else than failovers wants none on a machine that stalls: see PATIENT.
        """
        words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value)]
        qmp = self.guest.spec.qmp
        self.lab.remus("A", "protect", NAME, "--qmp", qmp, "--to", "hostB", *more, *words, timeout=90)
        self._wait_protected()

    def _wait_protected(self) -> None:
        deadline = time.monotonic() + SETTLE_S
        while self.status()["state"] != "protected":
            if time.monotonic() > deadline:
                raise LabError(f"the guest is not protected after {SETTLE_S} s: {self.status()['reason']}")
            time.sleep(0.05)

    def steady(self, measure: Callable[[], T]) -> T:
        """Measures while the guest is protected in one and the same session, or again; an unprotected guest has fine figures."""
        for _ in range(ATTEMPTS):
            self._wait_protected()
            session = self.status()["session"]
            try:
                found = measure()
                after = self.status()
            except (LabError, OSError) as error:  # a machine so busy that nothing answers
                why = str(error)
            else:
                if (after["state"], after["session"]) == ("protected", session):
                    return found
                why = after["reason"]
            self.losses += 1
        raise LabError(f"no measurement came to its end in {ATTEMPTS} attempts: {why}")

    def losses_note(self) -> list[str]:
        if not self.losses:
            return []
        return [f"Measurements made again because protection or the guest's answer was lost in their midst: {self.losses}."]

    def unprotect(self) -> None:
        self.lab.remus("A", "unprotect", NAME)

    def set(self, **options: str | int | float) -> None:
        """Changes options of the protected guest."""
        ask(self.lab.host("A").path(DAEMON_SOCKET), "PATCH", f"/v1/guests/{NAME}", options)

    def status(self) -> dict:
        return ask(self.lab.host("A").path(GUARD_SOCKET), "GET", "/v1/status")

    def checkpoints(self, seconds: float, poll_s: float = 0.02) -> list[Checkpoint]:
        """Every checkpoint of the next seconds (those closer together than poll_s may be missed)."""
        found: dict[int, Checkpoint] = {}
        first = None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.status()
            number = status["epoch"]["checkpoints_total"]
            first = number if first is None else first
            if number != first:  # the one before we looked belongs to another load
                pause_ms = status["pause"]["last_us"] / 1000
                found[number] = Checkpoint(number, status["traffic"]["dirty_pages_last"], pause_ms)
            time.sleep(poll_s)
        return list(found.values())

    def link_bytes(self) -> int:
        """Bytes host A has sent to B over their link: everything, with TLS, TCP and Ethernet."""
        found = json.loads(self.lab.host("A").run(["ip", "-s", "-j", "link", "show", "repl0"]).stdout)
        return int(found[0]["stats64"]["tx"]["bytes"])

    @contextlib.contextmanager
    def load(self, *programs: str, settle_s: float = 1.0):
        """Programs at work in the guest for as long as the block lasts."""
        if programs:
            self.guest.start(*programs)
            time.sleep(settle_s)
        try:
            yield
        finally:
            for program in programs:
                self.guest.stop(program.partition(":")[0])


@contextlib.contextmanager
def stand(name: str, *, run: str = "stream-server,echo-server", memory_mib: int = 256):
    """A stand of this name, taken down at the end whatever happens."""
    with Lab(f"bench-{name}-{os.getpid()}") as lab:
        lab.install_remus()
        yield Stand(lab, lab.start_guest(GuestSpec(run=run, memory_mib=memory_mib), on="A"))
