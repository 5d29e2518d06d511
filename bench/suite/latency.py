"""Latency of a small request, from the client: pacing by output against a fixed interval of 25 ms, and unprotected.

A client that asks again a fixed time after each answer falls into step with fixed checkpoints. So each figure pools runs
with different waits between requests.
"""

from bench.suite.figures import median, quantile
from bench.suite.result import Result
from bench.suite.stand import PATIENT, Stand, stand

LOADS = {"idle": (), "mixed-work": ("mixed-work",)}
WAITS_S = (0.003, 0.011, 0.019)
FIXED_MS = 25
MODES = ("unprotected", "output ends the epoch", f"fixed {FIXED_MS} ms")


def _requests(stand_: Stand, count: int) -> list[list[float]]:
    found = []
    for wait in WAITS_S:
        words = ["latency", stand_.guest.spec.address, "--requests", count, "--pause", wait, "--samples"]
        verdict = stand_.lab.client(*words, name="latency").wait(60)
        if not verdict["ok"]:
            raise RuntimeError(f"requests failed: {verdict['reasons']}")
        found.append(verdict["samples_ms"])
    return found


def _modes(stand_: Stand, count: int) -> dict[str, list[list[float]]]:
    found = {MODES[0]: _requests(stand_, count)}
    stand_.protect(**PATIENT)
    found[MODES[1]] = stand_.steady(lambda: _requests(stand_, count))
    fixed = f"{FIXED_MS}ms"
    stand_.set(interval=fixed, max_latency=fixed, min_interval=fixed)
    found[MODES[2]] = stand_.steady(lambda: _requests(stand_, count))
    stand_.unprotect()
    return found


def measure(quick: bool) -> Result:
    count = 50 if quick else 160
    samples = {}
    with stand("latency") as stand_:
        for name, programs in LOADS.items():
            with stand_.load(*programs, settle_s=2.0):
                samples[name] = _modes(stand_, count)
    rows = []
    for name, modes in samples.items():
        fixed = _p50(modes[MODES[2]])
        for mode in MODES:
            runs = modes[mode]
            pooled = [value for run in runs for value in run]
            rows.append(
                [name, mode, len(pooled), _p50(runs), quantile(pooled, 0.9), quantile(pooled, 0.99), fixed / _p50(runs)]
            )
    return Result(
        name="latency",
        title="Request latency, by how an epoch ends",
        columns=["guest", "mode", "requests", "p50 ms", "p90 ms", "p99 ms", "times faster than fixed"],
        rows=rows,
        samples=samples,
        plot=lambda axes: _plot(axes, samples),
        notes=stand_.losses_note(),
    )


def _p50(runs: list[list[float]]) -> float:
    return median([value for run in runs for value in run])


def _plot(axes, samples: dict) -> None:
    colours = {"idle": "-", "mixed-work": "--"}
    for name, modes in samples.items():
        for index, mode in enumerate(MODES):
            pooled = sorted(value for run in modes[mode] for value in run)
            share = [100 * (i + 1) / len(pooled) for i in range(len(pooled))]
            axes.plot(pooled, share, colours[name], color=f"C{index}", label=f"{name}: {mode}")
    axes.set(xscale="log", xlabel="latency, ms", ylabel="requests answered by then, %")
    axes.legend(fontsize=7)
