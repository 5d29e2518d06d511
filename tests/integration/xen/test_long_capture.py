"""Five thousand checkpoints in one session: nothing grows, neither the process, nor what the dom0 and Xen hold for it."""

import re
import signal
import time
from dataclasses import dataclass

import pytest
from eventually import eventually

from lab.xen import GuestSpec

pytestmark = [pytest.mark.xen, pytest.mark.long_form]

CHECKPOINTS = 5000
WARM = 500  # by then every buffer has found its size
SESSION_S_MAX = 3600
RSS_KIB_MAX = 1024  # of growth, in 4500 checkpoints: a page each would be 18,000
DOM0_KIB_MAX = 24 << 10  # what caches and the log daemons of a dom0 come and go by
LSEVTCHN = "/usr/lib/xen-4.17/bin/lsevtchn"


@dataclass(frozen=True)
class Held:
    """What is held at one moment."""

    rss_kib: int
    descriptors: int
    maps: int
    dom0_available_kib: int
    xen_free_mib: int
    event_channels: int  # of the guest, and of the dom0


def held(host, pid: int, domid: int) -> Held:
    script = (
        f"sed -n 's/^VmRSS:[^0-9]*//p' /proc/{pid}/status; ls /proc/{pid}/fd | wc -l; wc -l < /proc/{pid}/maps;"
        " sed -n 's/^MemAvailable:[^0-9]*//p' /proc/meminfo; xl info | sed -n 's/^free_memory *: //p';"
        f" ({LSEVTCHN} {domid}; {LSEVTCHN} 0) | wc -l"
    )
    return Held(*(int(line.split()[0]) for line in host.shell(script).splitlines()))


def last_epoch(output: str) -> int:
    return max((int(number) for number in re.findall(r"^epoch (\d+): pause", output, re.MULTILINE)), default=-1)


def wait_for(session, number: int) -> None:
    """Until it has made so many checkpoints; fails as soon as it has ended instead."""
    deadline = time.monotonic() + SESSION_S_MAX
    while last_epoch(session.output) < number:
        assert session.poll() is None, session.output[-600:]
        assert time.monotonic() < deadline, f"{last_epoch(session.output)} of {number} checkpoints"
        time.sleep(2)


@pytest.mark.parametrize("kind", ["hvm-nopv", "pvh"])
def test_thousands_of_checkpoints_leave_memory_as_it_was(lab, kind):
    host = lab.host("A")
    guest = lab.start_guest(GuestSpec(kind=kind, memory_mib=128), on="A")
    try:
        domid = guest.domain_id()
        free_before = int(host.shell("xl info | sed -n 's/^free_memory *: //p'"))
        words = [host.program("remus-xen-capture"), guest.spec.name, "--vouch", "hda", "--epochs", 10 * CHECKPOINTS]
        session = host.spawn([*words, "--interval", 5], name=f"long-{kind}")

        wait_for(session, WARM)
        warm = held(host, session.pid, domid)
        wait_for(session, CHECKPOINTS)
        late = held(host, session.pid, domid)
        print(f"{kind}: after {WARM} checkpoints {warm}, after {CHECKPOINTS} {late}")

        assert late.rss_kib - warm.rss_kib <= RSS_KIB_MAX, (warm, late)
        assert (late.descriptors, late.maps) == (warm.descriptors, warm.maps)
        assert warm.dom0_available_kib - late.dom0_available_kib <= DOM0_KIB_MAX, (warm, late)
        assert late.xen_free_mib == warm.xen_free_mib
        assert late.event_channels == warm.event_channels

        before = guest.stat("counter")
        session.running.signal(signal.SIGTERM)
        assert session.wait(120) == 1 and "interrupted" in session.output, session.output[-600:]
        assert host.shell("test ! -e /run/remus-xen || ls -A /run/remus-xen").split() == []
        eventually(lambda: guest.stat("counter") > before, 60, what="the guest runs on")
        # What following its writes took is given back (Xen keeps a few pages of a shadow pool with the domain).
        eventually(lambda: int(host.shell("xl info | sed -n 's/^free_memory *: //p'")) >= free_before - 1, 30, what="Xen's memory given back")
    finally:
        guest.destroy()
        eventually(lambda: not host.domains(), 60, what="no domain on A")
