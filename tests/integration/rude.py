"""A peer without manners: connections to the product's ports with whatever in them. Frames are made as docs/protocol.md has them,
by hand, so that they can be wrong."""

import ctypes
import socket
import ssl
import struct
from pathlib import Path

from lab.common.inside import connect_in

MAGIC = 0x53554D52
HELLO, WELCOME, REFUSE, HEARTBEAT, EPOCH_PAGES = 1, 2, 3, 16, 49

_xxhash = ctypes.CDLL("libxxhash.so.0")
_xxhash.XXH3_64bits.restype = ctypes.c_uint64
_xxhash.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def frame(kind: int, payload: bytes = b"", *, magic: int = MAGIC, version: int = 1, flags: int = 0, length: int | None = None,
          sequence: int = 0, checksum: int | None = None) -> bytes:
    """A frame; what is not told otherwise is right."""
    size = len(payload) if length is None else length
    head = struct.pack("<IHHHHIQ", magic, version, kind, flags, 0, size, sequence)
    whole = head + payload
    return head + struct.pack("<Q", _xxhash.XXH3_64bits(whole, len(whole)) if checksum is None else checksum) + payload


def name(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode()


def hello(guest: str = "web1", host: str = "hostA", versions: tuple[int, int] = (1, 1), description: bytes = b"{}") -> bytes:
    return (
        struct.pack("<HH", *versions) + name("rude") + name(host) + name(guest) + struct.pack("<QQI", 1, 0, 1 << 22)
        + struct.pack("<I", len(description)) + description
    )  # fmt: skip


def refusal(data: bytes) -> str:
    """The sentence of a Refuse at the beginning of `data`."""
    magic, _, kind, _, _, size, _, _ = struct.unpack_from("<IHHHHIQQ", data)
    assert magic == MAGIC and kind == REFUSE, data[:64]
    length = struct.unpack_from("<I", data, 34)[0]
    assert 38 + length <= 32 + size
    return data[38 : 38 + length].decode()


class Rude:
    """Makes connections from the lab's client namespace."""

    def __init__(self, lab) -> None:
        self._netns: Path = lab.network.client.path

    def plain(self, address: tuple[str, int], timeout: float = 15) -> socket.socket:
        return connect_in(self._netns, address, timeout)

    def tls(self, address: tuple[str, int], pki: Path | None, timeout: float = 15, **limits) -> ssl.SSLSocket:
        """A TLS connection that shows the certificate in `pki` (none: no certificate) and believes anybody."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        for key, value in limits.items():
            setattr(context, key, value)
        if pki is not None:
            context.load_cert_chain(pki / "host.crt", pki / "host.key")
        return context.wrap_socket(self.plain(address, timeout))


def said_until_closed(connection: socket.socket, within: float = 15) -> bytes:
    """What the other side says until it closes; it must do so within the time (seconds)."""
    connection.settimeout(within)
    parts = []
    try:
        while got := connection.recv(65536):
            parts.append(got)
    except TimeoutError as error:
        raise AssertionError(f"not closed within {within} s") from error
    except OSError:  # a reset, or a TLS alert: closed as well
        pass
    connection.close()
    return b"".join(parts)


def send(connection: socket.socket, data: bytes) -> None:
    """Sends as much as the other side will take."""
    try:
        connection.sendall(data)
    except OSError:
        pass
