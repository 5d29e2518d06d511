"""Two hosts, a network and a guest on one machine, out of namespaces and QEMU. Start at lab.py."""

from lab.common.errors import LabError
from lab.qemu.guest import GuestSpec
from lab.qemu.lab import Lab

__all__ = ["GuestSpec", "Lab", "LabError"]
