"""The main job on Xen: a domain of any kind is protected from A to B, A dies at any moment, and the domain goes on at B.

One domain at a time: all of a host share one emulated processor. `--kills N` does it N times a kind, `--soak` ten.
"""

import json
import random
import signal
import time

import pytest
from eventually import eventually

from lab.xen import GuestSpec, LabError

pytestmark = pytest.mark.xen

PATIENCE_S = 300  # against hanging only: an emulated host on a busy machine takes its time
LOOK_S = 1  # each look is a program more on the processor that the guest, its dom0 and the guard share
# Nothing here is about how soon a death is noticed; an emulated processor that others use too is often silent.
OPTIONS = ["--heartbeat", "200ms", "--detect-min", "4s", "--detect-max", "30s", "--alone-after", "90s"]
SESSION = ["--interval", 0.02, "--patience", PATIENCE_S]  # 50 records a second, either way
# One kind in the short form: each takes minutes, most of them in an emulated dom0 that encrypts and copies.
KINDS = [
    "pvh",
    *(pytest.param(kind, marks=pytest.mark.long_form) for kind in ("pv", "hvm", "hvm-nopv", "pvh32", "hvm32", "pv32")),
]


class Protected:
    """A guest on A, protected to B, and what is seen of it."""

    def __init__(self, lab, kind: str, options: list[str] | None = None, extra: tuple[str, ...] = ()) -> None:
        self.lab = lab
        self.guest = lab.start_guest(GuestSpec(kind=kind, memory_mib=128, extra=extra), on="A")
        self.name = self.guest.spec.name
        # An HVM guest boots from a disk, and never writes to it again.
        self.options = [*(options or OPTIONS), *(["--vouched-disk", "hda"] if self.guest.spec.has_bios else [])]

    def protect(self) -> None:
        began = time.monotonic()
        self.lab.remus("A", "protect", self.name, "--to", "hostB", *self.options, timeout=PATIENCE_S)
        self.wait_protected()
        print(f"{self.guest.spec.kind}: protected after {time.monotonic() - began:.0f} s")

    def session(self):
        """A busy TCP session with it, every byte verified."""
        return self.lab.stream(self.guest, *SESSION, within=PATIENCE_S)

    def status(self, host: str) -> dict:
        return self.lab.remus_json(host, "status", self.name)

    def guard(self, host: str) -> dict:
        return self.status(host).get("guard") or {}

    def wait_protected(self) -> None:
        eventually(lambda: self.status("A")["protected"], PATIENCE_S, what="protected", pause=LOOK_S)

    def wait_for_commits(self, count: int = 3) -> None:
        committed = lambda: (self.guard("A").get("epoch") or {}).get("committed") or 0  # noqa: E731
        before = committed()
        eventually(lambda: committed() >= before + count, PATIENCE_S, what=f"{count} more commits", pause=LOOK_S)

    def moves(self, client) -> None:
        before = client.stats.get("records_in", 0)
        eventually(lambda: client.stats.get("records_in", 0) > before + 5, PATIENCE_S, what="the session goes on")


def traces(host) -> list[str]:
    """What of ours is on a host that protects nothing and keeps no standby."""
    found = [name for name in host.processes().values() if name in ("remus-guard", "remus-keeper", "remus-xen-stand")]
    links = host.shell("ip -o link").splitlines()
    found += [line.split(":")[1].strip() for line in links if line.split(":")[1].strip().startswith("rms")]
    found += [name for name in host.domains() if name.endswith("--incoming")]
    return found


def ready(lab) -> None:
    """Both hosts up, with remusd."""
    down = [host for host in lab.hosts.values() if not host.is_up]
    for host in down:
        host.switch_on()
    for host in down:
        host.wait_until_up()
    lab.install_remus()


def cleared(lab) -> None:
    """Whatever a test has left: nothing is protected, nothing runs."""
    for name, host in lab.hosts.items():
        if not host.is_up:
            continue
        for guest in host.domains():
            lab.remus(name, "unprotect", guest.removesuffix("--incoming"), "--force", check=False)
            host.xl("destroy", guest, check=False)
        for pid, program in host.processes().items():
            if program in ("remusd", "remus-guard", "remus-keeper", "remus-xen-stand"):
                host.run(["kill", "-9", pid], check=False)
        eventually(lambda host=host: not host.domains(), PATIENCE_S, what=f"no domain on {host.name}")
        host.shell("rm -rf /var/lib/remus/* /run/remus/*")


@pytest.fixture
def hosts(lab):
    """Two hosts that run and protect nothing, with remusd."""
    ready(lab)
    yield lab
    cleared(lab)


def intact(client) -> dict:
    verdict = client.finish()
    assert verdict["ok"], verdict["reasons"]
    assert (verdict["lost"], verdict["duplicated"], verdict["changed"], verdict["guest_went_back"]) == (0, 0, 0, 0)
    return verdict


@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_at_b_when_a_dies(hosts, kind, kills):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    for kill in range(kills):
        if kill > 0:
            cleared(hosts)
            ready(hosts)
        goes_on(hosts, kind, chance.uniform(0, 2))


def goes_on(hosts, kind: str, after_s: float) -> None:
    """Host A loses its power `after_s` seconds into the protection of a guest with a busy session."""
    it = Protected(hosts, kind)
    client = it.session()
    it.protect()
    it.wait_for_commits()
    it.moves(client)
    pause = it.guard("A")["pause"]
    time.sleep(after_s)
    client_knew = client.stats["guest_uptime_ms"]
    hosts.host("A").power_cut()
    report = eventually(
        lambda: (g := it.guard("B")).get("state") == "active" and g,
        PATIENCE_S,
        what="active on B",
        pause=LOOK_S,
    )["failover"]
    it.moves(client)
    assert client.stats["guest_uptime_ms"] >= client_knew, "the guest went back behind what the client saw"
    verdict = intact(client)
    print(
        f"{kind}: pause p50 {pause['p50_us']} us, epoch {report['epoch']}, detected {report['detected_ms']} ms, "
        f"activated {report['activation_ms']} ms, outage {verdict['outage_ms']} ms, records to the client "
        f"{verdict['records_in']}, to the guest {verdict['records_out']}"
    )
    domains = hosts.host("B").domains()
    assert set(domains) == {it.name}, domains
    hosts.remus("B", "unprotect", it.name)
    assert set(hosts.host("B").domains()) == {it.name}, "to give up protection must not touch the guest"
    it.guest.destroy(hosts.host("B"))
    eventually(lambda: traces(hosts.host("B")) == [], PATIENCE_S, what="no trace on B")


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
    report = hosts.remus_json("A", "verify", it.name, timeout=PATIENCE_S)
    assert report["pages_compared"] > 0 and report["pages_different"] == 0, report
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
    it = Protected(hosts, "pvh", extra=(f'remus = "{",".join(words)}"',))
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


def test_the_doctor_knows_xen(hosts):
    said = hosts.remus("A", "doctor", "--json", check=False).stdout
    checks = {check["name"]: check for check in json.loads(said)["checks"]}
    for name in ("xen", "xen-shadow", "xen-memory", "xen-output", "xen on hostB"):
        assert checks[name]["verdict"] == "ok", checks.get(name)
    assert "kvm" not in checks
