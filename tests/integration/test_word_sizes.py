"""Hosts of different word size understand each other: a guest goes from a 64-bit host to a 32-bit one, and back."""

import pytest
from pair import Pair, new_lab

from lab.common import paths
from lab.common.remus import program
from lab.qemu import GuestSpec

BUILD_32 = paths.ROOT / "build/i386"


@pytest.fixture
def pair(machine):
    if not list((BUILD_32 / "src").rglob("remus-guard")):
        pytest.skip("there is no 32-bit build: ./test i386 makes one")
    with new_lab("word-sizes") as lab:
        lab.host("B").build = BUILD_32
        pair = Pair(lab)
        # A 32-bit guard has 4 GiB to put all rounds of a synchronization into.
        pair.start_guest(GuestSpec(memory_mib=128, run="stream-server,echo-server,counter,dirty:16:1000:text"))
        yield pair


def test_a_guest_goes_to_a_32_bit_host_and_back(pair):
    elf_classes = [program("remus-guard", build).read_bytes()[4] for build in (None, BUILD_32)]
    assert elf_classes == [2, 1], "64-bit, 32-bit"
    client = pair.lab.stream(pair.guest)
    pair.protect()
    pair.wait_protected()
    for _ in range(2):  # A to B, then B to A
        pair.wait_for_commits()
        report = pair.lab.remus_json(pair.primary, "verify", pair.name)
        assert report["pages_compared"] > 0 and report["pages_different"] == 0, report
        pair.client_moves(client)
        before = client.stats["guest_uptime_ms"]
        pair.lab.host(pair.primary).power_cut()
        report = pair.wait_active_on_backup()["failover"]
        pair.client_moves(client)
        assert client.stats["guest_uptime_ms"] >= before, "the guest went back behind what the client saw"
        print(f"{pair.primary} to {pair.backup}: detected {report['detected_ms']} ms, activated {report['activation_ms']} ms")
        pair.turn_round()
    verdict = client.finish()
    assert verdict["ok"], verdict["reasons"]
    assert (verdict["lost"], verdict["duplicated"], verdict["changed"], verdict["guest_went_back"]) == (0, 0, 0, 0)
