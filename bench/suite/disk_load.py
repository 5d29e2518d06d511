"""A disk under load: the guest's `disk-bench` (lab/common/disk) loads it, QEMU's counters of the disk tell how fast.

QEMU counts by the host's clock. The guest's stands still while the guest does, so it is asked for one thing only: how
long a single operation takes between pauses.
"""

import json
import threading
import time
from dataclasses import dataclass

from bench.suite.disk_stand import DEVICE, IN_GUEST
from lab.qemu import LabError
from lab.qemu.guest import Guest

SETTLE_S = 0.3  # at both ends, not measured


@dataclass(frozen=True)
class Work:
    """One kind of load; `per_s` says in what its figure is counted."""

    name: str
    kind: str
    depth: int
    counter: str  # of query-blockstats
    per_s: str
    unit: float = 1.0


WORKS = (
    Work("4 KiB random writes, 1 at once", "randwrite", 1, "wr_operations", "writes/s"),
    Work("4 KiB random writes, 16 at once", "randwrite", 16, "wr_operations", "writes/s"),
    Work("1 MiB writes in order, 4 at once", "write", 4, "wr_bytes", "MB/s", 1e6),
    Work("1 MiB reads in order, 4 at once", "read", 4, "rd_bytes", "MB/s", 1e6),
    Work("4 KiB random write + fdatasync", "fsync", 1, "flush_operations", "fsyncs/s"),
)


class Load(threading.Thread):
    """disk-bench at work in the guest, from now on; `finish()` gives what it said."""

    def __init__(self, guest: Guest, kind: str, seconds: float, depth: int, rate: int = 0) -> None:
        super().__init__(daemon=True)
        self._guest = guest
        self._script = f"/lab/disk-bench {kind} {IN_GUEST} {seconds} {depth} {rate}"
        self._timeout = seconds + 45
        self._said = ""
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._said = self._guest.shell(self._script, timeout=self._timeout)
        except Exception as error:  # for whoever waits
            self._error = error

    def finish(self) -> dict:
        self.join()
        if self._error:
            raise self._error
        return json.loads(self._said.splitlines()[-1])


def _counter(qmp, name: str) -> int:
    for entry in qmp.command("query-blockstats"):
        if entry.get("device") == DEVICE:
            return entry["stats"][name]
    raise LabError(f"QEMU counts nothing of a disk '{DEVICE}'")


def rate_of(guest: Guest, work: Work, seconds: float) -> dict:
    """How much of this work the guest gets done a second, and how long one of it takes (us, the guest's clock)."""
    load = Load(guest, work.kind, seconds + 2 * SETTLE_S, work.depth)
    with guest.qmp() as qmp:
        before = began = _counter(qmp, work.counter)
        deadline = time.monotonic() + 20
        while before == began:  # the guest's shell takes its time
            if time.monotonic() > deadline:
                raise LabError(f"nothing of '{work.name}' reached the disk within 20 s")
            time.sleep(0.02)
            before = _counter(qmp, work.counter)
        time.sleep(SETTLE_S)
        first, start = _counter(qmp, work.counter), time.monotonic()
        time.sleep(seconds)
        last, end = _counter(qmp, work.counter), time.monotonic()
    said = load.finish()
    return {"per_s": (last - first) / (end - start) / work.unit, "p50_us": said["p50_us"], "p99_us": said["p99_us"]}
