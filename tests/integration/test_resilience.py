"""Whatever else fails: the guest runs on, the state shown is true, and protection comes back by itself."""

import signal

import pytest
from eventually import eventually
from pair import Pair, new_lab, settle

from lab.qemu import GuestSpec


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("resilience") as lab:
        pair = Pair(lab)
        pair.start_guest(GuestSpec(run="stream-server,echo-server,counter,dirty:16:500:text"))
        pair.protect()
        pair.wait_protected()
        yield pair


@pytest.fixture
def client(pair):
    """A session that must come through the scenario unharmed; and protection must be there before and after."""
    pair.wait_protected()
    session = pair.lab.stream(pair.guest)
    yield session
    pair.client_moves(session)
    verdict = session.finish()
    assert verdict["ok"], verdict["reasons"]
    assert pair.guard("B").get("state") not in ("active", "activating"), "the backup must not have taken over"


def back_to_protected(pair, host: str = "A") -> None:
    eventually(pair.is_protected, 90, what="protection comes back by itself")
    pair.wait_for_commits(2)


def test_primary_guard_killed(pair, client):
    pair.lab.host("A").signal(pair.guard_pid("A"), signal.SIGKILL)
    pair.client_moves(client)
    back_to_protected(pair)


def test_primary_guard_killed_while_the_guest_is_paused(pair, client):
    """The worst moment: nobody but keeper and daemon can resume the guest."""
    pair.unprotect()
    pair.arm("A", "capture.paused=kill@20")
    pair.protect()
    eventually(lambda: pair.struck("A"), 60, what="the guard dies in a pause")
    eventually(lambda: pair.guest.status(pair.lab.host("A")) == "running", 20, what="the guest runs")
    pair.client_moves(client)
    back_to_protected(pair)


def test_backup_guard_killed(pair, client):
    pair.lab.host("B").signal(pair.guard_pid("B"), signal.SIGKILL)
    pair.client_moves(client)
    back_to_protected(pair)


def test_backup_host_loses_power(pair, client):
    host = pair.lab.host("B")
    host.power_cut()
    pair.client_moves(client)
    eventually(lambda: pair.status("A")["state"] != "protected", 30, what="the loss is shown")
    host.boot()
    pair.lab.start_remus("B")
    back_to_protected(pair)


def test_replication_link_cut_and_restored(pair, client):
    """The hosts still see each other over the LAN: the backup must not mistake the cut for a death."""
    link = pair.lab.link("repl")
    link.cut()
    pair.client_moves(client)
    settle(2)
    assert pair.guard("B").get("state") not in ("active", "activating", "claiming")
    link.restore()
    back_to_protected(pair)


@pytest.mark.parametrize("who", ["guard A", "guard B", "remusd A", "remusd B", "qemu A", "standby B"])
def test_process_stopped_for_five_seconds(pair, client, who):
    program, name = who.split()
    host = pair.lab.host(name)
    if program == "guard":
        pid = pair.guard_pid(name)
    else:
        pid = host.pids("remusd" if program == "remusd" else "qemu-system-x86_64")[0]
    host.signal(pid, signal.SIGSTOP)
    settle(5)
    host.signal(pid, signal.SIGCONT)
    pair.client_moves(client)
    back_to_protected(pair)


def test_both_daemons_killed_and_restarted(pair, client):
    guards = pair.guard_pid("A"), pair.guard_pid("B")
    for name in "AB":
        host = pair.lab.host(name)
        for pid in host.pids("remusd"):
            host.signal(pid, signal.SIGKILL)
    pair.client_moves(client)
    for name in "AB":
        eventually(lambda name=name: not pair.lab.host(name).pids("remusd"), 10, what="remusd is gone")
        pair.lab.start_remus(name)
    back_to_protected(pair)
    assert guards == (pair.guard_pid("A"), pair.guard_pid("B")), "guards are not disturbed by a daemon's end"


def test_backup_disk_and_memory_full(pair, client):
    host = pair.lab.host("B")
    for path in ("/var/lib/remus/filler", "/dev/shm/filler"):
        host.run(["dd", "if=/dev/zero", f"of={path}", "bs=1M"], check=False, timeout=120)
    try:
        pair.client_moves(client)
        pair.wait_for_commits(5)
        pair.lab.host("B").signal(pair.guard_pid("B"), signal.SIGKILL)
        pair.client_moves(client)
    finally:
        host.run(["rm", "-f", "/var/lib/remus/filler", "/dev/shm/filler"])
    back_to_protected(pair)


def test_verify_proves_equality(pair, client):
    report = pair.lab.remus_json("A", "verify", "web1")
    assert report["pages_different"] == 0
    assert report["pages_compared"] >= 256 * 1024 * 1024 // 4096


def test_unprotect_and_protect_again(pair, client):
    pair.unprotect()
    pair.client_moves(client)
    assert pair.lab.host("B").pids("qemu-system-x86_64") == [], "no standby is left over"
    pair.protect()
    pair.wait_protected()


def test_operator_failover_is_refused_while_the_primary_lives(pair, client):
    done = pair.lab.remus("B", "failover", "web1", "--yes", check=False)
    assert done.returncode != 0
    assert "primary" in (done.stdout + done.stderr)
