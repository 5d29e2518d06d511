"""The source of checkpoints on Xen, kind by kind: what is captured is the guest, exactly, and it never harms it.

`remus-xen-capture` (tools/) is the guard in small: it synchronizes, captures, compares what it holds with the guest's
memory and with what Xen's own xc_domain_save writes at the same moment, and writes a file that `xl restore` takes.
"""

import re
import signal

import pytest
from eventually import eventually

from lab.xen import GuestSpec

pytestmark = [pytest.mark.xen, pytest.mark.long_form]

KINDS = ["pv", "pvh", "hvm", "hvm-nopv", "pvh32", "hvm32", "pv32"]
SAVED = "/var/lib/captured.save"
CAPTURE_S_MAX = 240


@pytest.fixture(params=KINDS)
def guest(lab, request: pytest.FixtureRequest):
    """A guest on A, of each kind."""
    made = lab.start_guest(GuestSpec(kind=request.param, memory_mib=128), on="A")
    yield made
    for name in lab.host("A").domains():
        lab.host("A").xl("destroy", name, check=False)
    eventually(lambda: not lab.host("A").domains(), 60, what="no domain on A")


@pytest.fixture
def pvh(lab):
    made = lab.start_guest(GuestSpec(kind="pvh", memory_mib=128), on="A")
    yield made
    for name in lab.host("A").domains():
        lab.host("A").xl("destroy", name, check=False)


def capture(host, name: str, *words, check: bool = True):
    command = [host.program("remus-xen-capture"), name, "--vouch", "hda", *words]
    done = host.run(command, timeout=CAPTURE_S_MAX, check=False)
    # Which pages and records differ is on its standard output.
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def compared(output: str) -> int:
    """That both comparisons found nothing; returns how many pages others had written by the end of the second."""
    own = re.search(r"verified: \d+ pages, 0 differ, .*", output)
    stock = re.search(r"reference: \d+ pages compared, 0 differences, (\d+) of \d+ granted pages written meanwhile", output)
    assert own and stock, output
    print(f"{own[0]}\n{stock[0]}")
    return int(stock[1])


def marks(host) -> list[str]:
    """What a session leaves for whoever must clear up after it."""
    return host.shell("mkdir -p /run/remus-xen && ls /run/remus-xen").split()


def nothing_left(host) -> None:
    """No mark of a session, no domain that stands still, nobody who follows its writes."""
    assert marks(host) == []
    for name, domain in host.domains().items():
        assert "p" not in domain.state and "s" not in domain.state, (name, domain)


def counter(guest) -> int:
    return int(guest.stat("counter"))


def test_a_capture_is_what_stock_save_writes_and_the_guest_runs_on_from_it(lab, guest):
    host = lab.host("A")
    done = capture(host, guest.spec.name, "--epochs", 3, "--verify", "--reference")
    compared(done.stdout)
    nothing_left(host)

    before = counter(guest)
    capture(host, guest.spec.name, "--epochs", 2, "--save", SAVED)
    nothing_left(host)
    assert counter(guest) > before  # it goes on here
    host.xl("destroy", guest.spec.name)
    host.xl("restore", SAVED, timeout=CAPTURE_S_MAX)
    assert counter(guest) >= before  # and there


@pytest.mark.parametrize("kind", ["pvh", "pv32"])
def test_what_comes_for_a_guest_that_stands_still_is_no_difference(lab, kind):
    """Its network back end writes it into pages that the guest has granted; nothing else may have changed."""
    host = lab.host("A")
    guest = lab.start_guest(GuestSpec(kind=kind, memory_mib=128), on="A")
    sender = lab.client("udp", "send", guest.spec.address, "--rate", 20, name="sender")
    try:
        done = capture(host, guest.spec.name, "--epochs", 3, "--verify", "--reference")
        assert compared(done.stdout) > 0, done.stdout
        nothing_left(host)
    finally:
        sender.finish()
        host.xl("destroy", guest.spec.name)
        eventually(lambda: not host.domains(), 60, what="no domain on A")


