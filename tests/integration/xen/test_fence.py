"""A primary that was taken for dead and was not: when it comes back, its copy of the guest is destroyed, and nobody has heard of it."""

import os
import signal

import pytest
from eventually import eventually
from protected import LOOK_S, PATIENCE_S, Protected, intact, traces

pytestmark = [pytest.mark.xen, pytest.mark.long_form]


def taken_over(it: Protected) -> None:
    eventually(lambda: it.guard(it.backup).get("state") == "active", PATIENCE_S, what="the backup takes over", pause=LOOK_S)


def fenced(it: Protected, client) -> None:
    """It runs at the backup only, with its session; where it was, the superseded copy is gone without a trace."""
    old = it.lab.host(it.primary)
    eventually(lambda: it.name not in old.domains(), PATIENCE_S, what="the superseded copy is destroyed", pause=LOOK_S)
    it.moves(client)
    verdict = intact(client)
    print(f"{it.guest.spec.kind}: {verdict['records_in']} and {verdict['records_out']} records, outage {client.stats['outage_ms']} ms")
    assert set(it.lab.host(it.backup).domains()) == {it.name}
    assert it.guard(it.backup)["state"] == "active"
    eventually(lambda: traces(old) == [], PATIENCE_S, what=f"no trace on {old.name}", pause=LOOK_S)


@pytest.mark.parametrize("kind", ["pvh", "hvm", "hvm-nopv"])
def test_a_host_that_wakes_after_it_was_superseded_destroys_its_copy(hosts, kind):
    """The whole machine stands still, and goes on where it was: nothing on it has noticed that time went by."""
    it = Protected(hosts, kind)
    client = it.session()
    it.protect()
    it.wait_for_commits()
    it.moves(client)
    machine = hosts.host("A").machine_pid
    os.kill(machine, signal.SIGSTOP)
    try:
        taken_over(it)
        it.moves(client)
    finally:
        os.kill(machine, signal.SIGCONT)
    fenced(it, client)
    told = hosts.remus("A", "events", it.name).stdout
    assert "superseded" in told, told


def test_a_host_that_was_cut_off_destroys_its_copy_when_it_is_reached_again(hosts):
    """Both copies run for a while. That of the cut-off host speaks to nobody, for no backup acknowledges it any more."""
    it = Protected(hosts, "pvh")
    client = it.session()
    it.protect()
    it.wait_for_commits()
    it.moves(client)
    for link in ("repl", "lanA"):
        hosts.link(link).cut()
    taken_over(it)
    it.moves(client)
    assert it.name in hosts.host("A").domains(), "nobody has told it yet"
    for link in ("repl", "lanA"):
        hosts.link(link).restore()
    fenced(it, client)
