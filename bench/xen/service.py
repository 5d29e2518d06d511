"""What a protected guest has left for those it serves: ours beside stock `xl remus`, on the same two hosts.

Each mode gets a guest of its own, which is measured unprotected, and then protected: its figures are compared with its own. Three
things, one after the other:

  checkpoints  how many a second, while nobody asks the guest anything
  requests     one of 64 bytes at a time to the echo server, with different waits in between, so that no client falls into step
               with checkpoints; the time to the answer
  work         units a second of cpu-bench, alone and beside mixed-work, by the client's clock

Stock is asked for what it has: neither network nor disk is buffered, so its answers leave the host at once, whether the other host has the
checkpoint or not. Ours leave when it has. Nothing dies here, so stock's two-way connections live.
"""

import time

from bench.suite.figures import median, quantile
from bench.suite.result import Result
from bench.xen.peers import Ours, Protection, Stock, hosts, protected
from lab.common.errors import LabError
from lab.xen import Lab
from lab.xen.guest import Guest

KINDS = ("pvh", "pv", "hvm", "hvm-nopv")
INTERVALS_MS = (20, 200)
WAITS_S = (0.003, 0.011, 0.019)
WORK = {"cpu-bench": (), "beside mixed-work": ("mixed-work",)}
REQUESTS_S_MAX = 300
SETTLE_S = 2
ATTEMPTS = 2


def _rate(read, seconds: float) -> float:
    """How much a count grows a second of this machine's clock."""
    first, start = read(), time.monotonic()
    time.sleep(seconds)
    last, end = read(), time.monotonic()
    return (last - first) / (end - start)


def _requests(lab: Lab, guest: Guest, count: int) -> list[float]:
    found = []
    for wait in WAITS_S:
        words = ["latency", guest.spec.address, "--requests", count, "--pause", wait, "--samples"]
        verdict = lab.client(*words, name="latency").wait(REQUESTS_S_MAX)
        if not verdict["ok"]:
            raise LabError(f"requests failed: {verdict['reasons']}")
        found += verdict["samples_ms"]
    return found


def _work(guest: Guest, seconds: float) -> dict[str, float]:
    found = {}
    guest.start("cpu-bench")
    for name, beside in WORK.items():
        if beside:
            guest.start(*beside)
        time.sleep(SETTLE_S)
        found[name] = _rate(lambda: guest.stat("cpu"), seconds)
    guest.stop("cpu-bench", *(program for beside in WORK.values() for program in beside))
    return found


def _served(lab: Lab, guest: Guest, count: int, seconds: float) -> dict:
    return {"latency_ms": _requests(lab, guest, count), "work": _work(guest, seconds)}


def _mode(lab: Lab, kind: str, protection: Protection, count: int, seconds: float) -> dict:
    unprotected: dict = {}
    measure = lambda guest: unprotected.update(_served(lab, guest, count, seconds))  # noqa: E731
    with protected(lab, kind, protection, "echo-server", before=measure) as guest:
        time.sleep(SETTLE_S)
        rate = _rate(protection.checkpoints, seconds)
        found = _served(lab, guest, count, seconds)
        protection.checkpoints()  # fails if protection was lost in the midst
    return {"kind": kind, "by": protection.name, "checkpoints_per_s": rate, "unprotected": unprotected, **found}


def _again(lab: Lab, kind: str, maker, count: int, seconds: float) -> dict:
    """An emulated host on a busy machine may stall so long that protection, or an answer, is lost."""
    for again in range(ATTEMPTS):
        try:
            return {**_mode(lab, kind, maker(), count, seconds), "again": again}
        except LabError as error:
            print(f"{kind}: {error}; once more", flush=True)
    raise LabError(f"{kind}: not measured in {ATTEMPTS} attempts")


def measure(quick: bool, kinds: tuple[str, ...] = KINDS) -> Result:
    count, seconds, rounds = (20, 4.0, 1) if quick else (40, 8.0, 2)
    samples = []
    with hosts("service") as lab:
        for _ in range(rounds):
            for kind in kinds:
                for maker in (*((lambda ms=ms: Stock(ms)) for ms in INTERVALS_MS), Ours):
                    samples.append(_again(lab, kind, maker, count, seconds))
                    print(_line(samples[-1]), flush=True)
    return Result(
        name="xen-service",
        title="Service of a protected Xen guest, beside stock xl remus",
        columns=["guest", "protected by", "checkpoints/s", "p50 ms", "p90 ms", "p99 ms", *(f"{name}, of unprotected" for name in WORK)],
        rows=_rows(samples),
        samples=samples,
        plot=lambda axes: _plot(axes, samples),
        notes=[f"Measured again because protection or an answer was lost in the midst: {sum(s['again'] for s in samples)}."],
    )


def _line(sample: dict) -> str:
    work = ", ".join(f"{name} {sample['work'][name] / sample['unprotected']['work'][name]:.2f}" for name in WORK)
    p50 = median(sample["latency_ms"]), median(sample["unprotected"]["latency_ms"])
    return f"{sample['kind']}, {sample['by']}: {sample['checkpoints_per_s']:.1f}/s, p50 {p50[0]:.1f} ms ({p50[1]:.1f} unprotected), {work}"


def _latencies(of: list[dict]) -> list[float]:
    pooled = [value for sample in of for value in sample["latency_ms"]]
    return [median(pooled), quantile(pooled, 0.9), quantile(pooled, 0.99)]


def _rows(samples: list[dict]) -> list[list]:
    rows = []
    for kind in dict.fromkeys(sample["kind"] for sample in samples):
        mine = [sample for sample in samples if sample["kind"] == kind]
        rows.append([kind, "nobody", 0.0, *_latencies([sample["unprotected"] for sample in mine]), *(1.0 for _ in WORK)])
        for by in dict.fromkeys(sample["by"] for sample in mine):
            its = [sample for sample in mine if sample["by"] == by]
            shares = [median([s["work"][name] / s["unprotected"]["work"][name] for s in its]) for name in WORK]
            rows.append([kind, by, median([s["checkpoints_per_s"] for s in its]), *_latencies(its), *shares])
    return rows


def _plot(axes, samples: list[dict]) -> None:
    kinds = list(dict.fromkeys(sample["kind"] for sample in samples))
    styles = dict(zip(kinds, ("-", "--", ":", "-."), strict=False))
    modes = list(dict.fromkeys(sample["by"] for sample in samples))
    for kind in kinds:
        for index, by in enumerate(modes):
            pooled = sorted(value for s in samples if (s["kind"], s["by"]) == (kind, by) for value in s["latency_ms"])
            if pooled:
                share = [100 * (place + 1) / len(pooled) for place in range(len(pooled))]
                axes.plot(pooled, share, styles[kind], color=f"C{index}", label=f"{kind}: {by}")
    axes.set(xscale="log", xlabel="latency, ms", ylabel="requests answered by then, %")
    axes.legend(fontsize=6)
