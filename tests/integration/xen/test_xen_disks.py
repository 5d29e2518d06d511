"""Disks of Xen domains fail over with them: every transaction the database acknowledged is there, wherever the domain goes on."""

import signal

import pytest
from account import Account
from eventually import eventually
from protected import LOOK_S, PATIENCE_S, VERIFY_PAUSE, Protected

from lab.xen import GuestSpec

pytestmark = pytest.mark.xen

# An HVM guest's root is a PV disk of the device model's, or, without PV drivers, one that it emulates.
KINDS = ["pvh", *(pytest.param(kind, marks=pytest.mark.long_form) for kind in ("pv", "hvm", "hvm-nopv"))]


@pytest.fixture
def kills(request: pytest.FixtureRequest, soak: bool) -> int:
    """Once in the short form, for a death takes two minutes here; on QEMU they go to and fro."""
    return request.config.getoption("--kills") or (10 if soak else 1)


def start(hosts, kind: str) -> tuple[Protected, Account]:
    spec = GuestSpec(name=f"db-{kind}", kind=kind, memory_mib=160, run="ledger,stream-server", disk=True)
    it = Protected(hosts, spec)
    it.options += ["--disk", spec.root_device]
    return it, Account(it, patience_s=PATIENCE_S)


def dies(it, account: Account) -> dict:
    """The primary's host does, in the midst of writes, and they go on where the backup was."""
    it.lab.host(it.primary).power_cut()
    report = it.wait_active()
    account.moves()
    return report


def nothing_differs(it) -> None:
    report = it.lab.remus_json(it.primary, "verify", it.name, "--disks", "--max-pause", VERIFY_PAUSE, timeout=PATIENCE_S)
    print(report)
    assert report["pages_different"] == 0 and report["blocks_different"] == 0 and report["blocks_compared"] > 1000, report


@pytest.mark.parametrize("kind", KINDS)
def test_every_acknowledged_transaction_survives(hosts, kind, kills):
    """The host dies in the midst of writes, again and again, from host to host; in the end the file system is clean."""
    it, account = start(hosts, kind)
    for kill in range(kills):
        if kill > 0:
            it.turn_round()
        it.protect()
        it.wait_for_commits()
        account.moves()
        report = dies(it, account)
        print(f"{kind}, death {kill}: epoch {report['epoch']}, activated in {report['activation_ms']} ms, {account.acknowledged} transactions")
    account.close()
    host = hosts.host(it.backup)
    hosts.remus(it.backup, "unprotect", it.name)
    it.guest.shell("kill $(cat /run/pid/ledger); sync; mount -o remount,ro /")
    it.guest.destroy(host)
    host.run(["e2fsck", "-fn", it.guest.spec.root])


@pytest.mark.long_form
@pytest.mark.parametrize("kind", KINDS)
def test_primary_guard_killed(hosts, kind):
    """In the write path of a domain: it runs and writes on, the next guard rescues it, and what the backup then has is all of it."""
    it, account = start(hosts, kind)
    it.protect()
    it.wait_for_commits()
    nothing_differs(it)
    account.moves()
    host = hosts.host(it.primary)
    old = it.guard(it.primary)["pid"]
    host.signal(old, signal.SIGKILL)
    account.moves()
    eventually(lambda: it.guard(it.primary).get("pid") not in (None, old), PATIENCE_S, what="a new guard", pause=LOOK_S)
    it.wait_protected()
    it.wait_for_commits()
    account.moves()
    nothing_differs(it)
    dies(it, account)
    account.close()
