"""The main job: host A dies at any moment, the guest goes on at host B, and its TCP session loses nothing."""

import random

import pytest
from eventually import eventually
from pair import Pair, settle

from lab.qemu import GuestSpec, Lab

# Every point of the protocol at which a process can die, by the side that passes it.
PRIMARY_POINTS = [
    "capture.begin", "capture.paused", "capture.done", "encode.begin", "encode.done", "send.epoch_begin", "send.epoch_pages",
    "send.epoch_device", "send.epoch_end", "send.epoch_sent", "ack.received", "release.before", "release.after",
]  # fmt: skip


@pytest.fixture(scope="module")
def pair(machine):
    with Lab("failover") as lab:
        pair = Pair(lab)
        pair.start_guest(GuestSpec(run="stream-server,echo-server,counter,dirty:16:1000:text"))
        pair.protect()
        pair.wait_protected()
        yield pair


def check_verdict(client) -> None:
    verdict = client.finish()
    assert verdict["ok"], verdict["reasons"]
    assert (verdict["lost"], verdict["duplicated"], verdict["changed"], verdict["guest_went_back"]) == (0, 0, 0, 0)


def test_kills_at_random_moments(pair, soak):
    """One guest, one TCP session, killed again and again, from host to host."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    client = pair.lab.stream(pair.guest)
    outages = []
    for round_number in range(100 if soak else 3):
        pair.wait_for_commits()
        pair.client_moves(client)
        before = client.stats["guest_uptime_ms"]
        settle(chance.random())
        pair.lab.host(pair.primary).power_cut()
        report = pair.wait_active_on_backup()["failover"]
        pair.client_moves(client)
        assert client.stats["guest_uptime_ms"] >= before, "the guest went back behind what the client saw"
        assert client.stats["faults"] == []
        outages.append((report["detected_ms"], report["activation_ms"]))
        print(f"kill {round_number}: epoch {report['epoch']}, detected {report['detected_ms']} ms, "
              f"activated {report['activation_ms']} ms")
        pair.turn_round()
    print("detection ms", sorted(o[0] for o in outages), "activation ms", sorted(o[1] for o in outages))
    check_verdict(client)


@pytest.mark.long_form
@pytest.mark.parametrize("point", PRIMARY_POINTS)
def test_kill_at_every_phase(pair, point):
    """The whole host dies exactly when its guard passes this point of the protocol."""
    pair.unprotect()
    pair.arm(pair.primary, f"{point}=file:/run/host/at-point@20")
    pair.protect()
    client = pair.lab.stream(pair.guest)
    host = pair.lab.host(pair.primary)
    eventually(lambda: host.path("/run/host/at-point").exists(), 60, what=f"the guard passes {point}", pause=0.002)
    host.power_cut()
    pair.wait_active_on_backup()
    pair.client_moves(client)
    check_verdict(client)
    pair.turn_round()
