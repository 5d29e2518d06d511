"""Opening a connection to a guest that may have booted only just now: its server may need a moment more."""

import socket
import time


def connect(address: tuple[str, int], within: float = 15) -> socket.socket:
    """Connects with TCP_NODELAY; what fails is tried again until `within` seconds are over, then raised."""
    deadline = time.monotonic() + within
    while True:
        try:
            connection = socket.create_connection(address, timeout=2)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(within)
            return connection
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
