"""What bench/xen reads out of a recording of xentrace: when a guest stood still. Made-up recordings, no lab."""

import struct

import pytest

from bench.xen import trace

RUNNING, RUNNABLE, BLOCKED, OFFLINE = range(4)
DOMAIN, OTHER = 7, 9
MHZ = 1000.0


def record(cycles: int, event: int, *words: int) -> bytes:
    return struct.pack(f"<IQ{len(words)}I", event | len(words) << 28 | 1 << 31, cycles, *words)


def change(cycles: int, old: int, new: int, domain: int = DOMAIN) -> bytes:
    return record(cycles, 0x00021001 | old << 8 | new << 4, domain << 16)


def sleep(cycles: int, domain: int = DOMAIN) -> bytes:
    return record(cycles, 0x00028003, domain, 0)


def wake(cycles: int, domain: int = DOMAIN) -> bytes:
    return record(cycles, 0x00028004, domain, 0)


def found(*records: bytes) -> list[tuple[int, int]]:
    return [(stop.start, stop.end) for stop in trace.stops(b"".join(records), DOMAIN, MHZ)]


def test_a_running_guest_that_is_stopped_and_goes_on():
    assert found(sleep(100), change(110, RUNNING, OFFLINE), wake(500), change(501, OFFLINE, RUNNABLE)) == [(100, 501)]


def test_a_stop_within_a_stop_is_part_of_it():
    """Xen pauses the domain itself to read its dirty log, and wakes it while it is still stopped from outside."""
    assert found(
        sleep(100), change(110, RUNNING, OFFLINE), sleep(200), wake(210), wake(500), change(501, OFFLINE, RUNNING)
    ) == [(100, 501)]


def test_an_idle_guest_is_stopped_though_nothing_changes():
    idle = change(50, RUNNING, BLOCKED)
    assert found(idle, sleep(100), wake(400), change(900, BLOCKED, RUNNABLE)) == [(100, 400)]
    # A timer of its own goes off meanwhile: it is no longer idle, and still stopped.
    assert found(idle, sleep(100), wake(300), change(300, BLOCKED, OFFLINE), change(700, OFFLINE, RUNNABLE)) == [(100, 700)]


def test_other_guests_and_a_guest_that_is_merely_idle_are_no_stops():
    assert found(sleep(100, OTHER), change(110, RUNNING, OFFLINE, OTHER), change(120, OFFLINE, RUNNING, OTHER)) == []
    assert found(change(100, RUNNING, BLOCKED), wake(200), change(201, BLOCKED, RUNNABLE), change(202, RUNNABLE, RUNNING)) == []


def test_records_of_several_processors_are_put_in_order_and_what_is_cut_off_is_left_out():
    whole = change(501, OFFLINE, RUNNING) + sleep(100)
    assert found(whole, sleep(900)[:-2]) == [(100, 501)]


def test_the_stop_of_a_moment_and_its_length():
    stops = trace.stops(sleep(1000) + change(2_001_000, OFFLINE, RUNNING), DOMAIN, MHZ)
    assert stops[0].ms == pytest.approx(2.0)
    assert trace.stop_of(stops, 500_000) is stops[0] and trace.stop_of(stops, 999) is None
