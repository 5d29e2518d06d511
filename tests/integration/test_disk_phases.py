"""Death at every phase of what is done for a guest's disks; as test_phases.py does it for the rest of the protocol.

What must hold: the database has every transaction it acknowledged, no guest stays paused, and protection is there again.
"""

import signal

import pytest
from account import DISK, SPEC, copies, nothing_differs
from eventually import eventually
from pair import AT_POINT, Pair, new_lab


# By the side that passes them, and when.
COPYING = ["disk.copy", "disk.read", "send.disk_sync"]
COMMITTING = ["send.disk_writes"]
PREPARING = ["disk.session_recorded", "sync.disk_hashes", "sync.disk"]
HOLDING = ["recv.disk_writes", "disk.held", "disk.committed", "disk.journal_durable", "disk.applied", "disk.settled"]
# Host and guard both gone before the guest runs: the disks are whole, the memory is lost.
NOTHING_LEFT = ["disk.activated"]
SUCCEEDING = ["disk.record_taken"]  # by the guard after a dead one
SHORT = {"disk.copy", "send.disk_writes", "disk.held", "disk.applied"}
SELDOM = {"disk.settled"}  # passed once in 32 MiB
ROUND = 20


def points(*lists):
    """All of them in the long form; some of each kind in the short one."""
    return [pytest.param(p, marks=() if p in SHORT else pytest.mark.long_form) for some in lists for p in some]


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("diskphases") as lab:
        pair = Pair(lab)
        pair.start_guest(SPEC)
        pair.protect("--disk", DISK)
        pair.wait_protected()
        yield pair


def protect_with(pair, host: str, point: str, action: str, count: int) -> None:
    """Protects the guest anew, by a guard on `host` that has the fault armed."""
    pair.unprotect()
    pair.arm(host, f"{point}={action}@{1 if point in SELDOM else count}")
    pair.protect("--disk", DISK, "--no-wait", check=False)


def write_much(pair) -> None:
    pair.guest.shell("dd if=/dev/zero of=/much bs=1M count=48 conv=fsync 2>/dev/null; rm /much; sync", timeout=120)


def reach(pair, host: str, point: str) -> None:
    if point in SELDOM:
        pair.wait_protected()
        write_much(pair)
    eventually(pair.at_point(host).exists, 60, what="the point is reached", pause=0.002)


@pytest.mark.parametrize("point", points(COMMITTING))
def test_primary_host_dies(pair, database, point):
    protect_with(pair, pair.primary, point, f"file:{AT_POINT}", ROUND)
    reach(pair, pair.primary, point)
    pair.lab.host(pair.primary).power_cut()
    pair.wait_active_on_backup()
    database.moves()
    pair.turn_round("--disk", DISK)


@pytest.mark.parametrize("point", points(HOLDING))
def test_primary_host_dies_while_the_backup_is_at(pair, database, point):
    """It may be in the midst of writing the journal, or a replica."""
    protect_with(pair, pair.backup, point, f"file:{AT_POINT}", ROUND)
    reach(pair, pair.backup, point)
    pair.lab.host(pair.primary).power_cut()
    pair.at_point(pair.backup).unlink()
    pair.wait_active_on_backup()
    database.moves()
    pair.turn_round("--disk", DISK)


def guard_dies(pair, database, host: str, point: str, count: int) -> None:
    protect_with(pair, host, point, "kill", count)
    if point in SELDOM:
        pair.wait_protected()
        write_much(pair)
    eventually(lambda: pair.struck(host), 60, what="the guard dies")
    database.moves()  # the guest runs, and writes
    pair.wait_protected()
    pair.wait_for_commits()
    pair.lab.host(pair.primary).power_cut()
    pair.wait_active_on_backup()
    database.moves()
    pair.turn_round("--disk", DISK)


@pytest.mark.parametrize("point", points(COPYING, COMMITTING))
def test_primary_guard_dies(pair, database, point):
    guard_dies(pair, database, pair.primary, point, 1 if point in COPYING else ROUND)


@pytest.mark.parametrize("point", points(PREPARING, HOLDING))
def test_backup_guard_dies(pair, database, point):
    guard_dies(pair, database, pair.backup, point, 1 if point in PREPARING else ROUND)


def test_primary_guard_dies_with_the_record_in_its_hands(pair, database):
    """The next one finds a record that ended when it was read, and must not believe it."""
    pair.wait_protected()
    pair.arm(pair.primary, f"{SUCCEEDING[0]}=kill@1")
    pair.lab.host(pair.primary).signal(pair.guard_pid(pair.primary), signal.SIGKILL)
    eventually(lambda: pair.struck(pair.primary), 60, what="the guard dies")
    database.moves()
    pair.wait_protected()
    told = copies(pair)[-1]
    assert told["compared_bytes"] == told["bytes"], told
    pair.wait_for_commits()
    nothing_differs(pair)
    pair.lab.host(pair.primary).power_cut()
    pair.wait_active_on_backup()
    database.moves()
    pair.turn_round("--disk", DISK)
