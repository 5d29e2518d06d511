"""Who checkpoints: stock `xl remus`, and the product's capture. Both throw what they capture away, and tell of each checkpoint.

Both lines are of one form, written when the guest runs again: "epoch N: pause P us (stop S, copy C, device D), K pages, clock T". Stock
writes none of its own: tools/stopwatch.c stands between its helper and Xen's library.

  stop    from the request until it is known that the guest stands still
  copy    the dirty pages, with the log that names them
  device  what else the guest consists of: its processors' state, and with us that of its device model, which stock
          takes within `stop`
  pause   from "it stands still" until it runs again
"""

import re
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

from bench.xen.stand import HERE, NAME, XenStand
from lab.common.errors import LabError

START_S_MAX = 600
STOP_S_MAX = 300
WATCH_S_MAX = 900
LINE = re.compile(
    r"^epoch (\d+): pause (\d+) us \(stop (\d+), copy (\d+), device (\d+)\), (\d+) pages(?:, (\d+) zero.*)?, clock (\d+)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Epoch:
    """One checkpoint as who made it tells it; times in milliseconds."""

    number: int
    pages: int
    pause_ms: float
    stop_ms: float
    copy_ms: float
    device_ms: float
    clock: int  # the processor's, when it was known that the guest stands still


def parse(text: str) -> list[Epoch]:
    found = []
    for match in LINE.finditer(text):
        number, pause, stop, copy, device, pages, zero, clock = (int(group or 0) for group in match.groups())
        found.append(Epoch(number, pages + zero, pause / 1000, stop / 1000, copy / 1000, device / 1000, clock))
    return found


class Session(ABC):
    """Checkpoints at a fixed interval from resume to suspension, from start() until stop()."""

    name: str

    def __init__(self, stand: XenStand, interval_ms: int) -> None:
        self._stand = stand
        self._interval_ms = interval_ms
        self._process = self._spawn()
        deadline = time.monotonic() + START_S_MAX
        while len(self.epochs()) < 2:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{self.name} made no checkpoint: {self._process.output[-600:]}")
            time.sleep(0.2)

    @abstractmethod
    def _spawn(self): ...

    @abstractmethod
    def _end(self) -> None: ...

    def epochs(self) -> list[Epoch]:
        return parse(self._process.output)

    def last(self, seconds: float) -> None:
        """Lets it go on for so many seconds of the host's own clock."""
        first = self.epochs()[-1].clock
        deadline = time.monotonic() + WATCH_S_MAX
        while (self.epochs()[-1].clock - first) / self._stand.mhz / 1e6 < seconds:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{self.name} ended, or makes no more checkpoints: {self._process.output[-600:]}")
            time.sleep(0.5)

    def stop(self) -> None:
        """Ends it in order; the guest must run on."""
        self._end()
        self._process.wait(STOP_S_MAX)
        if not self._stand.runs():
            raise LabError(f"{self.name} left the guest standing: {self._process.output[-600:]}")


class Ours(Session):
    name = "remus"

    def _spawn(self):
        host = self._stand.host
        words = [host.program("remus-xen-capture"), NAME, "--vouch", "hda", "--epochs", 1000000, "--interval", self._interval_ms]
        return host.spawn(words, name="ours")

    def _end(self) -> None:
        self._process.running.signal(15)


class Stock(Session):
    name = "xl remus"
    _STOP = "/run/bench-stop"

    def _spawn(self):
        stopwatch = self._stand.put(HERE / "tools" / "stopwatch.c", "-shared", "-fPIC")
        host = self._stand.host
        host.shell(f"rm -f {self._STOP}")
        # -b: to /dev/null, as ours. Neither network nor disk is buffered (-n, -d): Debian's libxl has no means to.
        words = ["xl", "remus", "-Fnd", "-b", "-i", self._interval_ms, NAME, "nowhere"]
        env = {"LD_PRELOAD": stopwatch, "STOPWATCH_LOG": "/proc/self/fd/2", "STOPWATCH_STOP": self._STOP}
        return host.spawn(words, name="stock", env=env)

    def _end(self) -> None:
        self._stand.host.shell(f"touch {self._STOP}")
