"""The record of the session with the guest; guest/programs/records.h is the format's specification."""

import struct
import zlib
from dataclasses import dataclass

HEADER = struct.Struct("<IIQQQQII")
MAGIC = 0x52534D52
PAYLOAD_MAX_BYTES = 65536

_PATTERNS = [bytes((start + offset * 7) & 255 for offset in range(256)) for start in range(256)]


def payload(sequence: int, length: int) -> bytes:
    """The payload every record of this sequence number must have."""
    pattern = _PATTERNS[sequence * 31 & 255]
    return (pattern * (length // 256 + 1))[:length]


@dataclass(frozen=True)
class Record:
    """One record as received; `intact` says whether checksum and payload are what they must be."""

    sequence: int
    boot_id: int
    uptime_us: int
    taken: int
    taken_crc: int
    faults: int
    intact: bool
    wire_bytes: int


class FramingLost(Exception):
    """Bytes that are no record: nothing after them can be told apart."""


def compose(sequence: int, payload_bytes: int) -> bytes:
    """A record from the client (boot id, uptime and acknowledgement are the guest's matters: 0 here)."""
    covered = HEADER.pack(MAGIC, payload_bytes, sequence, 0, 0, 0, 0, 0) + payload(sequence, payload_bytes)
    return covered + struct.pack("<I", zlib.crc32(covered))


class Parser:
    """Cuts a byte stream into records."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Record]:
        self._pending += data
        records = []
        while len(self._pending) >= HEADER.size:
            magic, length, sequence, boot_id, uptime_us, taken, taken_crc, faults = HEADER.unpack_from(
                self._pending
            )
            if magic != MAGIC or length > PAYLOAD_MAX_BYTES:
                raise FramingLost(f"not a record: {bytes(self._pending[:16]).hex()}")
            covered = HEADER.size + length
            if len(self._pending) < covered + 4:
                break
            body = bytes(self._pending[:covered])
            (crc,) = struct.unpack_from("<I", self._pending, covered)
            intact = zlib.crc32(body) == crc and body[HEADER.size :] == payload(sequence, length)
            records.append(
                Record(sequence, boot_id, uptime_us, taken, taken_crc, faults, intact, covered + 4)
            )
            del self._pending[: covered + 4]
        return records
