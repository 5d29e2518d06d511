"""How long a guest stood still, as Xen's own scheduler saw it: the same eye for whoever stops it, and by whatever means.

`xentrace` records the scheduler's events with the processor's cycle counter. A vCPU is put to sleep (SLEEP) when its domain is
paused or has suspended itself; it goes on with the first change to 'runnable' or 'running' after that. One that was idle when
it was stopped and still is when it goes on changes nothing: there, the WAKE counts. A stop within a stop, as Xen does
itself to read the dirty log, is part of the outer one.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

MASK = 0x00029000  # the scheduler's events: runstates (0x21000) and the rest (0x28000)
_CPU_CHANGE = 0x0001F003
_RUNSTATE = 0x00021001
_SLEEP = 0x00028003
_WAKE = 0x00028004
_RUNNING, _RUNNABLE, _BLOCKED, _OFFLINE = range(4)


@dataclass(frozen=True)
class Stop:
    """From when to when a guest stood still, by the processor's clock, and how long that is."""

    start: int
    end: int
    ms: float


def _records(content: bytes):
    """(cycles, event, words) of each record, in the order of the file."""
    at = 0
    while at + 4 <= len(content):
        (head,) = struct.unpack_from("<I", content, at)
        event, words, timed = head & 0x0FFFFFFF, head >> 28 & 7, head >> 31
        at += 4
        cycles = 0
        if at + 8 * timed + 4 * words > len(content):
            return  # cut off by the end of the recording
        if timed:
            (cycles,) = struct.unpack_from("<Q", content, at)
            at += 8
        yield cycles, event, struct.unpack_from(f"<{words}I", content, at)
        at += 4 * words


class _Vcpu:
    def __init__(self) -> None:
        self.stopped: int | None = None
        self.woken: int | None = None  # while it was idle and stopped: perhaps the end
        self.state: int | None = None
        self.stops: list[tuple[int, int]] = []

    def sleep(self, now: int) -> None:
        if self.stopped is None:
            self.stopped = now
        self.woken = None

    def wake(self, now: int) -> None:
        if self.stopped is not None and self.state == _BLOCKED:
            self.woken = now

    def change(self, now: int, new: int) -> None:
        self.state = new
        if new == _OFFLINE:
            self.sleep(now)
        elif new in (_RUNNING, _RUNNABLE) and self.stopped is not None:
            self.stops.append((self.stopped, self.woken or now))
            self.stopped = self.woken = None


def stops(recording: Path | bytes, domid: int, mhz: float, vcpu: int = 0) -> list[Stop]:
    """Every time the domain's vCPU stood still."""
    content = recording if isinstance(recording, bytes) else recording.read_bytes()
    events = [
        (cycles, event, words)
        for cycles, event, words in _records(content)
        if cycles and words and (event & 0xFFFFF00F == _RUNSTATE or event in (_SLEEP, _WAKE))
    ]
    events.sort(key=lambda found: found[0])  # each processor's records are in order, the processors' are not
    watched = _Vcpu()
    for cycles, event, words in events:
        if event in (_SLEEP, _WAKE):
            if words[:2] == (domid, vcpu):
                (watched.sleep if event == _SLEEP else watched.wake)(cycles)
        elif (words[0] >> 16, words[0] & 0xFFFF) == (domid, vcpu):
            watched.change(cycles, event >> 4 & 3)
    return [Stop(first, last, (last - first) / mhz / 1000) for first, last in watched.stops]


def stop_of(found: list[Stop], clock: int) -> Stop | None:
    """The one that holds this moment."""
    return next((stop for stop in found if stop.start <= clock <= stop.end), None)
