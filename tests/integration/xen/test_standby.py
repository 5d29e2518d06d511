"""The standby on Xen, driven with domains from files of stock `xl save`: no source of ours takes part.

A guest with a verified session is saved, so it is gone from the host; the standby is built from the file, filled, and
activated. The session goes on, the guest is an ordinary domain, and whatever fails leaves nothing behind.
"""

import signal

import pytest
from eventually import eventually

from lab.xen import GuestSpec

pytestmark = [pytest.mark.xen, pytest.mark.long_form]

FILE = "/var/tmp/web1.save"
RUN = "/run/remus/standby/web1"


def steps(host, *names: str, check: bool = True) -> dict[str, tuple[bool, str]]:
    """Runs the standby's trial program through these steps; of each: whether it went well, and what it said."""
    host.program("remus-xen-standby")
    done = host.run([host.program("standby_from_save"), FILE, "web1", *names], check=check, timeout=600)
    told = {}
    for line in done.stdout.splitlines():
        step, outcome, *rest = line.split(" ", 3)
        if outcome in ("ok", "error"):
            told[step] = (outcome == "ok", rest[-1] if rest else "")
    return told


def nothing_is_left(host) -> None:
    eventually(lambda: not host.domains(), 120, what="no domain")
    eventually(lambda: not host.pids("remus-xen-standby"), 120, what="no remus-xen-standby")
    assert not [name for name in host.shell("ls /sys/class/net").split() if name.startswith("vif")]
    assert host.run(["test", "-e", RUN], check=False).returncode == 1


@pytest.fixture
def host(lab):
    yield lab.host("A")
    for name in lab.host("A").domains():
        lab.host("A").xl("destroy", name, check=False)
    lab.host("A").shell(f"rm -rf {FILE} {RUN}")
    eventually(lambda: not lab.host("A").pids("remus-xen-standby"), 120, what="the domain's keeper ends with it")


@pytest.fixture
def saved(lab, host):
    """A file of a PVH guest that was saved while nobody spoke with it."""
    lab.start_guest(GuestSpec(kind="pvh", memory_mib=128), on="A")
    host.xl("save", "web1", FILE, timeout=600)
    eventually(lambda: not host.domains(), 60, what="the saved domain is gone")


@pytest.mark.parametrize(
    "kind",
    ["pvh", "pv", *(pytest.param(kind, marks=pytest.mark.long_form) for kind in ("hvm", "hvm-nopv", "pvh32", "hvm32", "pv32"))],
)
def test_session_goes_on_after_activation(lab, host, kind):
    guest = lab.start_guest(GuestSpec(kind=kind, memory_mib=128), on="A")
    client = lab.stream(guest, "--patience", 400, within=60)
    host.xl("save", "web1", FILE, timeout=600)
    eventually(lambda: not host.domains(), 60, what="the saved domain is gone")
    before = client.stats["records_in"]

    told = steps(host, "build", "prepare", "fill", "activate")

    assert told["activate"][0], told
    assert set(host.domains()) == {"web1"}  # not web1--incoming
    eventually(lambda: client.stats["records_in"] > before, 300, what="the session goes on")
    verdict = client.finish()
    assert verdict["lost"] == verdict["duplicated"] == verdict["changed"] == 0, verdict
    assert verdict["guest_restarted"] == verdict["guest_went_back"] == verdict["guest_faults"] == 0, verdict
    assert guest.spec.mac in host.xl("network-list", "web1").stdout
    assert f'"bridge": "xenbr0"' in host.xl("list", "-l", "web1").stdout
    assert len(host.pids("remus-xen-standby")) == 1  # stays with the domain

    host.xl("destroy", "web1")
    nothing_is_left_but_the_record(host)


def nothing_is_left_but_the_record(host) -> None:
    """The record of an activated standby stays, for the next guard to find; it keeps nothing."""
    host.shell(f"rm -rf {RUN}")
    nothing_is_left(host)


def test_discarded_standby_leaves_nothing(host, saved):
    told = steps(host, "build", "prepare", "health", "discard", "find", check=False)
    assert told["health"] == (True, "healthy") and told["discard"][0], told
    assert not told["find"][0]
    nothing_is_left(host)


def test_dead_guard_leaves_nothing(host, saved):
    steps(host, "build", "prepare", "die", check=False)
    eventually(lambda: not host.domains(), 120, what="libxl abandons the restore")
    assert steps(host, "clear")["clear"][0]
    nothing_is_left(host)


def test_dead_guard_and_dead_restore_are_cleared_by_the_next_guard(host, saved):
    process = host.spawn([host.program("standby_from_save"), FILE, "web1", "build", "prepare", "linger"], name="trial")
    eventually(lambda: "prepare ok" in process.output, 300, what="the standby waits")
    for pid in [process.pid, *host.pids("remus-xen-standby")]:
        host.signal(pid, signal.SIGKILL)
    eventually(lambda: not host.pids("remus-xen-standby"), 60, what="it is dead")
    assert set(host.domains()) == {"web1--incoming"}
    assert steps(host, "clear")["clear"][0]
    nothing_is_left(host)


def test_dead_restore_is_seen_and_cleared(host, saved):
    process = host.spawn(
        [host.program("standby_from_save"), FILE, "web1", "build", "prepare", "wait:/tmp/go", "health", "activate", "discard"],
        name="trial",
    )
    eventually(lambda: "prepare ok" in process.output, 300, what="the standby waits")
    for pid in host.pids("remus-xen-standby"):
        host.signal(pid, signal.SIGKILL)
    host.write("/tmp/go", "")
    process.wait(300)
    host.run(["rm", "/tmp/go"])
    assert " ill" in process.output and "activate error" in process.output, process.output
    nothing_is_left(host)


def test_name_in_use_is_refused(lab, host, saved):
    lab.start_guest(GuestSpec(kind="pvh", memory_mib=128), on="A")
    good, said = steps(host, "build", check=False)["build"]
    assert not good and "this host has a domain 'web1'" in said, said
    assert set(host.domains()) == {"web1"}
