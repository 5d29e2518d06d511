"""A guest under protection from host A to host B by whom it may be: stock `xl remus`, or the product.

Other than in sessions.py, what is captured goes to the other host, which keeps a standby of it: requests, work and host deaths are
measured as their users have them. The hosts' clocks are real ones.
"""

import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from lab.common.errors import LabError
from lab.xen import GuestSpec, Lab
from lab.xen.guest import Guest

NAME = "web1"
MEMORY_MIB = 128
START_S_MAX = 600
# Rates are compared here, not detection: a host that stalls under the measuring is not to be taken for dead.
PATIENT = ("--heartbeat", "200ms", "--detect-min", "4s", "--detect-max", "30s", "--alone-after", "90s")


class Protection(ABC):
    """From start() until the guest is destroyed; checkpoints() counts what it has made so far."""

    name: str

    @abstractmethod
    def start(self, lab: Lab, guest: Guest) -> None: ...

    @abstractmethod
    def checkpoints(self) -> int: ...

    def end(self) -> None:
        """Whatever must be gone before the next guest."""


class Stock(Protection):
    """`xl remus -Fnd`: neither network nor disk is buffered (-n, -d), as Debian's libxl has no means to."""

    def __init__(self, interval_ms: int) -> None:
        self.name = f"xl remus -i {interval_ms}"
        self._interval_ms = interval_ms

    def start(self, lab: Lab, guest: Guest) -> None:
        words = ["xl", "-v", "remus", "-Fnd", "-i", self._interval_ms, "-s", "labsh", NAME, lab.host("B").addresses.repl]
        self._process = lab.host("A").spawn(words, name="stock")
        deadline = time.monotonic() + START_S_MAX
        while self.checkpoints() < 5:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{self.name} made no checkpoints: {self._process.output[-600:]}")
            time.sleep(0.5)

    def checkpoints(self) -> int:
        return self._process.output.count("Domain now suspended")

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.stop()


class Ours(Protection):
    def __init__(self, name: str = "remus", options: tuple = PATIENT) -> None:
        self.name = name
        self._options = options

    def start(self, lab: Lab, guest: Guest) -> None:
        self._lab = lab
        disks = ("--disk", "hda=scratch") if guest.spec.boots_from_disk else ()
        lab.remus("A", "protect", NAME, "--to", "hostB", *self._options, *disks, timeout=START_S_MAX)
        deadline = time.monotonic() + START_S_MAX
        while not self._status()["protected"]:
            if time.monotonic() > deadline:
                raise LabError(f"the guest is not protected: {self._status()}")
            time.sleep(1)

    def _status(self, host: str = "A") -> dict:
        return self._lab.remus_json(host, "status", NAME)

    def checkpoints(self) -> int:
        status = self._status()
        if not status["protected"]:
            raise LabError(f"protection was lost in the midst: {status}")
        return status["guard"]["epoch"]["checkpoints_total"]

    def failover(self) -> dict:
        """What host B's guard tells of its activation; empty before."""
        return (self._status("B").get("guard") or {}).get("failover") or {}

    def end(self) -> None:
        for host in "AB":
            if self._lab.host(host).is_up:
                self._lab.remus(host, "unprotect", NAME, "--force", check=False, timeout=120)


@contextlib.contextmanager
def protected(lab: Lab, kind: str, protection: Protection, run: str, *, memory_mib: int = MEMORY_MIB, before: Callable = lambda guest: None):
    """A guest of its own, protected so, for as long as the block lasts; a host that died in it is up again afterwards.

    `before` is called with the guest when it runs, and is not yet protected.
    """
    for host in lab.hosts.values():
        if not host.is_up:
            host.boot()
    lab.install_remus()
    guest = lab.start_guest(GuestSpec(name=NAME, kind=kind, memory_mib=memory_mib, run=run), on="A")
    try:
        before(guest)
        protection.start(lab, guest)
        yield guest
    finally:
        with contextlib.suppress(AttributeError):  # what was never started
            protection.end()
        for host in lab.hosts.values():
            _clear(host)


def _clear(host) -> None:
    if not host.is_up:
        return
    for name in host.domains():
        host.xl("destroy", name, check=False)
    for pid, program in host.processes().items():
        if program in ("remusd", "remus-guard", "remus-keeper", "remus-xen-stand"):
            host.run(["kill", "-9", pid], check=False)
    deadline = time.monotonic() + 120
    while host.domains():
        if time.monotonic() > deadline:
            raise LabError(f"host {host.name} does not get rid of {host.domains()}")
        time.sleep(0.5)
    host.shell("rm -rf /var/lib/remus/* /run/remus/*")


@contextlib.contextmanager
def hosts(name: str):
    """The laboratory's hosts with clocks that go, taken down at the end whatever happens."""
    with Lab(f"bx-{name}-{os.getpid()}") as lab:
        yield lab
