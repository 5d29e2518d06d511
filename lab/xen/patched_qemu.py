"""The emulator of the lab's machines: the machine's own QEMU, but for one byte.

Xen restores a 32-bit HVM guest's task register as it was saved: a *busy* TSS, type 0xb, which is what a processor holds in
TR. TCG expects an available one (type 9) there, and aborts with "invalid tss type" when the guest next enters its kernel.
The check is `(type & 7) != 1`; in a copy of the program, kept in the cache, it becomes `(type & 5) != 1`, which takes both.
Where the check is not found (another QEMU), the program is used as it is, and `restores_hvm32()` says no.

                     and   reg, 7        83 E0+reg 07   →  83 E0+reg 05
                     cmp   reg, 1        83 F8+reg 01
                     jne   cold          75 / 0F 85  ──▶  lea ..., "invalid tss type"
"""

import hashlib
import os
import re
import shutil
import struct
from functools import lru_cache
from pathlib import Path

from lab.common import packages
from lab.common.accel import QEMU
from lab.common.errors import LabError
from lab.xen.accel import pick_accel

MESSAGE = b"invalid tss type\0"
CHECK = re.compile(rb"\x83[\xe0-\xe7]\x07.{0,6}?\x83[\xf8-\xff]\x01.{0,6}?(?:\x0f\x85(.{4})|\x75(.))", re.DOTALL)
COLD_BYTES = 64  # how far into the cold path its message is loaded
LOAD, EXECUTABLE = 1, 1
FIRMWARE = ("/usr/share/qemu", "/usr/share/seabios")
MODULES = "/usr/lib/x86_64-linux-gnu/qemu"


def _segments(program: bytes) -> list[tuple[int, int, int, int]]:
    """Loaded segments of a 64-bit ELF file: (flags, offset, address, size in the file)."""
    table, entry_bytes, count = (*struct.unpack_from("<Q", program, 32), *struct.unpack_from("<HH", program, 54))
    found = []
    for index in range(count):
        kind, flags, offset, address, _, size = struct.unpack_from("<IIQQQQ", program, table + index * entry_bytes)
        if kind == LOAD:
            found.append((flags, offset, address, size))
    return found


def _loads_of(code: bytes, base: int, address: int) -> list[int]:
    """Places in `code` (which runs at `base`) of `lea reg, [rip + x]` that give `address`."""
    found = []
    for match in re.finditer(rb"[\x48\x4c]\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]", code):
        place = match.start()
        if place + 7 <= len(code) and base + place + 7 + struct.unpack_from("<i", code, place + 3)[0] == address:
            found.append(place)
    return found


def patch(program: bytes) -> bytes | None:
    """The program with its check widened; None where there is not exactly such a check to be found."""
    message = program.find(MESSAGE)
    if message < 0 or program[:5] != b"\x7fELF\x02":
        return None
    segments = _segments(program)
    address = next((a + message - o for _, o, a, size in segments if o <= message < o + size), None)
    code_at = next(((o, a, size) for flags, o, a, size in segments if flags & EXECUTABLE), None)
    if address is None or code_at is None:
        return None
    offset, base, size = code_at
    code = program[offset : offset + size]
    loads = _loads_of(code, base, address)
    patched = bytearray(program)
    changed = 0
    for match in CHECK.finditer(code):
        jump = struct.unpack("<i", match[1])[0] if match[1] else struct.unpack("<b", match[2])[0]
        if any(0 <= load - (match.end() + jump) < COLD_BYTES for load in loads):
            patched[offset + match.start() + 2] = 5
            changed += 1
    return bytes(patched) if changed else None


@lru_cache(maxsize=None)
def _patched() -> Path | None:
    found = shutil.which(QEMU)
    if found is None:
        raise LabError(f"{QEMU} is not installed: run ./install-dependencies.sh")
    program = Path(found).read_bytes()
    target = packages.store() / f"qemu-{hashlib.sha256(program).hexdigest()[:16]}"
    with packages.locked("qemu"):
        if not target.exists():
            content = patch(program)
            if content is None:
                return None
            unfinished = target.with_suffix(f".{os.getpid()}")
            unfinished.write_bytes(content)
            unfinished.chmod(0o755)
            unfinished.rename(target)
    return target


def restores_hvm32() -> bool:
    """Whether a 32-bit HVM guest can be restored (migrated to, failed over to) on this lab's hosts."""
    return pick_accel() == "kvm" or _patched() is not None


def words() -> list[str]:
    """The first words of the machines' command line."""
    patched = None if pick_accel() == "kvm" else _patched()
    if patched is None:
        return [QEMU]
    firmware = [word for directory in FIRMWARE for word in ("-L", directory)]
    return ["env", f"QEMU_MODULE_DIR={MODULES}", str(patched), *firmware]
