"""A test stand: an emulated Xen host, one guest on it, and eyes that see it from outside.

The host's clock counts instructions, not time (MachineSpec.ns_per_instruction): a machine of 500 million instructions a second,
whatever else the machine under it does. So milliseconds of stock and of ours can be compared also when that one is busy;
they are not those of a real host, where a trip to the hypervisor costs more than its instructions and a copied page less.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bench.xen import trace
from bench.xen.trace import Stop
from lab.common.toolchain import compile_c
from lab.xen import GuestSpec, Lab
from lab.xen.guest import Guest
from lab.xen.machine import MachineSpec

HERE = Path(__file__).resolve().parent
NAME = "web1"
MEMORY_MIB = 256
MACHINE = MachineSpec(ns_per_instruction=2)
XENTRACE = "/usr/lib/xen-4.17/bin/xentrace"
T = TypeVar("T")


class XenStand:
    """One guest of a kind on host A."""

    def __init__(self, lab: Lab, kind: str, run: str) -> None:
        self.lab = lab
        self.host = lab.host("A")
        self.kind = kind
        spec = GuestSpec(name=NAME, kind=kind, memory_mib=MEMORY_MIB, run=run)
        self.guest: Guest = lab.start_guest(spec, on="A")
        self.domid = self.guest.domain_id()
        self.mhz = float(self.host.shell("xl info | sed -n 's/^cpu_mhz *: //p'"))

    def watch(self, during: Callable[[], T]) -> tuple[T, list[Stop]]:
        """What `during` returned, and how the guest stood still meanwhile, as Xen saw it. The guest is left alone."""
        # Into memory: xentrace writes out of pages that are Xen's, which not every file system takes.
        tracer = self.host.spawn([XENTRACE, "-D", "-S", 64, "-s", 200, "-e", trace.MASK, "/tmp/trace"], name="xentrace")
        try:
            found = during()
        finally:
            tracer.running.signal(2)
            tracer.wait(60)
        self.host.shell("cp /tmp/trace /run/host/trace; rm /tmp/trace")
        recording = self.host.path("/run/host/trace")
        stops = trace.stops(recording, self.domid, self.mhz)
        recording.unlink()
        return found, stops

    def gaps_ms(self) -> list[float]:
        """What a program of the guest saw of its stops since the last call, longest first (lab/common/guest/programs/gaps.c)."""
        lines = self.guest.shell("cat /run/gaps; : > /run/gaps").splitlines()
        return sorted((int(line.split()[1]) / 1000 for line in lines), reverse=True)

    def runs(self) -> bool:
        """Whether the guest is neither paused nor suspended, and nobody has left a mark."""
        state = self.host.domains()[NAME].state
        marks = self.host.shell("ls -A /run/remus-xen 2>/dev/null || test ! -e /run/remus-xen").split()
        return not set(state) & set("psc") and not marks

    def put(self, source: Path, *flags: str) -> str:
        """Compiles a C file of tools/ and puts it on the host."""
        inside = f"/usr/local/lib/bench-{source.stem}.so"
        self.host.write(inside, compile_c(source, *flags).read_bytes(), 0o755)
        return inside


@contextlib.contextmanager
def hosts(name: str):
    """The laboratory's hosts, taken down at the end whatever happens."""
    import os

    with Lab(f"bx-{name}-{os.getpid()}", machine=MACHINE) as lab:
        yield lab


@contextlib.contextmanager
def stand(lab: Lab, kind: str, run: str):
    """A guest of this kind that runs these programs, for as long as the block lasts."""
    made = XenStand(lab, kind, run)
    try:
        yield made
    finally:
        if lab.host("A").is_up:
            made.guest.destroy()
            lab.host("A").shell(f"for i in $(seq 100); do xl domid {NAME} > /dev/null 2>&1 || exit 0; sleep .1; done; exit 1")
