"""Two Xen hosts as emulated machines, a network and guests of every kind. Start at lab.py."""

from lab.common.errors import LabError
from lab.xen.guest import GuestSpec
from lab.xen.lab import Lab

__all__ = ["GuestSpec", "Lab", "LabError"]
