"""Sockets of the lab's own process in another network namespace: a socket belongs where its thread was when it was made."""

import ctypes
import os
import socket
import threading
from pathlib import Path

from lab.common.errors import LabError

CLONE_NEWNET = 0x40000000


def connect_in(netns: Path, address: tuple[str, int], timeout: float) -> socket.socket:
    """A TCP connection made from inside `netns` (the caller's thread stays where it is); timeout in seconds."""
    result: list[socket.socket | OSError] = []

    def work() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(netns, "rb") as handle:
                if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(
                        ctypes.get_errno(), f"cannot enter {netns}: {os.strerror(ctypes.get_errno())}"
                    )
            result.append(socket.create_connection(address, timeout))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise LabError(
            f"cannot connect to {address[0]}:{address[1]} from {netns.name}: {result[0]}"
        ) from result[0]
    return result[0]
