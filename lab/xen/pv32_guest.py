"""The 32-bit paravirtual test guest: `pv32/` compiled with lwIP (Debian's source) and Xen's public headers (Debian's libxen-dev).

Debian has no Linux any more that runs as such a guest. This one has a console, a xenstore client, a network front end,
suspends itself, and serves the lab's session and the few questions tests ask.
"""

import hashlib
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from lab.common import packages, paths
from lab.common.toolchain import WARNINGS
from lab.xen import workshop

SOURCES = Path(__file__).resolve().parent / "pv32"
LWIP = ["core/def.c", "core/inet_chksum.c", "core/init.c", "core/ip.c", "core/mem.c", "core/memp.c", "core/netif.c"]
LWIP += ["core/pbuf.c", "core/tcp.c", "core/tcp_in.c", "core/tcp_out.c", "core/timeouts.c", "core/ipv4/etharp.c"]
LWIP += ["core/ipv4/icmp.c", "core/ipv4/ip4.c", "core/ipv4/ip4_addr.c", "netif/ethernet.c"]
# No floating point: Xen saves it, but nobody here needs it.
FLAGS = ["-m32", "-march=i686", "-O2", "-g0", "-ffreestanding", "-fno-builtin", "-fno-pic", "-fno-stack-protector"]
FLAGS += ["-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-mno-sse", "-mno-mmx", "-mno-80387", "-ffunction-sections", "-D__XEN_INTERFACE_VERSION__=0x00040e00"]
FLAGS += ["-I.", "-Iport", "-isysteminclude", "-isystemlwip/src/include"]
# The macros of Xen's rings, and of its bit masks, mix signs.
QUIET = [*WARNINGS, "-Wno-sign-conversion"]
LINK = ["-m32", "-nostdlib", "-static", "-no-pie", "-Wl,-T,guest.lds", "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"]
BUILD_S_MAX = 120


def _own_files() -> list[Path]:
    own = [path for path in sorted(SOURCES.rglob("*")) if path.is_file()]
    return [*own, paths.HERE / "guest" / "programs" / "records.h"]


@lru_cache(maxsize=None)
def kernel() -> Path:
    """The guest, an ELF file; built if it is not in the cache."""
    lwip = packages.source("lwip")
    (headers,) = packages.alone(["libxen-dev"])
    named = [file.name for file in [*lwip, headers]]
    digest = hashlib.sha256(repr((workshop.root().name, named, LWIP, FLAGS, LINK, QUIET)).encode())
    for file in _own_files():
        digest.update(file.name.encode() + file.read_bytes())
    target = packages.store() / f"pv32-{digest.hexdigest()[:16]}.elf"
    with packages.locked("pv32"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=packages.store(), prefix="pv32-") as scratch:
                _build(Path(scratch), lwip, packages.unpacked(headers) / "usr/include/xen").rename(target)
        packages.prune(target, "pv32-????????????????.elf")
    return target


def _build(scratch: Path, lwip: list[Path], headers: Path) -> Path:
    shutil.copytree(SOURCES, scratch, dirs_exist_ok=True)
    shutil.copy(paths.HERE / "guest" / "programs" / "records.h", scratch)
    shutil.copytree(headers, scratch / "include" / "xen")
    for file in lwip:
        shutil.copy(file, scratch)
    flags, warnings = " ".join(FLAGS), " ".join(QUIET)
    script = f"""
mkdir lwip objects && tar -xJf lwip_*.orig.tar.xz -C lwip --strip-components=1 && tar -xJf lwip_*.debian.tar.xz -C lwip
cd lwip && for part in $(grep -v '^#' debian/patches/series); do patch -s -p1 < "debian/patches/$part"; done; cd ..
for part in {" ".join(LWIP)}; do
  gcc {flags} -c "lwip/src/$part" -o "objects/lwip-$(basename "$part").o"
done
for part in *.c *.S; do gcc {flags} {warnings} -c "$part" -o "objects/$part.o"; done
gcc {" ".join(LINK)} -o guest.elf objects/*.o -lgcc
strip guest.elf
"""
    workshop.work(scratch, script, timeout=BUILD_S_MAX)
    return scratch / "guest.elf"
