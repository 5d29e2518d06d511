"""More than one of everything: hosts that back each other up, several domains, CPUs and network interfaces."""

import pytest
from eventually import eventually
from protected import LOOK_S, PATIENCE_S, SESSION, Protected, intact

from lab.xen import GuestSpec

pytestmark = [pytest.mark.xen, pytest.mark.long_form]

SECOND_NET = "10.79.0"


def active(it: Protected, host: str) -> None:
    eventually(lambda: it.guard(host).get("state") == "active", PATIENCE_S, what=f"{it.name} active", pause=LOOK_S)


def test_hosts_back_each_other_up(hosts):
    """A domain of each kind of stopping, one a direction: A dies, its own goes on at B, and B's own runs on, alone."""
    down = Protected(hosts, GuestSpec(name="web1", kind="pvh", memory_mib=128))
    up = Protected(
        hosts, GuestSpec(name="db1", kind="pv", memory_mib=128, mac="00:16:3e:77:00:21", address="10.77.0.21"), on="B"
    )
    sessions = [it.session() for it in (down, up)]
    for it in (down, up):
        it.protect()
    for it in (down, up):
        it.wait_for_commits()
    report = hosts.remus_json("B", "verify", "db1", timeout=PATIENCE_S)
    assert report["pages_compared"] > 0 and report["pages_different"] == 0, report
    hosts.host("A").power_cut()
    active(down, "B")
    eventually(lambda: up.guard("B").get("state") == "alone", PATIENCE_S, what="db1 goes alone", pause=LOOK_S)
    for it, session in zip((down, up), sessions, strict=True):
        it.moves(session)
        intact(session)
    assert set(hosts.host("B").domains()) == {"web1", "db1"}


def test_several_domains_at_once(hosts):
    """Three of different kinds on one host: all of them go on at the other."""
    them = [
        Protected(
            hosts,
            GuestSpec(name=f"vm{i}", kind=kind, memory_mib=96, mac=f"00:16:3e:77:00:3{i}", address=f"10.77.0.3{i}"),
        )
        for i, kind in enumerate(("pvh", "pv", "pvh"))
    ]
    sessions = [it.session() for it in them]
    for it in them:
        it.protect()
    for it in them:
        it.wait_for_commits()
    hosts.host("A").power_cut()
    for it in them:
        active(it, "B")
    for it, session in zip(them, sessions, strict=True):
        it.moves(session)
        intact(session)
    assert set(hosts.host("B").domains()) == {it.name for it in them}


def test_two_processors_and_two_network_interfaces(hosts):
    """Output of both interfaces is held, and both are on the network again at the other host."""
    it = Protected(hosts, GuestSpec(memory_mib=128, cpus=2, more_macs=("00:16:3e:77:01:20",)))
    it.guest.shell(f"ip addr add {SECOND_NET}.20/24 dev eth1 && ip link set eth1 up")
    hosts.network.client.ip(f"addr add {SECOND_NET}.100/24 dev eth0")
    try:
        first = it.session()
        second = hosts.client("stream", f"{SECOND_NET}.20", *SESSION, name="second")
        it.moves(second)
        it.protect()
        it.wait_for_commits()
        links = hosts.host("A").shell("ip -o link")
        number = it.guest.domain_id()
        for devid in (0, 1):
            assert f"rms{number}.{devid}" in links, links
        report = hosts.remus_json("A", "verify", it.name, timeout=PATIENCE_S)
        assert report["pages_compared"] > 0 and report["pages_different"] == 0, report
        hosts.host("A").power_cut()
        active(it, "B")
        for session in (first, second):
            it.moves(session)
        for session in (first, second):
            intact(session)
        assert hosts.host("B").domains()[it.name].vcpus == 2
        assert it.guest.shell("grep -c ^processor /proc/cpuinfo").strip() == "2"
    finally:
        hosts.network.client.ip(f"addr del {SECOND_NET}.100/24 dev eth0")
