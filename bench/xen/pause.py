"""How long a guest stands still for a checkpoint, against its dirty pages: ours beside stock `xl remus`, on the same guest.

Sessions of stock and ours take turns. In each, the guest's `sweep` goes through all numbers of dirty pages by itself: nobody
talks to the guest while it is measured. So each checkpoint is a sample with a number of pages of its own; a row of the table
is a range of them. Three eyes:

  copy     the part that depends on the pages, as who copies tells it (sessions.py)
  still    that the guest did not run, as Xen's scheduler saw it (trace.py): the same eye for both
  guest    that no program of the guest ran, as a program of the guest saw it (gaps.c): with what a cooperative guest's
           own kernel takes to freeze and thaw
"""

import os
import time
from dataclasses import asdict

from bench.suite.figures import markdown, median
from bench.suite.result import Result, Target
from bench.xen.sessions import Epoch, Ours, Session, Stock
from bench.xen.stand import XenStand, hosts, stand
from bench.xen.trace import stop_of

KINDS = ("pvh", "pv", "hvm-nopv")
COOPERATIVE = ("pvh", "pv")
INTERVALS_MS = (20, 200)
LEVELS = (10, 100, 1000, 5000, 20000)
QUICK_LEVELS = (10, 1000, 5000)
EDGES = (0, 250, 750, 1500, 3500, 7500, 15000, 1 << 32)
AT = 3  # the range of about 1000 pages, where targets are: 750 to 1500
LIMITS = {"copy": 10, "still": 10, "guest": 2}


def _session(stand_: XenStand, maker: type[Session], interval_ms: int, seconds: float) -> dict:
    """One session from its start to its end, of which `seconds` are watched."""
    stand_.gaps_ms()
    session = maker(stand_, interval_ms)
    try:
        first = len(session.epochs())
        _, stops = stand_.watch(lambda: session.last(seconds))
        epochs = session.epochs()[first:]
    finally:
        session.stop()
    gaps = stand_.gaps_ms()[: len(session.epochs())]
    return {
        "maker": session.name,
        "kind": stand_.kind,
        "interval_ms": interval_ms,
        "load": os.getloadavg()[0],
        "checkpoints_per_s": len(epochs) / seconds,
        "guest_gap_ms": median(gaps),
        "epochs": [_sample(epoch, stops) for epoch in epochs],
    }


def _sample(epoch: Epoch, stops: list) -> dict:
    stop = stop_of(stops, epoch.clock)
    return {**asdict(epoch), "still_ms": stop.ms if stop else None}


def sessions(quick: bool, kinds: tuple[str, ...]) -> list[dict]:
    levels = QUICK_LEVELS if quick else LEVELS
    level_s = 1 if quick else 2
    run = f"gaps,sweep:{level_s}:" + ":".join(map(str, levels))
    found = []
    with hosts("pause") as lab:
        lab.host("B").power_cut()  # nobody sends anything there
        for kind in kinds:
            with stand(lab, kind, run) as stand_:
                for interval_ms in INTERVALS_MS[:1] if quick else INTERVALS_MS:
                    for maker in (Stock, Ours):
                        found.append(_session(stand_, maker, interval_ms, len(levels) * level_s))
                        print(_line(found[-1]), flush=True)
    return found


def _line(session: dict) -> str:
    return (
        f"{session['kind']} every {session['interval_ms']} ms, {session['maker']}: {len(session['epochs'])} checkpoints, "
        f"{session['checkpoints_per_s']:.1f}/s, seen by the guest {session['guest_gap_ms']:.1f} ms (load {session['load']:.1f})"
    )


def _epochs(found: list[dict], kind: str, interval_ms: int, maker: str, low: int, high: int) -> list[dict]:
    return [
        epoch
        for session in found
        if (session["kind"], session["interval_ms"], session["maker"]) == (kind, interval_ms, maker)
        for epoch in session["epochs"]
        if low <= epoch["pages"] < high and epoch["still_ms"] is not None
    ]


def _middle(epochs: list[dict], key: str) -> float:
    return median([epoch[key] for epoch in epochs])


