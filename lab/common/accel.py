"""What runs the guest: KVM where it really does, else TCG.

A /dev/kvm that opens proves little: under nested or restricted virtualization it may run real-mode code and no more. So the
guest's own kernel is booted with it, for some seconds, and only its "BOOT-OK" counts.
"""

import hashlib
import os
import re
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path

from lab.common import paths
from lab.common.errors import LabError
from lab.common.image import initramfs
from lab.common.kernel import kernel
from lab.common.shell import run

QEMU = os.environ.get("REMUS_LAB_QEMU", "qemu-system-x86_64")
TRIAL_S = 8


@lru_cache(maxsize=None)
def qemu_version() -> tuple[int, int]:
    found = re.search(r"version (\d+)\.(\d+)", run([QEMU, "--version"]).stdout)
    if not found:
        raise LabError(f"{QEMU} --version says no version")
    return int(found.group(1)), int(found.group(2))


def _kvm_boots_the_guest() -> bool:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with tempfile.TemporaryDirectory() as scratch:
        serial = Path(scratch) / "serial"
        command = [
            QEMU,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            "pc",
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-m",
            "256",
        ]
        command += [
            "-kernel",
            kernel().image,
            "-initrd",
            initramfs(kernel()),
            "-append",
            "console=ttyS0 quiet no_timer_check",
            "-serial",
            f"file:{serial}",
        ]
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + TRIAL_S
        try:
            while time.monotonic() < deadline and process.poll() is None:
                if serial.exists() and b"BOOT-OK" in serial.read_bytes():
                    return True
                time.sleep(0.05)
            return False
        finally:
            process.kill()
            process.wait()


@lru_cache(maxsize=None)
def pick_accel() -> str:
    """'kvm' or 'tcg', by trial; remembered for this boot of the machine. REMUS_LAB_ACCEL overrides."""
    override = os.environ.get("REMUS_LAB_ACCEL")
    if override:
        return override
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    key = hashlib.sha256(repr((boot_id, qemu_version(), kernel().release)).encode()).hexdigest()[:16]
    remembered = paths.cache() / f"accel-{key}"
    if not remembered.exists():
        remembered.write_text("kvm" if _kvm_boots_the_guest() else "tcg", encoding="ascii")
    return remembered.read_text(encoding="ascii")
