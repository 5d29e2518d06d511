"""How long it takes to know that a guest that was asked to suspend itself stands still, and to have it run again; in four ways.

Setup: thread, handles and event channel kept from one suspend to the next (the product), or made for each. Notice: the event channel that
Xen raises for suspends (the product), or xenstored's @releaseDomain (Xen's own toolstack). Linux offers no event channel for the request, so
that goes through xenstore in all four. Low load: the guest is idle. High load: it computes, and writes 20,000 pages a second.
"""

from bench.suite.figures import median, quantile
from bench.suite.result import Result
from bench.xen.stand import NAME, XenStand, hosts, stand

KINDS = ("pvh", "pv")
SETUPS = ("kept", "made")
NOTICES = ("event", "xenstore")
LOADS = {"low": (), "high": ("cpu-bench", "dirty:64:20000:text")}


def _rounds(stand_: XenStand, setup: str, notice: str, rounds: int) -> list[tuple[float, float]]:
    host = stand_.host
    words = [host.program("bench_xen_suspend"), NAME, rounds, setup, notice]
    lines = host.run(words, timeout=900).stdout.splitlines()
    if not stand_.runs():
        raise RuntimeError(f"{setup}, {notice}: the guest does not run")
    return [(int(line.split()[1]) / 1000, int(line.split()[3]) / 1000) for line in lines]


def measure(quick: bool, kinds: tuple[str, ...] = KINDS) -> Result:
    rounds = 20 if quick else 100
    samples = []
    with hosts("suspend") as lab:
        lab.host("B").power_cut()
        for kind in (kind for kind in kinds if kind in KINDS):
            with stand(lab, kind, "echo-server") as stand_:
                for load, programs in LOADS.items():
                    if programs:
                        stand_.guest.start(*programs)
                    for notice in NOTICES:
                        for setup in SETUPS:
                            found = _rounds(stand_, setup, notice, rounds)
                            samples.append({"kind": kind, "load": load, "notice": notice, "setup": setup, "rounds": found})
                            print(kind, load, notice, setup, median([stopped for stopped, _ in found]), flush=True)
    rows = []
    for sample in samples:
        stopped, resumed = ([pair[i] for pair in sample["rounds"]] for i in (0, 1))
        best = next(s for s in samples if {**s, "rounds": 0} == {**sample, "notice": "event", "setup": "kept", "rounds": 0})
        row = [sample[key] for key in ("kind", "load", "notice", "setup")]
        rows.append([*row, len(stopped), median(stopped), quantile(stopped, 0.9), median(resumed)])
        rows[-1].append(median(resumed) / median([pair[1] for pair in best["rounds"]]))
    return Result(
        name="xen-suspend",
        title="Suspending a cooperative guest on Xen, in four ways",
        columns=["guest", "load", "notice", "setup", "rounds", "stopped after ms", "p90", "runs again after ms", "of the product's"],
        rows=rows,
        samples=samples,
        plot=lambda axes: _plot(axes, samples),
    )


def _plot(axes, samples: list[dict]) -> None:
    axes.boxplot([[pair[1] for pair in sample["rounds"]] for sample in samples], showfliers=False)
    labels = [f"{s['kind']} {s['load']}\n{s['notice']}\n{s['setup']}" for s in samples]
    axes.set_xticks(range(1, len(samples) + 1), labels, fontsize=5)
    axes.set(ylabel="asked to running again, ms", ylim=(0, None))
