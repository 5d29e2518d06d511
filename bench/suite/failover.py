"""Power cuts of the primary's host: time to detection, time to activation, and what a client's session noticed.

Each on hosts and a guest of its own, at a moment of its own, and each with a verified session: a failover that loses or
changes a byte is no figure but a failure.
"""

import random
import time

from bench.suite.figures import median
from bench.suite.result import Result, Target
from bench.suite.stand import NAME, stand

LIMIT_MS = 50
TAKEOVER_S = 15


def _one(index: int, load: tuple[str, ...]) -> dict:
    with stand(f"failover{index}") as stand_:
        stand_.protect()
        if load:
            stand_.guest.start(*load)
        session = stand_.lab.stream(stand_.guest)
        time.sleep(1.5 + random.Random(index).random())
        before = stand_.status()
        stand_.lab.host("A").power_cut()
        deadline = time.monotonic() + TAKEOVER_S
        while not (report := stand_.lab.remus_json("B", "status", NAME).get("guard", {}).get("failover")):
            if time.monotonic() > deadline:
                raise RuntimeError(f"host B has not taken over within {TAKEOVER_S} s; see {stand_.lab.directory}")
            time.sleep(0.1)
        time.sleep(1.5)
        verdict = session.finish()
        if not verdict["ok"]:
            raise RuntimeError(f"the session did not survive the failover: {verdict['reasons']}")
        return {
            "detected_ms": report["detected_ms"],
            "activation_ms": report["activation_ms"],
            "outage_ms": verdict["outage_ms"],
            "dirty_pages": before["traffic"]["dirty_pages_avg"],
            "records": verdict["records_in"],
            "loaded": bool(load),
        }


def measure(quick: bool) -> Result:
    count = 2 if quick else 5
    samples = [_one(index, ("mixed-work",) if index % 2 else ()) for index in range(count)]
    rows = []
    for index, found in enumerate(samples):
        load = "mixed-work" if found["loaded"] else "idle"
        rest = found["outage_ms"] - found["detected_ms"] - found["activation_ms"]
        rows.append([str(index + 1), load, found["detected_ms"], found["activation_ms"], found["outage_ms"], rest])
    keys = ("detected_ms", "activation_ms", "outage_ms")
    rows.append(["median", "", *[median([found[key] for found in samples]) for key in keys], median([row[5] for row in rows])])
    typical = median([found["activation_ms"] for found in samples])
    worst = max(found["activation_ms"] for found in samples)
    return Result(
        name="failover",
        title="Failover: detection, activation, outage",
        columns=["run", "guest", "detection ms", "activation ms", "outage seen by the client ms", "rest ms"],
        rows=rows,
        samples=samples,
        plot=lambda axes: _plot(axes, samples),
        targets=[
            Target(
                "activation after detection",
                f"≤ {LIMIT_MS} ms",
                f"median {typical:.0f} ms, worst {worst} ms",
                worst <= LIMIT_MS,
            )
        ],
        notes=["Rest: retransmission by the guest's and the client's TCP, less the part of the outage before the last sign."],
    )


def _plot(axes, samples: list[dict]) -> None:
    places = range(1, len(samples) + 1)
    detected = [found["detected_ms"] for found in samples]
    active = [found["activation_ms"] for found in samples]
    axes.bar(places, detected, label="detection")
    axes.bar(places, active, bottom=detected, label="activation")
    axes.scatter(places, [found["outage_ms"] for found in samples], color="black", zorder=3, label="outage seen by the client")
    axes.set_xticks(list(places))
    axes.set(xlabel="failover", ylabel="ms since the last sign of the primary")
    axes.legend(fontsize=8)
