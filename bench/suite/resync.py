"""Synchronizing a disk anew after the backup's host lost power, against how much the guest wrote meanwhile.

Before that, all that the guest had written was durable there. Told by the guard's own events: from the beginning of the synchronization until the disk's share of it has gone to the backup. Memory
follows, and is not counted. What is written lies in one piece, past the guest's page cache, and cannot be packed.
"""

import json
import time
from datetime import datetime

from bench.suite.disk_stand import DEVICE, IN_GUEST, ROOT, disk_stand
from bench.suite.figures import median
from bench.suite.result import Result
from bench.suite.stand import NAME, Stand

FULL = (0, 8, 32, 64)
QUICK = (0, 32)
WITHIN_S = 90


def _events(stand: Stand) -> list[dict]:
    return [json.loads(line) for line in stand.lab.remus("A", "events", NAME, "--json").stdout.splitlines()]


def _last_copy(stand: Stand) -> dict:
    """How long the last synchronization's disk took, and what of it was copied."""
    events = _events(stand)
    copied = [event for event in events if event["kind"] == "disk" and "copied_bytes" in event["data"]][-1]
    begun = [event for event in events if event["kind"] == "sync" and event["sequence"] < copied["sequence"]][-1]
    first, last = (datetime.fromisoformat(event["time"].replace("Z", "+00:00")) for event in (begun, copied))
    return {"ms": (last - first).total_seconds() * 1000, "copied_mib": copied["data"]["copied_bytes"] / (1 << 20)}


def _wait(stand: Stand, what: str, condition) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition(status := stand.status()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not {what} after {WITHIN_S} s, but '{status['state']}': {status['reason']}")
        time.sleep(0.05)


def _away(stand: Stand, mib: int) -> dict:
    """The backup's host is away while the guest writes so much."""
    _wait(stand, "clean", lambda status: not any(disk["resync_bytes"] for disk in status["disks"]))
    host = stand.lab.host("B")
    host.power_cut()
    _wait(stand, "alone", lambda status: status["state"] != "protected")
    if mib:
        stand.guest.shell(f"dd if=/dev/urandom of={IN_GUEST} bs=1M count={mib} oflag=direct 2>/dev/null", timeout=60)
    host.boot()
    stand.lab.start_remus("B")
    _wait(stand, "protected", lambda status: status["state"] == "protected")
    return {"written_mib": mib, **_last_copy(stand)}


def measure(quick: bool) -> Result:
    samples = []
    with disk_stand("resync") as stand:
        stand.protect("--disk", ROOT, "--disk", f"{DEVICE},overwrite")
        samples.append({"written_mib": "all", **_last_copy(stand)})
        for _ in range(1 if quick else 3):
            samples += [_away(stand, mib) for mib in (QUICK if quick else FULL)]
    rows = []
    for written in dict.fromkeys(sample["written_mib"] for sample in samples):
        found = [sample for sample in samples if sample["written_mib"] == written]
        label = "(first copy)" if written == "all" else f"{written} MiB"
        rows.append([label, len(found), median([f["copied_mib"] for f in found]), median([f["ms"] for f in found]),
                     max(f["ms"] for f in found)])  # fmt: skip
    return Result(
        name="resync",
        title="A disk synchronized anew",
        columns=["written meanwhile", "times", "copied MiB", "median ms", "worst ms"],
        rows=rows,
        samples=samples,
        plot=lambda axes: _plot(axes, samples),
        notes=["Looked at in regions of 4 MiB, and compared there in blocks of 64 KiB."],
    )


def _plot(axes, samples: list[dict]) -> None:
    for all_of_it, colour, label in ((False, "C0", "after an absence"), (True, "C1", "first copy")):
        found = [sample for sample in samples if (sample["written_mib"] == "all") == all_of_it]
        axes.scatter([f["copied_mib"] for f in found], [f["ms"] for f in found], color=colour, label=label)
    axes.set(xlabel="MiB copied", ylabel="ms", xlim=(0, None), ylim=(0, None))
    axes.legend(fontsize=8)
