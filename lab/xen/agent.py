"""The lab's side of dom0/labd.c: commands on a host, with their input, output and end."""

import os
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path

from lab.common.errors import LabError
from lab.common.inside import connect_in
from lab.xen.network import MGMT_HOST

PORT = 7011
CHUNK_BYTES = 1 << 15
CONNECT_S = 10
STOP_S = 5


class Running:
    """A command at work on a host. Its output goes to `on_output` ('O' or 'E', bytes) from a thread of its own."""

    def __init__(self, netns: Path, words: list[str], on_output: Callable[[str, bytes], None]) -> None:
        self.pid = 0
        self.status: int | None = None
        self._on_output = on_output
        self._began = threading.Event()
        self._ended = threading.Event()
        self._socket = connect(netns, "run", words)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._began.wait(CONNECT_S) or not self.pid:
            self.close()
            raise LabError(f"the host did not start `{' '.join(words)}` within {CONNECT_S} s")

    def _read(self) -> None:
        try:
            stream = self._socket.makefile("rb")
            while header := stream.read(5):
                kind, length = struct.unpack(">cI", header)
                content = stream.read(length)
                if kind == b"P":
                    self.pid = int(content)
                    self._began.set()
                elif kind == b"X":
                    self.status = int(content)
                    break
                else:
                    self._on_output(kind.decode(), content)
        except (OSError, ValueError, struct.error):
            pass  # the host has gone: its end is told as one by SIGKILL
        finally:
            if self.status is None:
                self.status = 128 + signal.SIGKILL
            self._began.set()
            self._ended.set()

    def _send(self, kind: bytes, content: bytes) -> None:
        try:
            self._socket.sendall(struct.pack(">cI", kind, len(content)) + content)
        except OSError:
            pass  # as above

    def feed(self, content: bytes) -> None:
        """Gives the command its whole input."""
        for start in range(0, len(content), CHUNK_BYTES):
            self._send(b"I", content[start : start + CHUNK_BYTES])
        self._send(b"I", b"")

    def feed_from(self, descriptor: int) -> None:
        """Gives the command what comes from a file of ours, to its end."""
        while part := os.read(descriptor, CHUNK_BYTES):
            self._send(b"I", part)
        self._send(b"I", b"")

    def signal(self, which: int) -> None:
        """Sends a signal to the command and what it started."""
        self._send(b"K", str(int(which)).encode())

    def wait(self, within: float) -> int | None:
        """The exit status (128 + signal where it was killed); None if it has not ended `within` s."""
        return self.status if self._ended.wait(within) else None

    def close(self) -> None:
        """Forgets the command: a host that lost its power answers nobody."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._reader.join(STOP_S)
        self._socket.close()


def connect(netns: Path, mode: str, words: list[str]) -> socket.socket:
    """A connection to labd with its request sent; see dom0/labd.c for the modes."""
    connection = connect_in(netns, (MGMT_HOST, PORT), CONNECT_S)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(f"{mode} {len(words)}\n".encode() + b"".join(word.encode() + b"\0" for word in words))
    return connection


def run(netns: Path, words: list[str], content: bytes, timeout: float) -> subprocess.CompletedProcess:
    """Runs a command to its end; output as bytes. One that takes longer than `timeout` s is killed, and raises LabError."""
    output: dict[str, list[bytes]] = {"O": [], "E": []}
    running = Running(netns, words, lambda kind, part: output[kind].append(part))
    try:
        running.feed(content)
        status = running.wait(timeout)
        if status is None:
            running.signal(signal.SIGKILL)
            running.wait(STOP_S)
            raise LabError(f"`{' '.join(words)}` did not end within {timeout} s on its host")
        return subprocess.CompletedProcess(words, status, b"".join(output["O"]), b"".join(output["E"]))
    finally:
        running.close()


def shell(netns: Path, words: list[str]) -> None:
    """Runs a command on a host at this terminal."""
    connection = connect(netns, "tty", words)
    saved = termios.tcgetattr(0) if os.isatty(0) else None

    def copy_output() -> None:
        while part := connection.recv(CHUNK_BYTES):
            os.write(1, part)

    reader = threading.Thread(target=copy_output, daemon=True)
    try:
        if saved is not None:
            tty.setraw(0)
        reader.start()
        threading.Thread(target=_copy_input, args=(connection,), daemon=True).start()
        while reader.is_alive():
            time.sleep(0.05)
    finally:
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
        connection.close()


def _copy_input(connection: socket.socket) -> None:
    try:
        while part := os.read(0, CHUNK_BYTES):
            connection.sendall(part)
    except OSError:
        pass  # the other side ended
