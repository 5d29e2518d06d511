"""The lab's guest with a real disk, and the account its client keeps: they must be right before anything is measured by them."""

import json
import os
import signal
import subprocess
import time

import pytest

from lab.common.client.transactions import compare, text_of
from lab.qemu import GuestSpec, Lab


def fsck(lab: Lab, spec: GuestSpec) -> subprocess.CompletedProcess:
    """e2fsck, which changes nothing, on a disk that no guest uses."""
    return subprocess.run(
        ["/sbin/e2fsck", "-fn", lab.host("A").path(spec.disk_file)], text=True, capture_output=True, check=False, timeout=60
    )


def held(numbers: list[int]) -> dict:
    return {number: (1, text_of(number)) for number in numbers}


@pytest.mark.parametrize(
    "entries, end, word",
    [
        (held([1, 2, 3]), ["3", "6", "ok"], ""),
        (held([1, 2]), ["2", "3", "ok"], "lost: [3]"),
        (held([1, 2, 3, 4]), ["4", "10", "ok"], ""),
        (held([1, 2, 3, 4, 5]), ["5", "15", "ok"], "foreign: [5]"),
        (held([1, 2]) | {3: (2, text_of(3))}, ["4", "9", "ok"], "twice: [3]"),
        (held([1, 2]) | {3: (1, "other")}, ["3", "6", "ok"], "foreign: [3]"),
        (held([1, 2, 3]), ["3", "7", "ok"], "the sums say"),
        (held([1, 2, 3]), ["3", "6", "row 1 missing"], "integrity"),
    ],
)
def test_the_account_notices(entries, end, word):
    verdict = compare(entries, end, sent=4, acknowledged=3)
    assert verdict["ok"] == (not word)
    assert word in " ".join(verdict["reasons"])


def test_a_disk_outlives_its_guest():
    spec = GuestSpec(name="db", run="ledger", disk=True)
    with Lab() as lab:
        guest = lab.start_guest(spec, on="A")
        assert "ext4" in guest.shell("grep ' / ' /proc/mounts")
        record = lab.host("A").path("/run/host/record.json")
        client = lab.client("transactions", spec.address, "--patience", 5, "--record", record)
        while client.stats.get("acknowledged", 0) < 20 and client.running:
            time.sleep(0.05)
        os.kill(guest.process.pid, signal.SIGKILL)  # in the midst of a transaction
        guest.process.wait(10)
        verdict = client.wait()
        assert verdict["acknowledged"] >= 20 and not verdict["ok"], "the guest went from under it"
        assert json.loads(record.read_text(encoding="ascii"))["acknowledged"] == verdict["acknowledged"]

        again = lab.start_guest(spec, on="A")
        verdict = lab.client("transactions", spec.address, "--check-only", record).wait()
        assert verdict["ok"], verdict
        assert verdict["present"] >= verdict["acknowledged"] >= 20
        again.shell("kill $(cat /run/pid/ledger); sync; sync; mount -o remount,ro /")
        again.process.stop()
        clean = fsck(lab, spec)
        assert clean.returncode == 0, clean.stdout + clean.stderr
        # And a damaged one is noticed.
        subprocess.run(["/sbin/debugfs", "-w", "-R", "clri <2>", lab.host("A").path(spec.disk_file)], check=True, timeout=60)
        assert fsck(lab, spec).returncode != 0
