"""Fixtures of the tests on Xen hosts: two emulated machines, one lab for all of them, for its boot takes its time.

What an emulated machine needs and this one lacks skips the tests, with the reason. Guests are booted one at a time: all of a
host share one emulated processor. Each test leaves both hosts without guests; a host may be switched off.
"""

import os
import platform
import shutil
from pathlib import Path

import leaks
import pytest
from protected import cleared, ready

from lab.common.packages import Unavailable
from lab.xen import Lab, pieces

MEMORY_MIB_MIN = 7 << 10  # two hosts of 3 GiB, and room
DISK_MIB_MIN = 4 << 10


def missing_for_xen() -> str | None:
    """What the Xen lab needs and this machine lacks, in words; None if nothing."""
    if platform.machine() != "x86_64":
        return f"the Xen lab's machines are x86-64, this one is {platform.machine()}: no such emulator is set up here"
    for program in ("dpkg-deb", "qemu-img", "mkfs.ext4", "tar", "strip"):
        if shutil.which(program) is None:
            return f"{program} is not installed: run ./install-dependencies.sh"
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    available_mib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) >> 10
    if available_mib < MEMORY_MIB_MIN:
        return f"two Xen hosts need {MEMORY_MIB_MIN} MiB of memory, {available_mib} are available"
    free_mib = shutil.disk_usage(pieces.store()).free >> 20
    if free_mib < DISK_MIB_MIN:
        return f"the Xen lab's pieces need {DISK_MIB_MIN} MiB in {pieces.store()}, {free_mib} are free"
    return None


@pytest.fixture(scope="session")
def xen_pieces(machine) -> None:
    """Everything the hosts boot, fetched and built if it is not in the cache."""
    reason = missing_for_xen()
    if reason:
        pytest.skip(reason)
    try:
        pieces.prepare()
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def machines(xen_pieces):
    """The lab, for the whole session."""
    with Lab(f"t-xen-{os.getpid()}") as made:
        leaks.remember(made)
        yield made


@pytest.fixture(scope="module")
def lab(machines):
    """Two Xen hosts, up, without guests."""
    for host in machines.hosts.values():
        if not host.is_up:
            host.boot()
    return machines


@pytest.fixture
def hosts(lab):
    """Two hosts that run and protect nothing, with remusd. Nothing of a test may be left on them."""
    ready(lab)
    yield lab
    cleared(lab)
    leaks.nothing_leaked(lab)
