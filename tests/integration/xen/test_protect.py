"""The main job on Xen: a domain of any kind is protected, its host dies at any moment, and it goes on at the other host.

One domain at a time: all of a host share one emulated processor. `--kills N` lets N hosts die a kind, `--soak` ten.
"""

import json
import random
import signal
import time

import pytest
from eventually import eventually
from protected import LOOK_S, OPTIONS, PATIENCE_S, Protected, cleared, intact, ready, traces

from lab.xen import GuestSpec, LabError

pytestmark = pytest.mark.xen

# Three kinds in the short form, one of each way of stopping and following a guest: deaths take most of a minute.
KINDS = ["pvh", "pv", "hvm-nopv", *(pytest.param(kind, marks=pytest.mark.long_form) for kind in ("hvm", "pvh32", "hvm32", "pv32"))]


@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_when_its_host_dies(hosts, kind, kills):
    """One session, carried from host to host: A dies, and when it is back, the guest is protected to it, and B dies."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    it = Protected(hosts, kind)
    client = it.session()
    for kill in range(kills):
        if kill > 0:
            it.turn_round()
        it.protect()
        goes_on(it, client, chance.uniform(0, 2))
    verdict = intact(client)
    print(f"{kind}: {verdict['records_in']} records to the client, {verdict['records_out']} to the guest, all once and unchanged")
    host = hosts.host(it.backup)
    hosts.remus(it.backup, "unprotect", it.name)
    assert set(host.domains()) == {it.name}, "to give up protection must not touch the guest"
    it.guest.destroy(host)
    eventually(lambda: traces(host) == [], PATIENCE_S, what=f"no trace on {host.name}")


def goes_on(it: Protected, client, after_s: float) -> None:
    """Its host loses its power `after_s` seconds into the protection of a guest with a busy session."""
    it.wait_for_commits()
    it.moves(client)
    pause = it.guard(it.primary)["pause"]
    time.sleep(after_s)
    client_knew = client.stats["guest_uptime_ms"]
    it.lab.host(it.primary).power_cut()
    report = it.wait_active()
    it.moves(client)
    assert client.stats["guest_uptime_ms"] >= client_knew, "the guest went back behind what the client saw"
    domains = it.lab.host(it.backup).domains()
    assert set(domains) == {it.name}, domains
    print(
        f"{it.guest.spec.kind} {it.primary} to {it.backup}: pause p50 {pause['p50_us']} us, epoch {report['epoch']}, detected "
        f"{report['detected_ms']} ms, activated {report['activation_ms']} ms, longest outage {client.stats['outage_ms']} ms"
    )


@pytest.mark.long_form
def test_protection_begins_and_ends_without_a_trace(hosts):
    it = Protected(hosts, "pvh")
    client = it.session()
    number = it.guest.domain_id()
    it.name = str(number)  # a domain's number does, as for xl
    hosts.remus("A", "protect", it.name, "--to", "hostB", *it.options, timeout=PATIENCE_S)
    it.name = it.guest.spec.name
    it.wait_protected()
    it.wait_for_commits()
    it.verify()
    hosts.remus("A", "unprotect", it.name, timeout=PATIENCE_S)
    it.moves(client)
    intact(client)
    assert hosts.host("A").domains()[it.name].id == number
    for host in hosts.hosts.values():
        eventually(lambda host=host: traces(host) == [], PATIENCE_S, what=f"no trace on {host.name}")
    assert hosts.host("B").domains() == {}


@pytest.mark.long_form
@pytest.mark.parametrize("victim", ["guard", "guard and keeper"])
def test_a_killed_guard_harms_nobody(hosts, victim):
    """The keeper, or else the daemon's next guard, lets the held packets pass and the domain run; then it is protected again."""
    it = Protected(hosts, "pvh")
    client = it.session()
    it.protect()
    host = hosts.host("A")
    names = ["remus-guard"] if victim == "guard" else ["remus-keeper", "remus-guard"]
    old = it.guard("A")["pid"]
    for pid, name in host.processes().items():
        if name in names:
            host.signal(pid, signal.SIGKILL)
    it.moves(client)
    eventually(lambda: it.guard("A").get("pid") not in (None, old), PATIENCE_S, what="a new guard", pause=LOOK_S)
    it.wait_protected()
    it.wait_for_commits()
    it.moves(client)
    intact(client)


