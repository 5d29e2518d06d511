"""Keeps account of a session: what must have come, what came, and what the guest says it got. No I/O, no clock.

Every way in which a failover could show is a number here: records lost, duplicated or changed in either direction, a guest
that restarted (boot id), a guest that went back behind what this client had seen (uptime), a stall (how long, and when).
"""

import zlib
from collections import deque

from lab.common.client.records import Record

SEND_TIMES_KEPT = 100_000


class Ledger:
    """Fed with every record sent and received and the time (seconds) of it."""

    def __init__(self, now: float) -> None:
        self.records_out = 0
        self.records_in = 0
        self.bytes_out = 0
        self.bytes_in = 0
        self.lost = 0
        self.duplicated = 0
        self.changed = 0
        self.uptime_us = 0
        self.went_back = 0
        self.restarted = 0
        self.guest_taken = 0
        self.guest_faults = 0
        self.guest_crc_wrong = 0
        self.outage_s = 0.0
        self.outage_at = now
        self.last_in = now
        self.round_trips_s: deque[float] = deque(maxlen=2_000)
        self._boot_id: int | None = None
        self._sent_crc = {0: 0}  # running crc32 after n records, for those the guest has not confirmed yet
        self._sent_at: deque[tuple[int, float]] = deque(maxlen=SEND_TIMES_KEPT)

    def sent(self, record: bytes, now: float) -> None:
        crc = zlib.crc32(record, self._sent_crc[self.records_out])
        self._sent_at.append((self.records_out, now))
        self.records_out += 1
        self.bytes_out += len(record)
        self._sent_crc[self.records_out] = crc

    def received(self, record: Record, now: float) -> None:
        self.records_in += 1
        self.bytes_in += record.wire_bytes
        if self.records_in > 1 and now - self.last_in > self.outage_s:
            self.outage_s, self.outage_at = now - self.last_in, self.last_in
        self.last_in = now
        self._check_sequence(record)
        self._check_guest(record)
        self._check_acknowledgement(record, now)

    def _check_sequence(self, record: Record) -> None:
        expected = self.records_in - 1 + self.lost - self.duplicated
        if not record.intact:
            self.changed += 1
        if record.sequence > expected:
            self.lost += record.sequence - expected
        elif record.sequence < expected:
            self.duplicated += 1

    def _check_guest(self, record: Record) -> None:
        if self._boot_id is not None and record.boot_id != self._boot_id:
            self.restarted += 1
        self._boot_id = record.boot_id
        if record.uptime_us < self.uptime_us:
            self.went_back += 1
        self.uptime_us = max(self.uptime_us, record.uptime_us)

    def _check_acknowledgement(self, record: Record, now: float) -> None:
        self.guest_faults = max(self.guest_faults, record.faults)
        if record.taken < self.guest_taken or record.taken > self.records_out:
            self.went_back += record.taken < self.guest_taken
            self.guest_crc_wrong += record.taken > self.records_out
            return
        if record.taken_crc != self._sent_crc[record.taken]:
            self.guest_crc_wrong += 1
        for confirmed in range(self.guest_taken, record.taken):
            del self._sent_crc[confirmed]
        self.guest_taken = record.taken
        while self._sent_at and self._sent_at[0][0] < record.taken:
            self.round_trips_s.append(now - self._sent_at.popleft()[1])

    @property
    def unconfirmed(self) -> int:
        return self.records_out - self.guest_taken

    def faults(self) -> list[str]:
        """Everything that must not be, in words; empty while all is right."""
        found = [
            (self.lost, "records lost on the way to the client"),
            (self.duplicated, "records duplicated on the way to the client"),
            (self.changed, "records changed on the way to the client"),
            (
                self.guest_faults,
                "records lost, duplicated or changed on the way to the guest (the guest says)",
            ),
            (self.guest_crc_wrong, "acknowledgements for other bytes than were sent"),
            (self.restarted, "restarts of the guest"),
            (self.went_back, "steps of the guest behind what the client had seen"),
        ]
        return [f"{count} {what}" for count, what in found if count]
