"""Whatever else fails on a Xen host: the guest runs on, the state shown is true, and protection comes back by itself.

One guest for all of it: each scenario begins with it protected, and ends with its session unharmed.
"""

import signal
import time

import pytest
from eventually import eventually
from protected import LOOK_S, PATIENCE_S, Protected, cleared, intact, ready

pytestmark = [pytest.mark.xen, pytest.mark.long_form]


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


def test_backup_host_loses_power_while_it_applies(it, session):
    it.wait_for_commits(1)
    it.lab.host("B").power_cut()
    it.moves(session)
    eventually(lambda: not it.status("A")["protected"], PATIENCE_S, what="the loss is shown", pause=LOOK_S)
    it.lab.host("B").boot()
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
