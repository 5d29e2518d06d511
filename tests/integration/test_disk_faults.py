"""Whatever fails around a guest's disks: it runs on, protection comes back, and what comes back is right.

Right is proved by what matters: after each scenario the primary's host dies, the guest goes on with the backup's disk, and in
the end the database has every acknowledged transaction.
"""

import json
import os
import random
import signal

import pytest
from account import DISK, SPEC, copies, nothing_differs
from eventually import eventually
from pair import Pair, new_lab, settle


from lab.qemu.qmp import Qmp


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("diskfaults") as lab:
        pair = Pair(lab)
        pair.start_guest(SPEC)
        pair.protect("--disk", DISK)
        pair.wait_protected()
        yield pair


@pytest.fixture
def account(pair, database):
    """Transactions that go on through the scenario; then the host dies, and they go on where the backup was."""
    pair.wait_protected()
    database.moves()
    yield database
    database.moves()
    pair.wait_protected()
    pair.wait_for_commits()
    pair.lab.host(pair.primary).power_cut()
    pair.wait_active_on_backup()
    database.moves()
    pair.turn_round("--disk", DISK)


def back_to_protected(pair) -> None:
    eventually(pair.is_protected, 90, what="protection comes back by itself")
    pair.wait_for_commits(2)


def test_backup_guard_killed(pair, account):
    before = len(copies(pair))
    pair.lab.host(pair.backup).signal(pair.guard_pid(pair.backup), signal.SIGKILL)
    account.moves()
    back_to_protected(pair)
    after = copies(pair)
    assert len(after) > before
    assert after[-1]["copied_bytes"] < after[-1]["bytes"] // 2, "only what has changed is copied again"


def test_replication_link_cut_and_restored(pair, account):
    before = len(copies(pair))
    link = pair.lab.link("repl")
    link.cut()
    account.moves()
    settle(4)
    account.moves()
    link.restore()
    back_to_protected(pair)
    after = copies(pair)
    assert len(after) == before or after[-1]["copied_bytes"] < after[-1]["bytes"] // 2


def test_primary_guard_killed(pair, account, soak):
    """Its log is gone with it: what QEMU has recorded is compared with the replica, and little of it differs."""
    for _ in range(20 if soak else 1):
        before = len(copies(pair))
        pair.lab.host(pair.primary).signal(pair.guard_pid(pair.primary), signal.SIGKILL)
        account.moves()
        back_to_protected(pair)
        after = copies(pair)
        assert len(after) > before
        print(after[-1])
        assert after[-1]["copied_bytes"] < after[-1]["bytes"] // 8
        assert after[-1]["compared_bytes"] < after[-1]["bytes"] // 2
        settle(random.random() * 3)
    nothing_differs(pair)


def test_what_the_old_primary_wrote_last_is_rolled_back(pair, account):
    """After a failover its disk, which holds what no epoch has, becomes the replica: the account's end is a guest on it."""
    old = pair.lab.host(pair.primary)
    places = 64
    with open(old.path(SPEC.disk_file), "r+b") as disk:  # a host that is down has no paths
        size = disk.seek(0, os.SEEK_END)
        old.power_cut()
        pair.wait_active_on_backup()
        account.moves()
        for place in range(places):  # the superblock is among them
            disk.seek(place * (size // places))
            disk.write(os.urandom(8192))
    pair.turn_round("--disk", DISK)
    told = copies(pair)[-1]
    print(told)
    assert told["compared_bytes"] == told["bytes"] == size
    assert places * 8192 <= told["copied_bytes"] < size // 4
    nothing_differs(pair)


@pytest.mark.long_form
@pytest.mark.parametrize("who", ["guard A", "guard B"])
def test_guard_stopped_for_five_seconds(pair, account, who):
    host = pair.primary if who == "guard A" else pair.backup
    pid = pair.guard_pid(host)
    pair.lab.host(host).signal(pid, signal.SIGSTOP)
    settle(5)
    pair.lab.host(host).signal(pid, signal.SIGCONT)
    account.moves()
    back_to_protected(pair)


@pytest.mark.long_form
def test_backup_host_loses_power(pair, account):
    host = pair.lab.host(pair.backup)
    host.power_cut()
    account.moves()
    host.boot()
    pair.lab.start_remus(pair.backup)
    back_to_protected(pair)


@pytest.mark.long_form
def test_the_backups_journal_has_no_room(pair, account):
    host = pair.lab.host(pair.backup)
    filler = "/var/lib/remus/filler"
    host.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1M"], check=False, timeout=120)
    try:
        settle(3)
        account.moves()
    finally:
        host.run(["rm", "-f", filler])
    back_to_protected(pair)


def test_verify_proves_equality_while_the_guest_writes(pair, account):
    report = pair.lab.remus_json(pair.primary, "verify", pair.name, "--disks", timeout=120)
    print(report)
    assert report["pages_different"] == 0
    assert report["blocks_different"] == 0
    assert report["blocks_compared"] > 1000
    assert report["bytes_left_out"] < 1 << 20
    account.moves()
    # And a block that differs is found: one that the guest does not use, changed behind our backs.
    backup = pair.lab.host(pair.backup)
    size = backup.path(SPEC.disk_file).stat().st_size
    with open(backup.path(SPEC.disk_file), "r+b") as disk:
        disk.seek(size - 4096)
        before = disk.read(8)
        disk.seek(size - 4096)
        disk.write(b"not this")
    found = pair.lab.remus(pair.primary, "verify", pair.name, "--disks", "--json", check=False, timeout=120)
    assert found.returncode != 0
    assert json.loads(found.stdout)["blocks_different"] == 1
    with open(backup.path(SPEC.disk_file), "r+b") as disk:
        disk.seek(size - 4096)
        disk.write(before)


def test_unprotect_and_protect_again(pair, account):
    pair.unprotect()
    account.moves()
    with Qmp(pair.lab.host(pair.primary).path(pair.qmp)) as qmp:
        nodes = [node["node-name"] for node in qmp.command("query-named-block-nodes", flat=True)]
        assert not [name for name in nodes if name.startswith("remus")], "we are out of its way"
        assert not [node for node in qmp.command("query-named-block-nodes", flat=True) if node.get("dirty-bitmaps")]
        assert qmp.command("query-jobs") == []
    pair.protect("--disk", DISK)
    back_to_protected(pair)
