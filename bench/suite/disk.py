"""A guest's disk under protection: how fast it is, beside the same disk unprotected and beside QEMU's own mirror of it.

Each figure of a mode stands between two of the unprotected disk, before and after, and the ratio to their mean counts: what
else the machine does falls on both. "Memory only" protects the guest with the disk not replicated, so that the
cost of the disk can be told from that of the rest; it also gives the pauses that the same writes cause without us in their way.
"""

import contextlib
import time

from bench.suite.disk_load import WORKS, Load, rate_of
from bench.suite.disk_stand import DEVICE, DISK_MIB, ROOT, disk_stand
from bench.suite.figures import median, quantile
from bench.suite.peer_mirror import mirrored
from bench.suite.result import Result, Target
from bench.suite.stand import PATIENT, Stand

UNPROTECTED, MEMORY, REPLICATED = "unprotected", "Remus, memory only", "Remus, disk replicated"
BLOCKING, BACKGROUND = "QEMU's mirror, write-blocking", "QEMU's mirror, background"
MODES = (MEMORY, REPLICATED, BLOCKING, BACKGROUND)
LIMIT_PERCENT = 80
LIMIT_GROWTH_MS = 0.3
# Half of what the disk could take, so that it is the same in both modes.
PAUSE_RATE, PAUSE_DEPTH, PAUSE_INTERVAL = 500, 8, "50ms"


@contextlib.contextmanager
def _mode(stand: Stand, name: str):
    """The guest and its disk in this mode while the block lasts."""
    if name in (BLOCKING, BACKGROUND):
        mode = "write-blocking" if name == BLOCKING else "background"
        with mirrored(stand.lab, stand.guest, DEVICE, "/run/host/peer.raw", mode):
            yield
        return
    disk = DEVICE + (",overwrite" if name == REPLICATED else "=scratch")
    stand.protect("--disk", ROOT, "--disk", disk, **PATIENT)
    try:
        yield
    finally:
        stand.unprotect()


def _speeds(stand: Stand, seconds: float, protected: bool) -> dict:
    def all_works() -> dict:
        return {work.name: rate_of(stand.guest, work, seconds) for work in WORKS}

    return stand.steady(all_works) if protected else all_works()


def _stops(stand: Stand, seconds: float) -> list[float]:
    """How long the guest stood still each time (ms), by QEMU's own events: so with what QEMU does to stop it, which is
    where it waits for the disk."""
    with stand.guest.qmp() as qmp:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.2)
            qmp.command("query-name")  # takes the events in
        events = [event for event in qmp.events if event["event"] in ("STOP", "RESUME")]
    found, stopped = [], None
    for event in events:
        when = event["timestamp"]["seconds"] * 1000 + event["timestamp"]["microseconds"] / 1000
        if event["event"] == "STOP":
            stopped = when
        elif stopped is not None:
            found.append(when - stopped)
    return found


def _pauses(stand: Stand, seconds: float) -> dict[str, list[float]]:
    """Without disk activity, under writes at a fixed rate, and under as many as the guest can."""
    stand.set(interval=PAUSE_INTERVAL, max_latency=PAUSE_INTERVAL, min_interval=PAUSE_INTERVAL, max_overhead=0.9)

    def under_writes(rate: int) -> list[float]:
        load = Load(stand.guest, "randwrite", seconds + 1, PAUSE_DEPTH, rate)
        time.sleep(0.5)
        found = _stops(stand, seconds)
        load.finish()
        return found

    return {
        "idle": stand.steady(lambda: _stops(stand, seconds)),
        "writes": stand.steady(lambda: under_writes(PAUSE_RATE)),
        "flat out": stand.steady(lambda: under_writes(0)),
    }


def _round(stand: Stand, order: list[str], seconds: float) -> dict:
    found: dict[str, dict] = {}
    before = _speeds(stand, seconds, False)
    for name in order:
        with _mode(stand, name):
            speeds = _speeds(stand, seconds, name in (MEMORY, REPLICATED))
            pauses = _pauses(stand, 2 * seconds) if name in (MEMORY, REPLICATED) else None
        after = _speeds(stand, seconds, False)
        found[name] = {"before": before, "speeds": speeds, "after": after, "pauses": pauses}
        before = after
    return found


