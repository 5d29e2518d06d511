"""Whatever else fails on a Xen host: the guest runs on, the state shown is true, and protection comes back by itself.

One guest for all of it: each scenario begins with it protected, and ends with its session unharmed.
"""

import signal
import time

import pytest
from eventually import eventually
from protected import LOOK_S, PATIENCE_S, Protected, cleared, intact, ready

pytestmark = [pytest.mark.xen, pytest.mark.long_form]

STRUCK, AT_POINT = "/run/host/fault-struck", "/run/host/at-point"
ROUND = 20  # how often the point is passed before it strikes: in the midst of protection


@pytest.fixture(scope="module")
def it(lab):
    ready(lab)
    it = Protected(lab, "pvh")
    it.protect()
    yield it
    cleared(lab)


@pytest.fixture
def session(it):
    """A session that must come through unharmed; protection must be there before, and again after."""
    it.wait_protected()
    client = it.session()
    yield client
    it.wait_protected()
    it.wait_for_commits()
    it.moves(client)
    intact(client)
    assert it.guard("B").get("state") not in ("active", "activating"), "the backup must not have taken over"
    assert it.name in it.lab.host("A").domains()


def arm(it, name: str, fault: str) -> None:
    """Guards that this host's daemon starts from now on have the fault point (src/base/fault.hpp); it strikes once."""
    host = it.lab.host(name)
    for left_over in (STRUCK, AT_POINT):
        host.path(left_over).unlink(missing_ok=True)
    host.signal(only(host, "remusd"), signal.SIGTERM)
    eventually(lambda: not host.pids("remusd"), PATIENCE_S, what="remusd ends")
    it.lab.start_remus(name, {"REMUS_FAULT": fault, "REMUS_FAULT_ONCE": STRUCK})


def only(host, name: str) -> int:
    found = [pid for pid, program in host.processes().items() if program == name]
    assert len(found) == 1, (name, host.processes())
    return found[0]


def test_daemons_killed_and_started_again(it, session):
    guards = [it.guard(name)["pid"] for name in "AB"]
    for host in it.lab.hosts.values():
        host.signal(only(host, "remusd"), signal.SIGKILL)
    it.moves(session)
    for name, host in it.lab.hosts.items():
        eventually(lambda host=host: not host.pids("remusd"), PATIENCE_S, what="remusd is gone")
        it.lab.start_remus(name)
    assert guards == [it.guard(name)["pid"] for name in "AB"], "guards are not disturbed by a daemon's end"


def test_backup_guard_killed(it, session):
    host = it.lab.host("B")
    old = it.guard("B")["pid"]
    host.signal(old, signal.SIGKILL)
    it.moves(session)
    eventually(lambda: it.guard("B").get("pid") not in (None, old), PATIENCE_S, what="a new guard", pause=LOOK_S)


def test_standby_killed(it, session):
    """What keeps the waiting domain on the backup: without it there is no standby, until there is one again."""
    host = it.lab.host("B")
    old = only(host, "remus-xen-stand")
    host.signal(old, signal.SIGKILL)
    it.moves(session)
    eventually(lambda: host.pids("remus-xen-standby") not in ([], [old]), PATIENCE_S, what="a new one", pause=LOOK_S)


@pytest.mark.parametrize("dies", ["guard", "host"])
def test_backup_dies_in_the_midst_of_applying(it, session, dies):
    """Between two batches of pages of one epoch: the standby's memory is neither this epoch's nor the last one's."""
    host = it.lab.host("B")
    action = "kill" if dies == "guard" else f"file:{AT_POINT}"
    it.lab.remus("A", "unprotect", it.name, timeout=PATIENCE_S)
    arm(it, "B", f"apply.mid={action}@{ROUND}")
    it.begin()
    if dies == "guard":
        eventually(host.path(STRUCK).exists, PATIENCE_S, what="the guard is killed")
        it.moves(session)
        return
    eventually(host.path(AT_POINT).exists, PATIENCE_S, what="an epoch is applied in part", pause=0.01)
    host.power_cut()
    it.moves(session)
    eventually(lambda: not it.status("A")["protected"], PATIENCE_S, what="the loss is shown", pause=LOOK_S)
    host.boot()
    it.lab.start_remus("B")


@pytest.mark.parametrize("name", ["A", "B"])
def test_xenstored_hangs(it, session, name):
    """For 20 s nobody on a host can ask xenstored anything, nor tell a guest to suspend."""
    host = it.lab.host(name)
    pid = only(host, "oxenstored" if "oxenstored" in host.processes().values() else "xenstored")
    host.signal(pid, signal.SIGSTOP)
    time.sleep(20)
    host.signal(pid, signal.SIGCONT)
    it.moves(session)


@pytest.mark.parametrize("who", ["remus-guard A", "remus-guard B", "remusd A", "remusd B", "remus-xen-stand B"])
def test_process_stopped_for_five_seconds(it, session, who):
    program, name = who.split()
    host = it.lab.host(name)
    pid = it.guard(name)["pid"] if program == "remus-guard" else only(host, program)
    host.signal(pid, signal.SIGSTOP)
    time.sleep(5)
    host.signal(pid, signal.SIGCONT)
    it.moves(session)
