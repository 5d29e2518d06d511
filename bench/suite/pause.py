"""Guest pause against dirty pages a checkpoint; as peer, what stock QEMU can do by itself: stop, save all, go on."""

import time

from bench.suite.figures import median, quantile
from bench.suite.result import Result, Target
from bench.suite.stand import PATIENT, Stand, stand

FULL = (10, 100, 500, 1000, 2000, 5000, 10000, 20000)
QUICK = (100, 2000, 10000)


def _snapshot_ms(stand_: Stand, rounds: int) -> list[float]:
    """Pauses of a snapshot by QEMU's own means: stop, migrate everything to nowhere, cont.

    The guest is stopped from STOP to RESUME as QEMU's own events tell it, as for the product.
    """
    pauses = []
    with stand_.guest.qmp() as qmp:
        qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        for _ in range(rounds):
            before = len(qmp.events)
            qmp.command("stop")
            qmp.command("migrate", uri="exec:cat > /dev/null")
            deadline = time.monotonic() + 30
            while (state := qmp.command("query-migrate").get("status")) != "completed":
                if state in ("failed", "cancelled") or time.monotonic() > deadline:
                    raise RuntimeError(f"QEMU's own migration to a file ended as '{state}'")
                time.sleep(0.005)
            qmp.command("cont")
            while not any(event["event"] == "RESUME" for event in qmp.events[before:]):
                qmp.command("query-status")
            pauses.append(_between(qmp.events[before:], "STOP", "RESUME"))
            time.sleep(0.3)
    return pauses


def _between(events: list[dict], first: str, last: str) -> float:
    def when(name: str, of: list[dict]) -> float:
        stamp = next(event["timestamp"] for event in of if event["event"] == name)
        return stamp["seconds"] * 1000 + stamp["microseconds"] / 1000

    return when(last, list(reversed(events))) - when(first, events)


def _point(stand_: Stand, pages: int, seconds: float) -> list:
    """Checkpoints with about this many dirty pages."""
    interval_s = 0.25 if pages <= 2000 else 0.5
    stand_.set(interval=f"{int(interval_s * 1000)}ms", max_latency=f"{int(interval_s * 1000)}ms")
    mib = max(1, pages * 4096 * 5 // 4 >> 20)
    rate = max(1, round(pages / interval_s))
    # 'sparse': 16 bytes of a page are enough to make it dirty; what a capture copies is the page, whatever is in it.
    with stand_.load(f"dirty:{mib}:{rate}:sparse", settle_s=1.0):
        return stand_.steady(lambda: stand_.checkpoints(seconds))


def measure(quick: bool) -> Result:
    seconds = 2.5 if quick else 6
    with stand("pause") as stand_:
        # The snapshot comes first, while the guest is as its user started it.
        snapshot = _snapshot_ms(stand_, 2 if quick else 5)
        stand_.protect(**PATIENT, interval="250ms", max_latency="250ms", max_overhead=0.9)
        idle = stand_.steady(lambda: stand_.checkpoints(seconds))
        series = {"idle": idle}
        for pages in QUICK if quick else FULL:
            series[str(pages)] = _point(stand_, pages, seconds)
    snapshot_ms = median(snapshot)
    rows = []
    for asked, points in series.items():
        pauses = [point.pause_ms for point in points]
        pages = median([point.dirty_pages for point in points])
        ratio = snapshot_ms / median(pauses)
        rows.append([asked, len(points), round(pages) if points else 0, median(pauses), quantile(pauses, 0.99), ratio])
    return Result(
        name="pause",
        title="Guest pause against dirty pages",
        columns=["pages asked", "checkpoints", "pages (median)", "pause p50 ms", "pause p99 ms", "QEMU snapshot / ours"],
        rows=rows,
        samples={"checkpoints": {key: [p.__dict__ for p in value] for key, value in series.items()}, "snapshot_ms": snapshot},
        plot=lambda axes: _plot(axes, series, snapshot_ms),
        targets=_targets(series),
        notes=[
            f"Peer: QEMU's own stop, migrate all 256 MiB to /dev/null, cont: {snapshot_ms:.0f} ms (median of {len(snapshot)}).",
            *stand_.losses_note(),
        ],
    )


def _targets(series: dict) -> list[Target]:
    targets = []
    for key, what, limit in (("idle", "pause of an idle guest", 1.5), ("2000", "pause at 2000 dirty pages", 8.0)):
        value = median([point.pause_ms for point in series.get(key, [])])
        targets.append(Target(what, f"≤ {limit} ms", f"{value:.2f} ms (median)", value <= limit))
    return targets


def _plot(axes, series: dict, snapshot_ms: float) -> None:
    points = [point for part in series.values() for point in part]
    axes.scatter([p.dirty_pages for p in points], [p.pause_ms for p in points], s=8, alpha=0.4, label="each checkpoint")
    medians = sorted((median([p.dirty_pages for p in part]), median([p.pause_ms for p in part])) for part in series.values())
    axes.plot(*zip(*medians), "o-", color="black", markersize=4, label="median")
    axes.axhline(snapshot_ms, color="tab:red", linestyle="--", label="stock QEMU: stop, save all, cont")
    axes.set(xscale="log", yscale="log", xlabel="dirty pages of the checkpoint", ylabel="pause, ms")
    axes.legend(fontsize=8)