def _rows(found: list[dict]) -> list[list]:
    rows = []
    for kind, interval_ms in sorted({(session["kind"], session["interval_ms"]) for session in found}):
        for low, high in zip(EDGES, EDGES[1:]):
            stock = _epochs(found, kind, interval_ms, Stock.name, low, high)
            ours = _epochs(found, kind, interval_ms, Ours.name, low, high)
            if len(stock) < 2 or len(ours) < 2:
                continue
            row = [kind, interval_ms, low, f"{len(stock)}, {len(ours)}", *[round(_middle(of, "pages")) for of in (stock, ours)]]
            for key in ("copy_ms", "still_ms"):
                theirs, own = _middle(stock, key), _middle(ours, key)
                row += [theirs, own, theirs / own]
            rows.append(row)
    return rows


def _guest_rows(found: list[dict]) -> list[list]:
    rows = []
    for kind, interval_ms in sorted({(session["kind"], session["interval_ms"]) for session in found}):
        row: list = [kind, interval_ms]
        for key in ("guest_gap_ms", "checkpoints_per_s"):
            figures = [
                median([s[key] for s in found if (s["kind"], s["interval_ms"], s["maker"]) == (kind, interval_ms, maker)])
                for maker in (Stock.name, Ours.name)
            ]
            row += [*figures, figures[0] / figures[1]] if key == "guest_gap_ms" else figures
        rows.append(row)
    return rows


def _targets(rows: list[list], guest_rows: list[list]) -> list[Target]:
    """The worst of all kinds and intervals of each."""
    at = [row for row in rows if row[2] == EDGES[AT - 1]]
    pairs = {
        "copy part of the pause at about 1000 pages": (LIMITS["copy"], [row[8] for row in at]),
        "pause of a guest without PV drivers, as Xen saw it": (LIMITS["still"], [row[11] for row in rows if row[0] not in COOPERATIVE]),
        "pause of a cooperative guest, as the guest saw it": (LIMITS["guest"], [row[4] for row in guest_rows if row[0] in COOPERATIVE]),
        "pause of a cooperative guest, as Xen saw it": (LIMITS["guest"], [row[11] for row in rows if row[0] in COOPERATIVE]),
    }
    return [
        Target(what, f"≤ 1/{limit} of stock's", f"1/{min(ratios):.1f} at worst, 1/{median(ratios):.1f} in the middle", min(ratios) >= limit)
        for what, (limit, ratios) in pairs.items()
        if ratios
    ]


def measure(quick: bool, kinds: tuple[str, ...] = KINDS) -> Result:
    found = sessions(quick, kinds)
    rows, guest_rows = _rows(found), _guest_rows(found)
    guest_columns = ["guest", "interval ms", "seen by the guest: stock ms", "ours ms", "stock / ours", "checkpoints/s: stock", "ours"]
    return Result(
        name="xen-pause",
        title="Pause on Xen against dirty pages, beside stock xl remus",
        columns=["guest", "interval ms", "pages from", "checkpoints", "pages: stock", "ours"]
        + ["copy: stock ms", "ours ms", "stock / ours", "still: stock ms", "ours ms", "stock / ours"],
        rows=rows,
        samples=found,
        plot=lambda axes: _plot(axes, found),
        targets=_targets(rows, guest_rows),
        notes=[markdown(guest_columns, guest_rows)],
    )


def _plot(axes, found: list[dict]) -> None:
    for kind_index, kind in enumerate(sorted({session["kind"] for session in found})):
        for maker, mark in ((Stock.name, "x"), (Ours.name, "o")):
            epochs = [e for s in found if (s["kind"], s["maker"]) == (kind, maker) for e in s["epochs"] if e["still_ms"]]
            pages, still = [max(1, e["pages"]) for e in epochs], [e["still_ms"] for e in epochs]
            axes.scatter(pages, still, s=9, alpha=0.5, marker=mark, color=f"C{kind_index}", label=f"{kind}: {maker}")
    axes.set(xscale="log", yscale="log", xlabel="dirty pages of the checkpoint", ylabel="the guest stood still, ms")
    axes.legend(fontsize=7)
