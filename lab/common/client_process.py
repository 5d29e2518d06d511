"""A client program at work in the client's namespace, followed from the lab."""

import json
import subprocess
import sys
import threading
from pathlib import Path

from lab.common import paths
from lab.common.errors import LabError
from lab.common.netns import NetNs
from lab.common.registry import Registry

STATS_KEPT = 20_000


class ClientProcess:
    """Started at once; `stats` is its latest line, `finish()` asks for its verdict."""

    def __init__(self, namespace: NetNs, registry: Registry, log: Path, words: list) -> None:
        command = [*namespace.prefix(), sys.executable, paths.HERE / "client", *words]
        self.log = log
        self.history: list[dict] = []
        self._verdict: dict | None = None
        self._log = open(log, "a", encoding="utf-8")
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        registry.add_process(self._process.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._log.write(line)
            self._log.flush()
            message = json.loads(line)
            if message["type"] == "verdict":
                self._verdict = message
            else:
                self.history = [*self.history[-STATS_KEPT:], message]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stats(self) -> dict:
        """The latest stats; empty before the first."""
        return self.history[-1] if self.history else {}

    @property
    def verdict(self) -> dict | None:
        return self._verdict

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def finish(self, within: float = 60) -> dict:
        """Asks for the verdict (SIGTERM) and returns it."""
        self._process.terminate()
        return self.wait(within)

    def wait(self, within: float = 60) -> dict:
        """Waits until the program ends by itself, and returns its verdict."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired as error:
            raise LabError(
                f"client (pid {self.pid}) gave no verdict within {within} s; see {self.log}"
            ) from error
        self._reader.join(10)
        if self._verdict is None:
            raise LabError(f"client (pid {self.pid}) ended without a verdict; see {self.log}")
        return self._verdict

    def close(self) -> None:
        if self.running:
            self._process.kill()
        self._process.wait()
        self._reader.join(10)
        self._process.stdout.close()
        self._log.close()
