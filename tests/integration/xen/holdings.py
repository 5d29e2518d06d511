"""What a host holds for the domains it protects or keeps standbys of: memory, descriptors, foreign mappings, event channels."""

from dataclasses import dataclass

from leaks import LSEVTCHN

PROGRAMS = ("remusd", "remus-guard", "remus-keeper", "remus-xen-standby")
# One line a process: pid, program, then each figure. One program a process of ours is all that it starts: the host is busy enough.
# The kernel cuts names of processes at 15 characters.
LOOK = r"""
cd /proc
for pid in [0-9]*; do
  { read -r name < $pid/comm; } 2> /dev/null || continue
  program=
  for each in $0; do [ "${each:0:15}" = "$name" ] && program=$each; done
  [ "$program" ] || continue
  fds=($pid/fd/*) tasks=($pid/task/*)
  figures=$(awk '/^Pss:/ { pss = $2 } /^VmPTE:/ { tables = $2 } /privcmd/ { foreign++ }
    END { print pss + 0, tables + 0, FDS, TASKS, foreign + 0 }' FDS=${#fds[@]} TASKS=${#tasks[@]} $pid/smaps_rollup $pid/status $pid/maps)
  echo "$pid $program $figures"
done
"""


@dataclass(frozen=True)
class Process:
    """A process of the product in a dom0."""

    pid: int
    program: str
    pss_kib: int  # its own memory, and its share of what it shares; foreign mappings are not in it
    tables_kib: int  # its page tables: they grow with what it maps, foreign memory included
    descriptors: int
    threads: int
    foreign_maps: int

    @property
    def own_kib(self) -> int:
        return self.pss_kib + self.tables_kib


@dataclass(frozen=True)
class Holdings:
    """Of one host at one moment."""

    processes: tuple[Process, ...]
    event_channels: int  # of the dom0
    xen_free_mib: int
    dom0_available_kib: int

    @property
    def own_kib(self) -> int:
        """All memory of the product's processes, with their page tables."""
        return sum(process.own_kib for process in self.processes)


def holdings(host) -> Holdings:
    found = []
    for line in host.run(["bash", "-c", LOOK, " ".join(PROGRAMS)], timeout=120).stdout.splitlines():
        pid, program, *figures = line.split()
        found.append(Process(int(pid), program, *map(int, figures)))
    script = (
        f"{LSEVTCHN} 0 | wc -l; xl info | sed -n 's/^free_memory *: //p'; sed -n 's/^MemAvailable:[^0-9]*//p' /proc/meminfo"
    )
    channels, free, available = (int(line.split()[0]) for line in host.shell(script).splitlines())
    return Holdings(tuple(sorted(found, key=lambda process: process.pid)), channels, free, available)


def growth(before: Holdings, after: Holdings, kib_max: int) -> list[str]:
    """In words, what has grown between two looks at a host; `kib_max`: of a process's memory."""
    found = []
    old = {process.pid: process for process in before.processes}
    if set(old) != {process.pid for process in after.processes}:
        return [f"other processes: {before.processes} before, {after.processes} after"]
    for now in after.processes:
        was = old[now.pid]
        if now.own_kib - was.own_kib > kib_max:
            found.append(f"{now.program} ({now.pid}): {was.own_kib} to {now.own_kib} KiB")
        for what in ("descriptors", "threads", "foreign_maps"):
            if getattr(now, what) > getattr(was, what):
                found.append(f"{now.program} ({now.pid}): {what} {getattr(was, what)} to {getattr(now, what)}")
    if after.event_channels > before.event_channels:
        found.append(f"event channels {before.event_channels} to {after.event_channels}")
    if after.xen_free_mib < before.xen_free_mib:
        found.append(f"Xen's free memory {before.xen_free_mib} to {after.xen_free_mib} MiB")
    return found
