"""What a lab has made outside of its own processes, on file, so that it can be cleared away after any crash.

A lab notes each network namespace, process and large file *before* it relies on them. Processes are noted with their start time: a
pid that now belongs to somebody else is never signalled.
"""

import json
import os
import signal
import time
from pathlib import Path

from lab.common import paths
from lab.common.shell import run


def start_time(pid: int) -> int | None:
    """The process's start in clock ticks since boot, None if there is no such process (or only its zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class Registry:
    """The file of one lab: /run/remus-lab/<lab>.json."""

    def __init__(self, name: str) -> None:
        self.path = paths.REGISTRY / f"{name}.json"
        self._content = {
            "lab": name,
            "owner": [os.getpid(), start_time(os.getpid())],
            "netns": [],
            "processes": [],
            "files": [],
        }
        paths.REGISTRY.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(self._content), encoding="utf-8")
        try:
            os.link(unfinished, self.path)  # whole from the first moment, and refused if the name is taken
        finally:
            unfinished.unlink()

    def _write(self) -> None:
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(json.dumps(self._content), encoding="utf-8")
        unfinished.rename(self.path)

    def add_netns(self, name: str) -> None:
        if name not in self._content["netns"]:
            self._content["netns"].append(name)
            self._write()

    def add_process(self, pid: int) -> None:
        alive = [entry for entry in self._content["processes"] if start_time(entry[0]) == entry[1]]
        self._content["processes"] = [*alive, [pid, start_time(pid)]]
        self._write()

    def add_file(self, path: Path) -> None:
        """A file that is of no use once the lab is gone, such as a host's disk."""
        self._content["files"].append(str(path))
        self._write()

    def clear(self) -> None:
        """Ends and removes all that is noted, then the file itself."""
        clear(self.path)


def end_process(pid: int, started: int | None) -> None:
    """SIGKILL to exactly this process, and a wait (10 s at most) until it is gone."""
    if started is None or start_time(pid) != started:
        return
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + 10
    while start_time(pid) == started and time.monotonic() < deadline:
        time.sleep(0.01)


def clear(path: Path) -> None:
    """Clears one lab away, from its file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return  # somebody else cleared it
    for pid, started in reversed(content["processes"]):
        end_process(pid, started)
    for name in content["netns"]:
        if Path("/run/netns", name).exists():
            run(["ip", "netns", "delete", name], check=False)
    for name in content["files"]:
        Path(name).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def all_labs() -> list[tuple[Path, str, bool]]:
    """Every lab on file: (file, name, does its owner live?)."""
    found = []
    for path in sorted(paths.REGISTRY.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        pid, started = content["owner"]
        found.append((path, content["lab"], start_time(pid) == started))
    return found


def clear_orphans() -> list[str]:
    """Clears labs whose owner died without clearing up; returns their names."""
    cleared = []
    for path, name, alive in all_labs():
        if not alive:
            clear(path)
            cleared.append(name)
    return cleared
