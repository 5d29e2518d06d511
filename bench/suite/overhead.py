"""Work a guest gets done at 10, 20 and 40 checkpoints a second, against the same guest unprotected.

Rounds go through all rates, with the unprotected guest before and after, so that what else the machine does falls on all
alike; each round's ratio to its own unprotected figure counts, and the median of the rounds is shown. Time is the client's: a paused guest
does not notice that it stood still.
"""

import time

from bench.suite.figures import median
from bench.suite.result import Result
from bench.suite.stand import PATIENT, Stand, stand

RATES = (10, 20, 40)
# What runs beside cpu-bench, whose units are counted.
LOADS = {"cpu-bench": (), "cpu-bench beside mixed-work": ("mixed-work",)}


def _units_per_s(stand_: Stand, seconds: float) -> float:
    first, start = stand_.guest.stat("cpu"), time.monotonic()
    time.sleep(seconds)
    last, end = stand_.guest.stat("cpu"), time.monotonic()
    return (last - first) / (end - start)


def _protected(stand_: Stand, seconds: float) -> dict:
    before, start = stand_.status(), time.monotonic()
    units = _units_per_s(stand_, seconds)
    after, end = stand_.status(), time.monotonic()
    checkpoints = after["epoch"]["checkpoints_total"] - before["epoch"]["checkpoints_total"]
    return {
        "units_per_s": units,
        "checkpoints_per_s": checkpoints / (end - start),
        "paused": after["pause"]["overhead"],
        "dirty_pages": after["traffic"]["dirty_pages_avg"],
    }


def _round(stand_: Stand, seconds: float) -> dict:
    before = _units_per_s(stand_, seconds)
    found = {}
    stand_.protect(**PATIENT, interval="100ms", max_latency="100ms")
    for rate in RATES:
        stand_.set(interval=f"{1000 // rate}ms", max_latency=f"{1000 // rate}ms")
        time.sleep(0.5)
        found[str(rate)] = stand_.steady(lambda: _protected(stand_, seconds))
    stand_.unprotect()
    time.sleep(0.5)
    after = _units_per_s(stand_, seconds)
    return {"0": {"units_per_s": (before + after) / 2, "before": before, "after": after}, **found}


def measure(quick: bool) -> Result:
    seconds, rounds = (1.5, 1) if quick else (2.5, 3)
    samples: dict[str, list] = {}
    with stand("overhead") as stand_:
        for name, beside in LOADS.items():
            with stand_.load("cpu-bench", *beside, settle_s=2.0):
                samples[name] = [_round(stand_, seconds) for _ in range(rounds)]
    rows = []
    for name, found in samples.items():
        rows.append([name, "unprotected", 0.0, median([r["0"]["units_per_s"] for r in found]), 1.0, 0.0])
        for rate in map(str, RATES):
            rows.append(
                [
                    name,
                    f"{rate}/s",
                    median([r[rate]["checkpoints_per_s"] for r in found]),
                    median([r[rate]["units_per_s"] for r in found]),
                    median([r[rate]["units_per_s"] / r["0"]["units_per_s"] for r in found]),
                    100 * median([r[rate]["paused"] for r in found]),
                ]
            )
    return Result(
        name="overhead",
        title="Guest work under protection",
        columns=["workload", "asked", "checkpoints/s", "units/s", "of unprotected", "paused %"],
        rows=rows,
        samples=samples,
        plot=lambda axes: _plot(axes, samples),
        notes=["Beside mixed-work, the parts with a fixed rate make up for their pauses at cpu-bench's expense.", *stand_.losses_note()],
    )


def _plot(axes, samples: dict) -> None:
    for name, found in samples.items():
        shares = [median([r[str(rate)]["units_per_s"] / r["0"]["units_per_s"] for r in found]) for rate in RATES]
        axes.plot([0, *RATES], [100, *[100 * share for share in shares]], "o-", label=name)
        for rate in RATES:
            every = [100 * r[str(rate)]["units_per_s"] / r["0"]["units_per_s"] for r in found]
            axes.scatter([rate] * len(every), every, s=10, alpha=0.5, color="gray")
    axes.set(xlabel="checkpoints a second", ylabel="work done, % of unprotected", ylim=(0, 110))
    axes.legend(fontsize=8)
