"""What runs inside a guest of any lab, driven from the client's namespace over the LAN, wherever the guest runs now."""

import socket
import time

from lab.common.errors import LabError
from lab.common.inside import connect_in
from lab.common.netns import NetNs

SHELL_PORT = 7001


class Userland:
    """The guest's side of guest/shell, guest/start and guest/stop."""

    SHELL_S = 15.0  # how long a script may take unless told otherwise

    def __init__(self, name: str, address: str, client: NetNs) -> None:
        self._guest_name = name
        self._address = address
        self._client = client

    def shell(self, script: str, *, timeout: float | None = None, check: bool = True) -> str:
        """Runs a shell script inside the guest and returns its output."""
        timeout = timeout or self.SHELL_S
        with connect_in(self._client.path, (self._address, SHELL_PORT), timeout) as connection:
            encoded = script.encode()
            try:
                connection.sendall(b"%d\n" % len(encoded) + encoded)
                output = _read_all(connection, timeout).decode(errors="replace")
            except OSError as error:
                raise LabError(f"guest {self._guest_name} broke off `{script}`: {error}") from error
        body, _, status = output.rstrip("\n").rpartition("\n")
        if not status.startswith("exit "):
            raise LabError(f"guest {self._guest_name} gave no answer to `{script}`: {output[-300:]!r}")
        if check and status != "exit 0":
            raise LabError(f"in guest {self._guest_name}, `{script}` failed with {status[5:]}: {body[-500:]}")
        return body

    def start(self, *programs: str) -> None:
        """Starts workloads: 'dirty:64:2000:text', 'cpu-bench', 'mixed-work'."""
        self.shell(f"start {','.join(programs)}")

    def stop(self, *programs: str) -> None:
        self.shell(f"stop {' '.join(programs)}")

    def stat(self, name: str) -> int:
        """A counter a program of the guest shows: 'cpu', 'dirty', 'kv', 'text', 'counter', ..."""
        text = self.shell(f"cat /run/stat/{name}").strip()
        if not text.isdigit():
            raise LabError(f"guest {self._guest_name} shows no count '{name}' yet")
        return int(text)


def _read_all(connection: socket.socket, timeout: float) -> bytes:
    parts = []
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        got = connection.recv(65536)
        if not got:
            return b"".join(parts)
        parts.append(got)
    raise LabError(f"no end of the answer within {timeout} s")
