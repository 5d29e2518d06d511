"""The main job: host A dies at any moment, the guest goes on at host B, and its TCP session loses nothing."""

import random

import pytest
from pair import Pair, new_lab, settle

from lab.qemu import GuestSpec

@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("failover") as lab:
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
