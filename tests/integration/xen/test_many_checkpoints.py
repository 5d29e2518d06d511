"""Four domains at once, thousands of checkpoints: neither host comes to hold more for them than it did."""

import time

import pytest
from company import Company
from eventually import eventually
from holdings import Holdings, growth, holdings
from protected import LOOK_S, PATIENCE_S, traces

pytestmark = [pytest.mark.xen, pytest.mark.long_form]

# One Linux, and three small guests: a checkpoint of another Linux takes a tenth of a second of its host's one processor.
KINDS = ("pvh", "pv32", "pv32", "pv32")
CHECKPOINTS = 5000  # of all together
WARM = 100  # of each: by then every buffer has found its size
SESSION_S_MAX = 3600
# Idle guests' epochs end by the interval alone. So many checkpoints the one emulated processor of a host can make.
PACE = ["--interval", "400ms", "--max-latency", "400ms", "--delta-cache", "4MiB"]
GROWN_KIB_MAX = 1024  # of a process, in some thousand checkpoints: a page of each would be several thousand
SETTLED_S = 60


def committed(them: Company) -> list[int]:
    """So many checkpoints each has on the backup."""
    return [it.guard(it.primary)["epoch"]["committed"] for it in them.members]


def wait_for(them: Company, enough) -> list[int]:
    deadline = time.monotonic() + SESSION_S_MAX
    while not enough(now := committed(them)):
        assert all(it.status(it.primary)["protected"] for it in them.members)
        assert time.monotonic() < deadline, now
        time.sleep(10)
    print(f"checkpoints committed: {now}", flush=True)
    return now


def look(them: Company) -> dict[str, Holdings]:
    return {host.name: holdings(host) for host in (them.primary, them.backup)}


def test_thousands_of_checkpoints_of_four_domains_leave_both_hosts_as_they_were(hosts):
    them = Company(hosts, KINDS, PACE)
    them.protect()
    sessions = [it.guard("A")["session"] for it in them.members]
    first = wait_for(them, lambda now: min(now) >= WARM)
    warm = look(them)
    began = time.monotonic()
    last = wait_for(them, lambda now: sum(now) - sum(first) >= CHECKPOINTS)
    seconds = time.monotonic() - began
    assert [it.guard("A")["session"] for it in them.members] == sessions, "a session was lost in the midst"
    late: dict[str, Holdings] = {}
    grown: dict[str, list[str]] = {}

    def as_before() -> bool:
        """Asked again: what a daemon opens to answer somebody is not growth."""
        late.update(look(them))
        grown.update({name: growth(warm[name], late[name], GROWN_KIB_MAX) for name in late})
        return not any(grown.values())

    try:
        eventually(as_before, SETTLED_S, pause=2)
    except AssertionError as error:
        raise AssertionError(grown) from error
    finally:
        counts = ", ".join(f"{it.guest.spec.kind} {n - m}" for it, m, n in zip(them.members, first, last, strict=True))
        print(f"checkpoints in {seconds:.0f} s: {counts}")
        for name in late:
            print(f"{name}: {warm[name].own_kib} KiB, then {late[name].own_kib} KiB; {warm[name]}; {late[name]}")
    them.verify()
    them.unprotect()
    for host in hosts.hosts.values():
        eventually(lambda host=host: traces(host) == [], PATIENCE_S, what=f"no trace on {host.name}", pause=LOOK_S)
    them.destroy()
