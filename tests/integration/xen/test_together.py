"""More than one of everything: hosts that back each other up, several domains, CPUs and network interfaces.

`--kills N` lets the host of several domains die N times, `--soak` ten.
"""

import random

import pytest
from company import Company
from eventually import eventually
from protected import LOOK_S, PATIENCE_S, SESSION, Protected, intact, traces

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
    up.verify()
    hosts.host("A").power_cut()
    active(down, "B")
    eventually(lambda: up.guard("B").get("state") == "alone", PATIENCE_S, what="db1 goes alone", pause=LOOK_S)
    for it, session in zip((down, up), sessions, strict=True):
        it.moves(session)
        intact(session)
    assert set(hosts.host("B").domains()) == {"web1", "db1"}


# Together they are every kind there is. Four at once are more than an emulated host bears: none of them suspends in time.
COMPANIES = [("pvh", "pv"), ("hvm", "pvh32"), ("hvm-nopv", "hvm32", "pv32")]


@pytest.mark.parametrize("kinds", COMPANIES, ids="+".join)
def test_several_domains_at_once(hosts, kinds, kills):
    """Their host dies under all of them at a random moment, again and again, to and fro; each keeps its session through all of it."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    them = Company(hosts, kinds)
    them.begin_sessions()
    for _ in range(kills):
        them.protect()
        them.lose_host(chance.uniform(0, 3))
        them.turn_round()
    them.protect()
    them.verify()
    them.all_move()
    them.sessions_intact()
    them.unprotect()
    them.destroy()
    for host in hosts.hosts.values():
        eventually(lambda host=host: traces(host) == [], PATIENCE_S, what=f"no trace on {host.name}", pause=LOOK_S)


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
        it.verify()
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