@pytest.mark.long_form
@pytest.mark.parametrize("name", ["A", "B"])
def test_a_dom0_out_of_memory_harms_no_guest(hosts, name):
    """Its kernel ends a program that takes all there is. A host that is silent for too long meanwhile is superseded, and fenced."""
    it = Protected(hosts, "pvh")
    client = it.session()
    it.protect()
    it.wait_for_commits()
    eaten = hosts.host(name).run(["tail", "/dev/zero"], check=False, timeout=PATIENCE_S)
    assert eaten.returncode != 0
    it.moves(client)
    settled = lambda: it.guard("B").get("state") == "active" or it.status("A")["protected"]  # noqa: E731
    eventually(settled, PATIENCE_S, what="protected again, or taken over", pause=LOOK_S)
    it.moves(client)
    intact(client)
    here = lambda: [name for name, host in hosts.hosts.items() if it.name in host.domains()]  # noqa: E731
    eventually(lambda: len(here()) == 1, PATIENCE_S, what="one host has it, and one only", pause=LOOK_S)


@pytest.mark.long_form
def test_a_cut_link_does_not_make_two_of_it(hosts):
    """Under the manual arbiter the backup never activates by itself; the primary goes alone and speaks on."""
    it = Protected(hosts, "pvh", ["--arbiter", "manual", *OPTIONS[:-1], "31s"])
    client = it.session()
    it.protect()
    hosts.link("repl").cut()
    hosts.link("lanB").cut()
    eventually(lambda: it.guard("A").get("state") == "alone", PATIENCE_S, what="the primary goes alone", pause=LOOK_S)
    it.moves(client)
    assert it.guard("B")["state"] in ("suspecting", "stale", "claiming")
    assert it.name not in hosts.host("B").domains(), "activated against the manual arbiter"
    hosts.link("repl").restore()
    hosts.link("lanB").restore()
    it.wait_protected()
    it.moves(client)
    intact(client)


@pytest.mark.long_form
def test_a_guest_that_shuts_down_stays_down(hosts):
    """`xl shutdown` and its kin are no failure: nothing is activated, and protection ends on both sides."""
    it = Protected(hosts, "pvh")
    it.protect()
    hosts.host("A").xl("shutdown", it.name)
    eventually(lambda: it.name not in hosts.host("A").domains(), PATIENCE_S, what="it is off")
    for host in hosts.hosts.values():
        eventually(lambda host=host: traces(host) == [], PATIENCE_S, what=f"no trace on {host.name}")
    assert hosts.host("B").domains() == {}


@pytest.mark.long_form
def test_a_configuration_asks_for_protection(hosts):
    """remusd heeds it once in the domain's life: what its administrator unprotects stays so, also for the next remusd."""
    flags = dict(zip(OPTIONS[::2], OPTIONS[1::2], strict=True))
    words = ["to=hostB", *(f"{flag.removeprefix('--')}={value}" for flag, value in flags.items())]
    it = Protected(hosts, GuestSpec(memory_mib=128, extra=(f'remus = "{",".join(words)}"',)))
    guests = lambda: [guest["name"] for guest in hosts.remus_json("A", "status")["guests"]]  # noqa: E731
    eventually(lambda: it.name in guests(), PATIENCE_S, what="protection begins", pause=LOOK_S)
    it.wait_protected()
    it.wait_for_commits()
    hosts.remus("A", "unprotect", it.name, timeout=PATIENCE_S)
    for pid in hosts.host("A").pids("remusd"):
        hosts.host("A").signal(pid, signal.SIGTERM)
    eventually(lambda: not hosts.host("A").pids("remusd"), PATIENCE_S, what="remusd ends")
    hosts.start_remus("A")
    time.sleep(15)  # several of its looks
    assert guests() == []
    assert it.name in hosts.host("A").domains()