def measure(quick: bool) -> Result:
    seconds, count = (1.0, 1) if quick else (1.5, 2)
    rounds = []
    with disk_stand("disk") as stand:
        stand.lab.host("B").run(["truncate", "-s", f"{DISK_MIB}M", "/run/host/peer.raw"])
        for index in range(count):
            rounds.append(_round(stand, [*MODES[index % 4:], *MODES[:index % 4]], seconds))
    replicated = [_ratio(r[REPLICATED], WORKS[1].name) for r in rounds]
    one = [_ratio(r[REPLICATED], WORKS[0].name) for r in rounds]
    growth = _growth(rounds)
    worst = 100 * min(median(replicated), median(one))
    return Result(
        name="disk",
        title="A guest's disk under protection",
        columns=["work", "mode", "per second", "of unprotected", "in the pairs", "p50 us", "p99 us"],
        rows=_rows(rounds),
        samples=rounds,
        plot=lambda axes: _plot(axes, rounds),
        targets=[
            Target("random writes of a replicated disk, of unprotected", f"≥ {LIMIT_PERCENT} %",
                   f"{100 * median(one):.0f} % (1 at once), {100 * median(replicated):.0f} % (16 at once)", worst >= LIMIT_PERCENT),
            Target("growth of the pause under writes, by the disk being replicated", f"≤ {LIMIT_GROWTH_MS} ms",
                   f"{growth:.2f} ms (median)", growth <= LIMIT_GROWTH_MS),
        ],
        notes=[*_pause_notes(rounds), *stand.losses_note()],
    )  # fmt: skip


def _ratio(found: dict, work: str) -> float:
    """One mode's figure against the mean of the unprotected ones around it."""
    return found["speeds"][work]["per_s"] * 2 / (found["before"][work]["per_s"] + found["after"][work]["per_s"])


def _rows(rounds: list[dict]) -> list[list]:
    rows = []
    for work in WORKS:
        bare = [part[side][work.name] for r in rounds for part in r.values() for side in ("before", "after")]
        rows.append([f"{work.name}, {work.per_s}", UNPROTECTED, *_typical(bare, 1.0, "")])
        for mode in MODES:
            ratios = sorted(_ratio(r[mode], work.name) for r in rounds)
            spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
            rows.append(["", mode, *_typical([r[mode]["speeds"][work.name] for r in rounds], median(ratios), spread)])
    return rows


def _typical(figures: list[dict], ratio: float, spread: str) -> list:
    return [median([f["per_s"] for f in figures]), ratio, spread, round(median([f["p50_us"] for f in figures])),
            round(median([f["p99_us"] for f in figures]))]  # fmt: skip


def _pooled(rounds: list[dict], mode: str, load: str) -> list[float]:
    return [pause for r in rounds for pause in r[mode]["pauses"][load]]


def _growth(rounds: list[dict]) -> float:
    """What replicating the disk adds to the pause under the same writes: by rounds, then the median."""
    return median([median(r[REPLICATED]["pauses"]["writes"]) - median(r[MEMORY]["pauses"]["writes"]) for r in rounds])


def _pause_notes(rounds: list[dict]) -> list[str]:
    notes = []
    loads = {"idle": "without disk activity", "writes": f"under {PAUSE_RATE} random writes of 4 KiB a second",
             "flat out": f"under as many as the guest can, {PAUSE_DEPTH} at once"}  # fmt: skip
    for load, what in loads.items():
        for mode in (MEMORY, REPLICATED):
            pauses = _pooled(rounds, mode, load)
            notes.append(f"- Pause {what}, {mode}: p50 {median(pauses):.2f} ms, p99 {quantile(pauses, 0.99):.2f} ms "
                         f"({len(pauses)} pauses)")  # fmt: skip
    return notes


def _plot(axes, rounds: list[dict]) -> None:
    width = 0.8 / len(MODES)
    for index, mode in enumerate(MODES):
        places = [i + index * width for i in range(len(WORKS))]
        shares = [[100 * _ratio(r[mode], work.name) for r in rounds] for work in WORKS]
        axes.bar(places, [median(share) for share in shares], width, label=mode)
        for place, share in zip(places, shares):
            axes.scatter([place] * len(share), share, s=6, color="black", zorder=3)
    axes.axhline(LIMIT_PERCENT, color="tab:red", linestyle="--", linewidth=1, label=f"{LIMIT_PERCENT} %: target of random writes")
    labels = [work.name.replace(", ", "\n").replace(" + ", "\n+ ") for work in WORKS]
    axes.set_xticks([i + 0.4 - width / 2 for i in range(len(WORKS))], labels, fontsize=7)
    axes.set(ylabel="of the unprotected disk, %")
    axes.legend(fontsize=7)
