"""Protection taken off at the worst moment: while QEMU waits for a virtual processor that is slow to stand."""

import os
import random
from pathlib import Path

import pytest
from pair import Pair, new_lab, settle

from lab.qemu import GuestSpec


@pytest.fixture(scope="module")
def pair(machine):
    with new_lab("bad-moments") as lab:
        pair = Pair(lab)
        pair.start_guest(GuestSpec(run="stream-server,echo-server,counter"))
        yield pair


def processors(pair) -> list[int]:
    """Threads of the guest's virtual processors."""
    host = pair.lab.host("A")
    qemu = host.pids("qemu-system-x86_64")[0]
    with pair.guest.qmp(host) as qmp:
        inside = {str(cpu["thread-id"]) for cpu in qmp.command("query-cpus-fast")}
    found = []
    for thread in os.listdir(f"/proc/{qemu}/task"):
        lines = Path(f"/proc/{qemu}/task/{thread}/status").read_text(encoding="ascii").splitlines()
        if next(line for line in lines if line.startswith("NSpid")).split()[-1] in inside:
            found.append(int(thread))
    assert len(found) == len(inside)
    return found


def schedule(threads: list[int], policy: int) -> None:
    for thread in threads:
        os.sched_setscheduler(thread, policy, os.sched_param(0))


def test_taken_off_in_the_midst_of_a_pause(pair):
    """QEMU must come out of it able to be protected again, each time."""
    threads = processors(pair)
    for number in range(os.cpu_count()):
        pair.lab.host("A").spawn(["nice", "-n", "19", "sh", "-c", "while :; do :; done"], name=f"busy{number}")
    session = pair.lab.stream(pair.guest)
    moments = random.Random(3)
    for _ in range(15):
        pair.protect("--interval", "5ms", "--max-overhead", "0.9")
        schedule(threads, os.SCHED_IDLE)  # they get what nobody else wants, and there are others who want it
        settle(moments.uniform(0, 0.2))
        pair.unprotect()
        schedule(threads, os.SCHED_OTHER)
        assert pair.guest.status(pair.lab.host("A")) == "running"
        pair.client_moves(session)
    verdict = session.finish()
    assert verdict["ok"], verdict["reasons"]