def test_what_cannot_be_protected_is_refused_before_it_is_touched(hosts):
    refused = hosts.remus("A", "protect", "nosuch", "--to", "hostB", check=False)
    assert refused.returncode == 3 and "nosuch" in refused.stderr, refused
    refused = hosts.remus("A", "protect", "Domain-0", "--to", "hostB", check=False)
    assert refused.returncode != 0 and "Domain-0" in refused.stderr, refused
    with pytest.raises(LabError):
        hosts.remus("A", "protect", "4711", "--to", "hostB")
    for host in hosts.hosts.values():
        eventually(lambda host=host: traces(host) == [], PATIENCE_S, what=f"no trace on {host.name}")


@pytest.mark.long_form
def test_what_forbids_it_is_said_before_the_guest_is_touched(hosts):
    """Of the domain, or of the host that would take it over: one sentence, and the domain runs on as it was."""
    a, b = hosts.host("A"), hosts.host("B")
    a.shell("ip link add name xenbr9 type bridge && ip link set xenbr9 up; head -c 1M /dev/zero > /var/tmp/disk.img")
    disk = "disk = ['format=raw,vdev=xvda,access=rw,target=/var/tmp/disk.img']"
    elsewhere = "vif = ['mac=00:16:3e:77:09:20,bridge=xenbr9']"
    hosts.start_guest(GuestSpec(name="other", memory_mib=400), on="B", wait=False)
    free_mib = int(b.shell("xl info | sed -n 's/^free_memory *: //p'"))
    cases = {
        "written": (GuestSpec(memory_mib=96, extra=(disk,)), "xvda"),
        "nowhere": (GuestSpec(memory_mib=96, extra=(elsewhere,)), "xenbr9"),
        "large": (GuestSpec(memory_mib=free_mib + 100), "memory"),
    }
    try:
        for case, (spec, word) in cases.items():
            # `nowhere` gives the same key twice: xl takes the last.
            guest = hosts.start_guest(spec, on="A", wait=False)
            refused = hosts.remus("A", "protect", "web1", "--to", "hostB", *OPTIONS, check=False, timeout=PATIENCE_S)
            print(f"{case}: {refused.stderr.strip()}")
            assert refused.returncode != 0 and word in refused.stderr, (case, refused)
            assert a.domains()["web1"].id == guest.domain_id() and "p" not in a.domains()["web1"].state, case
            guest.destroy()
            eventually(lambda: not a.domains(), PATIENCE_S, what="it is gone")
        guest = hosts.start_guest(GuestSpec(memory_mib=128), on="A")
        a.xl("mem-set", "web1", 96)
        refused = hosts.remus("A", "protect", "web1", "--to", "hostB", *OPTIONS, check=False, timeout=PATIENCE_S)
        assert refused.returncode != 0 and "ballooned" in refused.stderr, refused
        assert guest.shell("echo yes").strip() == "yes"
    finally:
        a.shell("ip link del xenbr9")
    for host in (a, b):
        eventually(lambda host=host: traces(host) == [], PATIENCE_S, what=f"no trace on {host.name}")


def test_the_doctor_knows_xen(hosts):
    said = hosts.remus("A", "doctor", "--json", check=False).stdout
    checks = {check["name"]: check for check in json.loads(said)["checks"]}
    for name in ("xen", "xen-shadow", "xen-memory", "xen-output", "xen on hostB"):
        assert checks[name]["verdict"] == "ok", checks.get(name)
    assert "kvm" not in checks
