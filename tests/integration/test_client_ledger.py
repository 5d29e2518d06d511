"""The client's own judgement: each kind of fault put in by hand must be found, or its verdicts prove nothing."""

import struct
import zlib

import pytest

from lab.common.client.ledger import Ledger
from lab.common.client.records import HEADER, MAGIC, FramingLost, Parser, compose, payload

BOOT_ID = 7


def from_guest(sequence, *, uptime_us=None, taken=0, taken_crc=0, faults=0, boot_id=BOOT_ID, length=300):
    uptime_us = sequence * 1000 if uptime_us is None else uptime_us
    covered = HEADER.pack(MAGIC, length, sequence, boot_id, uptime_us, taken, taken_crc, faults) + payload(
        sequence, length
    )
    return covered + struct.pack("<I", zlib.crc32(covered))


def judge(*records: bytes, sent: int = 0) -> Ledger:
    ledger, parser = Ledger(0.0), Parser()
    for sequence in range(sent):
        ledger.sent(compose(sequence, 100), 0.0)
    now = 0.0
    for record in records:
        for parsed in parser.feed(record):
            now += 0.01
            ledger.received(parsed, now)
    return ledger


def test_a_faultless_session_has_no_faults():
    crc = zlib.crc32(compose(0, 100))
    ledger = judge(from_guest(0), from_guest(1, taken=1, taken_crc=crc), sent=2)
    assert ledger.faults() == [] and ledger.records_in == 2 and ledger.unconfirmed == 1


def test_bytes_may_come_in_any_pieces():
    stream = b"".join(from_guest(n) for n in range(20))
    assert judge(*[stream[at : at + 7] for at in range(0, len(stream), 7)]).faults() == []


def test_a_lost_record_is_found():
    ledger = judge(from_guest(0), from_guest(2), from_guest(3))
    assert (ledger.lost, ledger.duplicated, ledger.changed) == (1, 0, 0)


def test_a_duplicated_record_is_found():
    ledger = judge(from_guest(0), from_guest(1), from_guest(1, uptime_us=1000), from_guest(2))
    assert (ledger.lost, ledger.duplicated, ledger.changed) == (0, 1, 0)


@pytest.mark.parametrize("at", [9, 30, HEADER.size + 5, -1])
def test_a_changed_byte_is_found(at):
    damaged = bytearray(from_guest(1))
    damaged[at] ^= 1
    assert judge(from_guest(0), bytes(damaged), from_guest(2)).changed == 1


def test_a_changed_payload_with_a_right_checksum_is_found():
    covered = HEADER.pack(MAGIC, 300, 0, BOOT_ID, 0, 0, 0, 0) + payload(1, 300)
    assert judge(covered + struct.pack("<I", zlib.crc32(covered))).changed == 1


def test_lost_framing_ends_the_session():
    with pytest.raises(FramingLost):
        judge(from_guest(0), b"\0" * 64)


def test_a_restarted_guest_is_found():
    assert judge(from_guest(0), from_guest(1, boot_id=8)).restarted == 1


def test_a_guest_behind_what_was_seen_is_found():
    assert judge(from_guest(0, uptime_us=5000), from_guest(1, uptime_us=4000)).went_back == 1


def test_a_guest_that_forgot_what_it_had_confirmed_is_found():
    crc = zlib.crc32(compose(0, 100))
    assert judge(from_guest(0, taken=1, taken_crc=crc), from_guest(1, taken=0), sent=1).went_back == 1


def test_other_bytes_at_the_guest_are_found():
    assert judge(from_guest(0, taken=1, taken_crc=12345), sent=1).guest_crc_wrong == 1
    assert judge(from_guest(0, taken=5), sent=1).guest_crc_wrong == 1


def test_the_guests_own_complaint_is_heard():
    assert judge(from_guest(0, faults=2)).faults() == [
        "2 records lost, duplicated or changed on the way to the guest (the guest says)"
    ]


def test_the_longest_stall_and_its_time_are_kept():
    ledger = Ledger(0.0)
    for sequence, now in enumerate([10.0, 10.1, 10.9, 11.0]):
        (parsed,) = Parser().feed(from_guest(sequence))
        ledger.received(parsed, now)
    assert ledger.outage_s == pytest.approx(0.8) and ledger.outage_at == 10.1
