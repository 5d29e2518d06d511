"""What protection takes of either host's memory, per GiB of guest: guests of several sizes, and the line through their figures.

The slope is what a GiB of guest costs, the rest is what any guest costs. Looked at with the guest under `dirty`, so that what is taken
as pages arrive (the cache of page contents, 64 MiB, and the epochs' buffers) is taken.

  own    the product's processes: private memory, their share of what they share, and their page tables, which grow with the guest's
         memory that they map. Not that memory itself: on the backup it is the waiting domain's, and Xen's to give
  Xen    of Xen's free memory, what is gone since the guest ran unprotected (primary; log of written pages), or beyond the size of the
         guest since there was none (backup)
"""

import time

from bench.suite.result import Result
from bench.xen.peers import PATIENT, Ours, hosts, protected
from lab.xen import Lab

KINDS = ("pvh", "pv")
SIZES_MIB = (192, 512, 896)
QUICK_SIZES_MIB = (192, 896)
DIRTY = "dirty:72:2000:text"  # MiB, pages a second: more than the cache holds
SETTLE_S = 40
QUICK_SETTLE_S = 20
PACE = ("--interval", "250ms")
PROGRAMS = "remus-guard remus-xen-standby"
LOOK = r"""
cd /proc
for pid in [0-9]*; do
  program=$(readlink $pid/exe)
  case " $0 " in *" ${program##*/} "*) ;; *) continue ;; esac
  sed -n 's/^Pss: *\([0-9]*\) kB/\1/p' $pid/smaps_rollup
  sed -n 's/^VmPTE:[^0-9]*\([0-9]*\) kB/\1/p' $pid/status
done
"""


def _own_mib(host) -> float:
    found = host.run(["bash", "-c", LOOK, PROGRAMS]).stdout.split()
    return sum(map(int, found)) / 1024


def _xen_free_mib(host) -> int:
    return int(host.shell("xl info | sed -n 's/^free_memory *: //p'"))


def _look(lab: Lab, kind: str, memory_mib: int, settle_s: float) -> list[dict]:
    free: dict[str, int] = {}

    def before(_) -> None:
        free.update({name: _xen_free_mib(host) for name, host in lab.hosts.items()})

    with protected(lab, kind, Ours(options=(*PATIENT, *PACE)), DIRTY, memory_mib=memory_mib, before=before) as guest:
        time.sleep(settle_s)
        found = []
        for name, host in lab.hosts.items():
            gone = free[name] - _xen_free_mib(host) - (memory_mib if name == "B" else 0)
            side = "primary" if name == "A" else "backup"
            found.append({"kind": kind, "guest_mib": memory_mib, "side": side, "own_mib": _own_mib(host), "xen_mib": gone})
        assert guest.stat("dirty") > 0
    return found


def _line_through(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Slope and intercept, by least squares."""
    count = len(points)
    x_mean, y_mean = (sum(point[axis] for point in points) / count for axis in (0, 1))
    slope = sum((x - x_mean) * (y - y_mean) for x, y in points) / sum((x - x_mean) ** 2 for x, _ in points)
    return slope, y_mean - slope * x_mean


def measure(quick: bool, kinds: tuple[str, ...] = KINDS) -> Result:
    samples = []
    with hosts("memory") as lab:
        for kind in kinds:
            for memory_mib in QUICK_SIZES_MIB if quick else SIZES_MIB:
                samples += _look(lab, kind, memory_mib, QUICK_SETTLE_S if quick else SETTLE_S)
                print(*samples[-2:], sep="\n", flush=True)
    rows = []
    for kind, side in dict.fromkeys((sample["kind"], sample["side"]) for sample in samples):
        its = [sample for sample in samples if (sample["kind"], sample["side"]) == (kind, side)]
        row: list = [kind, side]
        for key in ("own_mib", "xen_mib"):
            slope, fixed = _line_through([(sample["guest_mib"] / 1024, sample[key]) for sample in its])
            row += [" ".join(f"{sample[key]:.1f}" for sample in its), slope, fixed]
        rows.append(row)
    return Result(
        name="xen-memory",
        title="Memory that protection takes of Xen hosts",
        columns=["guest", "side", "own MiB at each size", "per GiB of guest", "and for any", "Xen's MiB", "per GiB of guest", "and for any"],
        rows=rows,
        samples=samples,
        plot=lambda axes: _plot(axes, samples),
    )


def _plot(axes, samples: list[dict]) -> None:
    for index, (kind, side) in enumerate(dict.fromkeys((s["kind"], s["side"]) for s in samples)):
        its = [s for s in samples if (s["kind"], s["side"]) == (kind, side)]
        axes.plot([s["guest_mib"] for s in its], [s["own_mib"] for s in its], "o-", color=f"C{index}", label=f"{kind}, {side}")
    axes.set(xlabel="guest, MiB", ylabel="the product's processes, MiB", xlim=(0, None), ylim=(0, None))
    axes.legend(fontsize=8)
