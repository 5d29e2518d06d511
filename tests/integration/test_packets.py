"""Every packet: what TCP would mend by itself is seen here, by numbered datagrams to and from the guest."""

import pytest
from eventually import eventually
from pair import Pair, new_lab, settle

from lab.qemu import GuestSpec

CLIENT, PORT = "10.77.0.100", 7009
RATE = 500  # a second: what waits while an emulated, starved guest is paused must not overflow its socket's buffer
SECONDS = 5


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("packets") as lab:
        pair = Pair(lab)
        pair.start_guest(GuestSpec(memory_mib=128, run="stream-server,dirty:4:200:text"))
        pair.protect("--interval", "20ms")
        pair.wait_protected()
        yield pair


def checkpoints(pair) -> int:
    return pair.guard()["epoch"]["checkpoints_total"]


@pytest.fixture
def sending(pair):
    """The guest sends, and the client receives; what was received is this process' verdict."""
    receiver = pair.lab.client("udp", "receive")
    pair.guest.start(f"udp-seq:send:{CLIENT}:{PORT}:{RATE}")
    yield receiver
    pair.guest.stop("udp-seq")


def test_nothing_sent_to_the_guest_is_lost_at_a_pause(pair):
    """A stop makes QEMU throw away what waits for the NIC just then: we keep it out of its way (docs/qemu.md)."""
    pair.guest.start(f"udp-seq:receive:{PORT}")
    before = checkpoints(pair)
    sent = pair.lab.client("udp", "send", pair.guest.spec.address, "--rate", RATE, "--duration", SECONDS).wait()["sent"]
    assert checkpoints(pair) > before + 10
    received = eventually(lambda: (n := pair.guest.stat("udp-receive-received")) >= sent and n, 10, what="all of them arrive")
    assert (received, pair.guest.stat("udp-receive-late")) == (sent, 0)
    pair.guest.stop("udp-seq")


def test_nothing_the_guest_sends_is_lost_or_reordered(pair, sending):
    """Over many pauses, and over protection's end and beginning, where the buffer leaves the guest's way and enters it."""
    before = checkpoints(pair)
    settle(SECONDS)
    assert checkpoints(pair) > before + 10
    pair.unprotect()
    settle(1)
    pair.protect("--interval", "20ms")
    pair.wait_protected()
    settle(1)
    verdict = sending.finish()
    assert (verdict["lost"], verdict["late"], verdict["duplicated"]) == (0, 0, 0), verdict
    assert verdict["received"] > RATE


def test_nothing_is_said_twice_by_a_guest_that_fails_over(pair, sending):
    """Output commit, to the packet: the backup's guest lives again through what it had not been heard to say, and only that.

    What was acknowledged and not yet let go when the host died is lost, as on any network; the client's TCP sends it again.
    """
    settle(1)
    pair.lab.host(pair.primary).power_cut()
    pair.wait_active_on_backup()
    settle(2)
    verdict = sending.finish()
    assert (verdict["late"], verdict["duplicated"]) == (0, 0), verdict
    assert verdict["received"] > verdict["lost"], verdict
