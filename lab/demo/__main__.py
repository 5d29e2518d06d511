"""A running guest survives the death of its host, before your eyes, on this one machine.

Two hosts (A, B) and a client are made: `qemu`, hosts of network namespaces with a guest in QEMU/KVM (the default), or `xen`,
hosts that run Xen in emulated machines, with a domain that `xl` made. A real guest boots on A and holds a TCP session of
numbered, checksummed records with the client. It is protected to B, host A is killed, and the session goes on from B. Exit
status 0 only if all was right.

examples:
  sudo ./demo                              the whole story, about half a minute once built
  sudo ./demo xen                          the same on two Xen hosts; some minutes, more the first time
  sudo ./demo xen --kind pv                ... with a paravirtual guest
  sudo ./demo --seconds 60                 a longer look at a protected guest
  sudo ./demo --memory 1024 --work mixed-work
  sudo ./demo --delay 2ms --rate 1gbit     a slower link between the hosts
  sudo ./demo --keep                       leaves everything up afterwards, and says how to look at it
  sudo ./demo --kill both                  B dies too: no product can save that guest, and the verdict must say so
"""

import argparse
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab.common.errors import LabError  # noqa: E402  (the path must be set first)
from lab.demo.on_qemu import QemuScene  # noqa: E402
from lab.demo.on_xen import XenScene  # noqa: E402
from lab.demo.screen import Screen  # noqa: E402
from lab.demo.story import Story  # noqa: E402
from lab.xen.guest import KINDS  # noqa: E402

SCENES = {"qemu": QemuScene, "xen": XenScene}
MEMORY_MIB = {"qemu": 256, "xen": 192}
WAIT_S = {"qemu": 30, "xen": 180}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", nargs="?", choices=SCENES, default="qemu", help="what the hosts run (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=10, metavar="N", help="length of the live view (default %(default)s)"
    )
    parser.add_argument("--kind", choices=KINDS, help="xen: the kind of domain (default: pvh)")
    parser.add_argument(
        "--memory", type=int, metavar="MIB", help="of the guest (default: 256; xen: 192, where hosts are small)"
    )
    parser.add_argument(
        "--work",
        choices=["idle-work", "kv-store", "text-work", "mixed-work"],
        help="what the guest does besides the session (default: nothing)",
    )
    parser.add_argument("--delay", metavar="TIME", help="one-way delay between the hosts, e.g. 1ms")
    parser.add_argument("--loss", metavar="PERCENT", help="loss between the hosts, e.g. 0.1%%")
    parser.add_argument("--rate", metavar="RATE", help="bandwidth between the hosts, e.g. 1gbit")
    parser.add_argument("--kill", choices=["A", "both"], default="A", help="what dies (default: %(default)s)")
    parser.add_argument(
        "--wait", type=float, metavar="N", help="give up on a failover after so long (default: 30 s; xen: 180 s)"
    )
    parser.add_argument(
        "--build-dir",
        type=Path,
        metavar="DIR",
        default=os.environ.get("REMUS_BUILD") or None,
        help="use the build there, and build nothing (default: REMUS_BUILD, else builds in build/release)",
    )
    parser.add_argument("--lab", default="demo", metavar="NAME", help="name of the lab; logs are in lab/out/NAME")
    parser.add_argument("--keep", action="store_true", help="leave the lab up at the end, until Ctrl-C")
    parser.add_argument("--plain", action="store_true", help="lines only: no colours, nothing redrawn")
    options = parser.parse_args()
    if options.scene != "xen" and options.kind:
        parser.error("--kind is for xen: ./demo xen --kind " + options.kind)
    options.kind = options.kind or "pvh"
    options.memory = options.memory or MEMORY_MIB[options.scene]
    options.wait = options.wait or WAIT_S[options.scene]
    if not 0 <= options.seconds <= 86400 or not 1 <= options.wait <= 3600:
        parser.error("--seconds: from 0 to 86400; --wait: from 1 to 3600")
    if not 128 <= options.memory <= 65536:
        parser.error("--memory: from 128 to 65536 MiB")
    return options


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        print("demo: needs root (network namespaces, taps): sudo ./demo", file=sys.stderr)
        return 1
    for which in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(which, _interrupt)
    screen = Screen(plain=options.plain)
    try:
        return 0 if Story(options, SCENES[options.scene](options), screen).tell() else 1
    except KeyboardInterrupt:
        screen.say("interrupted; everything was cleared away")
        return 130
    except LabError as error:
        screen.say(screen.bad(f"demo: {error}"))
        return 1
    finally:
        screen.close()


if __name__ == "__main__":
    sys.exit(main())
