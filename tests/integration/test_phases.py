"""Death at every phase of the protocol: fault points, compiled in, stop a process exactly there.

Three things are done at each: the primary's host dies, the primary's guard dies, the backup's guard dies. What must hold is the
same everywhere: the session loses nothing, no guest stays paused, and protection is there again.
"""

import re
from pathlib import Path

import pytest
import test_disk_phases as disks
from eventually import eventually
from pair import AT_POINT, Pair, new_lab

from lab.qemu import GuestSpec

SOURCES = Path(__file__).resolve().parents[2] / "src"

# By the side that passes it, in the order in which an epoch passes them.
SYNCHRONIZING = ["sync.begin", "sync.paused", "sync.captured", "sync.done", "send.sync_pages"]
COMMITTING = [
    "capture.begin", "capture.before", "capture.paused", "capture.captured", "capture.resumed", "capture.done",
    "encode.begin", "encode.done", "send.epoch_begin", "send.epoch_pages", "send.epoch_device", "send.epoch_end",
    "send.epoch_sent", "ack.received", "release.before", "release.after",
]  # fmt: skip
PREPARING = ["recv.session_begin", "standby.prepare", "sync.apply"]
HOLDING = ["recv.epoch_begin", "recv.epoch_pages", "recv.epoch_end", "ack.before", "ack.sent", "apply.begin", "apply.mid",
           "apply.done"]  # fmt: skip
ACTIVATED = ["activate.running", "activate.done"]
# Host and guard both gone before the guest runs again: what was acknowledged died with that guard, and nothing may go on
# from less than that.
NOTHING_LEFT = ["activate.record", "activate.begin", "activate.feeding"]
SHORT = {"recv.epoch_pages", "ack.before", "apply.mid", "capture.paused", "sync.paused", "standby.prepare"}
ROUND = 20  # how often a point of an epoch is passed before it strikes: in the midst of protection


def points(*lists):
    """All of them in the long form; some of each kind in the short one."""
    return [pytest.param(p, marks=() if p in SHORT else pytest.mark.long_form) for some in lists for p in some]


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("phases") as lab:
        pair = Pair(lab)
        pair.start_guest(GuestSpec(memory_mib=128, run="stream-server,echo-server,counter,dirty:16:1000:text"))
        pair.protect()
        pair.wait_protected()
        yield pair


@pytest.fixture
def client(pair):
    """A session that is there before the fault is armed, and comes through it unharmed."""
    session = pair.lab.stream(pair.guest)
    yield session
    pair.client_moves(session)
    verdict = session.finish()
    assert verdict["ok"], verdict["reasons"]
    assert (verdict["lost"], verdict["duplicated"], verdict["changed"], verdict["guest_went_back"]) == (0, 0, 0, 0)


def protect_with(pair, host: str, fault: str) -> None:
    """Protects the guest anew, by a guard on `host` that has the fault armed; the command itself may see it strike.

    It does not wait: a guard that stands at its point answers nobody, and a host that is to die at that moment would die when
    the command has given up, long after the backup's lease has expired.
    """
    pair.unprotect()
    pair.arm(host, fault)
    pair.protect("--no-wait", check=False)


def reached(pair, host: str) -> None:
    eventually(pair.at_point(host).exists, 60, what="the point is reached", pause=0.002)


def test_every_fault_point_is_struck():
    """A point that is added to the product, and to no list here, is a phase nobody dies in."""
    named = set()
    for source in SOURCES.rglob("*.cpp"):
        if "xen" in source.relative_to(SOURCES).parts:  # those strike in xen/
            continue
        named |= set(re.findall(r'REMUS_FAULT_POINT\("([^"]+)"\)', source.read_text()))
    of_disks = set(disks.COPYING + disks.COMMITTING + disks.PREPARING + disks.HOLDING + disks.NOTHING_LEFT + disks.SUCCEEDING)
    assert named == of_disks | set(SYNCHRONIZING + COMMITTING + PREPARING + HOLDING + ACTIVATED + NOTHING_LEFT)


@pytest.mark.parametrize("point", COMMITTING)
def test_primary_host_dies(pair, client, point):
    """Its host loses power at the moment the guard is there: the guest goes on from the last committed epoch."""
    protect_with(pair, pair.primary, f"{point}=file:{AT_POINT}@{ROUND}")
    reached(pair, pair.primary)
    pair.lab.host(pair.primary).power_cut()
    pair.wait_active_on_backup()
    pair.client_moves(client)
    pair.turn_round()


@pytest.mark.parametrize("point", points(HOLDING))
def test_primary_host_dies_while_the_backup_is_at(pair, client, point):
    """What the backup holds by half is not used, what it holds whole is; it may be in the midst of writing it."""
    protect_with(pair, pair.backup, f"{point}=file:{AT_POINT}@{ROUND}")
    reached(pair, pair.backup)
    pair.lab.host(pair.primary).power_cut()
    pair.at_point(pair.backup).unlink()
    pair.wait_active_on_backup()
    pair.client_moves(client)
    pair.turn_round()


def guard_dies(pair, client, host: str, fault: str) -> None:
    protect_with(pair, host, fault)
    eventually(lambda: pair.struck(host), 60, what="the guard dies")
    pair.client_moves(client)  # the guest runs
    pair.wait_protected()
    pair.wait_for_commits()


@pytest.mark.parametrize("point", points(SYNCHRONIZING, COMMITTING))
def test_primary_guard_dies(pair, client, point):
    """Nobody but keeper and daemon can resume a guest that was paused just then."""
    count = 1 if point in SYNCHRONIZING else ROUND
    guard_dies(pair, client, pair.primary, f"{point}=kill@{count}")


@pytest.mark.parametrize("point", points(PREPARING, HOLDING))
def test_backup_guard_dies(pair, client, point):
    count = 1 if point in PREPARING else ROUND
    guard_dies(pair, client, pair.backup, f"{point}=kill@{count}")


@pytest.mark.parametrize("point", ACTIVATED)
def test_backup_guard_dies_while_it_takes_over(pair, client, point):
    """The guest runs: whoever comes after this guard finds it, and says so."""
    protect_with(pair, pair.backup, f"{point}=kill@1")
    pair.wait_protected()
    pair.wait_for_commits()
    pair.lab.host(pair.primary).power_cut()
    eventually(lambda: pair.struck(pair.backup), 60, what="the guard dies")
    eventually(lambda: pair.status(pair.backup)["state"] == "unprotected", 60, what="the daemon finds it running")
    pair.client_moves(client)
    pair.turn_round()
