"""Disks fail over with their guest: every transaction the database acknowledged is there, wherever the guest goes on."""

import json
import random
import subprocess

import pytest
from account import DISK, SPEC, Account
from pair import Pair, settle

from lab.qemu import Lab


@pytest.fixture
def pair(machine):
    with Lab("disks") as lab:
        pair = Pair(lab)
        pair.start_guest(SPEC)
        yield pair


def test_every_acknowledged_transaction_survives(pair, soak):
    """The host dies in the midst of writes, again and again, from host to host; in the end the file system is clean."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    pair.protect("--disk", DISK)
    pair.wait_protected()
    account = Account(pair)
    for round_number in range(50 if soak else 3):
        pair.wait_for_commits()
        account.moves()
        settle(chance.random())
        pair.lab.host(pair.primary).power_cut()
        report = pair.wait_active_on_backup()["failover"]
        account.moves()
        print(f"kill {round_number}: epoch {report['epoch']}, detected {report['detected_ms']} ms, "
              f"activated {report['activation_ms']} ms, {account.acknowledged} transactions")
        pair.turn_round("--disk", DISK)
    verdict = account.close()
    print(json.dumps(verdict))
    pair.unprotect()
    guest = pair.guest
    guest.shell("kill $(cat /run/pid/ledger); sync; mount -o remount,ro /")
    pair.lab.host(pair.primary).kill_all()
    clean = subprocess.run(["/sbin/e2fsck", "-fn", pair.lab.host(pair.primary).path(SPEC.disk_file)],
                           text=True, capture_output=True, check=False, timeout=60)
    assert clean.returncode == 0, clean.stdout + clean.stderr