@pytest.mark.parametrize("kind", ["pvh", "pv", "hvm-nopv"])
def test_several_threads_copy_what_one_does(lab, kind):
    """Each epoch holds enough pages for them to share; dom0 has one processor, so they come and go in the midst of it."""
    host = lab.host("A")
    guest = lab.start_guest(GuestSpec(kind=kind, memory_mib=128, run="dirty:48:40000:text"), on="A")
    try:
        done = capture(host, guest.spec.name, "--epochs", 6, "--interval", 300, "--helpers", 3, "--verify", "--reference")
        compared(done.stdout)
        pages = [int(count) for count in re.findall(r"^epoch [1-9].* (\d+) pages", done.stdout, re.M)]
        assert max(pages) > 2048, done.stdout
        nothing_left(host)
    finally:
        host.xl("destroy", guest.spec.name)
        eventually(lambda: not host.domains(), 60, what="no domain on A")


def test_a_guest_that_offers_an_event_channel_is_asked_by_it(lab):
    host = lab.host("A")
    guest = lab.start_guest(GuestSpec(kind="pv32", memory_mib=64, run="suspend-event"), on="A")
    try:
        capture(host, guest.spec.name, "--epochs", 3, "--verify")
        assert guest.stat("suspends_by_event") == guest.stat("suspends") == 4  # the synchronization's, and three
        nothing_left(host)
    finally:
        host.xl("destroy", guest.spec.name)


@pytest.mark.parametrize("guest", ["pvh", "hvm-nopv"], indirect=True)
def test_a_capture_killed_at_a_bad_moment_leaves_a_guest_that_can_be_rescued(lab, guest):
    host = lab.host("A")
    for point in ("capture.paused", "capture.captured"):
        words = [host.program("remus-xen-capture"), guest.spec.name, "--vouch", "hda", "--epochs", 5]
        killed = host.spawn(words, name=f"killed-{point}", env={"REMUS_FAULT": f"{point}=kill@3"})
        assert killed.wait(CAPTURE_S_MAX) == 128 + signal.SIGKILL
        host.run([host.program("remus-xen-capture"), guest.spec.name, "--rescue"])
        nothing_left(host)
        before = counter(guest)
        eventually(lambda before=before: counter(guest) > before, 60, what="the guest runs")
        capture(host, guest.spec.name, "--epochs", 1, "--verify")  # and can be protected again


def test_what_cannot_be_protected_is_refused_before_it_is_touched(lab, pvh):
    host = lab.host("A")

    def refusal(name: str) -> str:
        done = capture(host, name, check=False)
        assert done.returncode == 1
        return done.stderr

    assert "no domain 'nobody'" in refusal("nobody")
    assert "Domain-0" in refusal("Domain-0")
    assert "Domain-0" in refusal("0")
    host.xl("pause", pvh.spec.name)
    assert "paused" in refusal(pvh.spec.name)
    host.xl("unpause", pvh.spec.name)
    host.xl("mem-set", pvh.spec.name, 96)
    assert "ballooned" in refusal(pvh.spec.name)
    nothing_left(host)


def test_a_guest_that_does_not_suspend_runs_on(lab, pvh):
    """In a time no emulated guest can keep to: the request is withdrawn, or what it led to undone."""
    host = lab.host("A")
    done = capture(host, pvh.spec.name, "--timeout", 1, check=False)
    assert done.returncode == 1 and "has not suspended itself in time" in done.stderr, done.stderr
    eventually(lambda: marks(host) == [], 60, what="no mark is left")
    before = counter(pvh)
    eventually(lambda: counter(pvh) > before, 60, what="the guest runs")
    nothing_left(host)


def test_a_guest_that_powers_off_ends_its_protection(lab, pvh):
    host = lab.host("A")
    words = [host.program("remus-xen-capture"), pvh.spec.name, "--epochs", 1000]
    running = host.spawn(words, name="power-off")
    eventually(lambda: "epoch 1:" in running.output, CAPTURE_S_MAX, what="a first checkpoint")
    host.xl("shutdown", pvh.spec.name)
    assert running.wait(CAPTURE_S_MAX) == 1
    assert "has ended" in running.output, running.output
    nothing_left(host)
