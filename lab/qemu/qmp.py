"""A small QMP client, for the lab's own monitor of a guest (the product uses the guest's other one)."""

import json
import socket
import time
from pathlib import Path

from lab.common.errors import LabError


class Qmp:
    """One connection. Commands are answered in order; events are kept (the last 10,000) until asked for."""

    def __init__(self, path: Path, within: float = 10) -> None:
        self._path = path
        self._pending = b""
        self.events: list[dict] = []
        deadline = time.monotonic() + within
        while True:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(within)
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                self._socket.close()
                if time.monotonic() > deadline:
                    raise LabError(f"cannot reach QMP at {path}: {error}") from error
                time.sleep(0.02)
        self._read()  # greeting
        self.command("qmp_capabilities")

    def _read(self) -> dict:
        while b"\n" not in self._pending:
            try:
                got = self._socket.recv(65536)
            except TimeoutError as error:
                raise LabError(f"QMP at {self._path} does not answer") from error
            if not got:
                raise LabError(f"QMP at {self._path} closed the connection: QEMU has ended")
            self._pending += got
        line, self._pending = self._pending.split(b"\n", 1)
        return json.loads(line)

    def command(self, name: str, **arguments) -> dict | list:
        """Runs a command and returns its answer; QEMU's refusal raises LabError."""
        message = {"execute": name, **({"arguments": arguments} if arguments else {})}
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        while True:
            answer = self._read()
            if "event" in answer:
                self.events = [*self.events[-9_999:], answer]
            elif "error" in answer:
                raise LabError(f"QEMU refuses {name}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Qmp":
        return self

    def __exit__(self, *_) -> None:
        self.close()
