"""Disks of Xen domains fail over with them: every transaction the database acknowledged is there, wherever the domain goes on."""

import pytest
from account import Account
from protected import PATIENCE_S, Protected

from lab.xen import GuestSpec

pytestmark = pytest.mark.xen

# An HVM guest's root is a PV disk of the device model's, or, without PV drivers, one that it emulates.
KINDS = ["pvh", *(pytest.param(kind, marks=pytest.mark.long_form) for kind in ("pv", "hvm", "hvm-nopv"))]




@pytest.mark.parametrize("kind", KINDS)
def test_every_acknowledged_transaction_survives(hosts, kind, kills):
    """The host dies in the midst of writes, again and again, from host to host; in the end the file system is clean."""
    spec = GuestSpec(name=f"db-{kind}", kind=kind, memory_mib=160, run="ledger,stream-server", disk=True)
    it = Protected(hosts, spec)
    it.options += ["--disk", spec.root_device]
    account = Account(it, patience_s=PATIENCE_S)
    for kill in range(kills):
        if kill > 0:
            it.turn_round()
        it.protect()
        it.wait_for_commits()
        account.moves()
        hosts.host(it.primary).power_cut()
        report = it.wait_active()
        account.moves()
        print(f"{kind}, death {kill}: epoch {report['epoch']}, activated in {report['activation_ms']} ms, {account.acknowledged} transactions")
    account.close()
    host = hosts.host(it.backup)
    hosts.remus(it.backup, "unprotect", it.name)
    it.guest.shell("kill $(cat /run/pid/ledger); sync; mount -o remount,ro /")
    it.guest.destroy(host)
    host.run(["e2fsck", "-fn", spec.root])
