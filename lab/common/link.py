"""A link: a cable between two interfaces that can be cut, restored, and made slow or lossy.

    A:repl0 ──veth── repl.x ┤ middle ├ repl.y ──veth── repl0:B
                     └──── "wires" namespace ────┘

The middle is, as the link's state asks: a two-port bridge (plain; with netem on both ports where conditions are set and
the kernel has it), tools/linkd (conditions, where the kernel has no netem), or nothing at all (cut: frames vanish, and
neither end sees its carrier go, which is the nastier kind of cut).
"""

import select
import subprocess
from functools import lru_cache

from lab.common import paths
from lab.common.conditions import Conditions
from lab.common.errors import LabError
from lab.common.netns import NetNs
from lab.common.registry import Registry
from lab.common.toolchain import compile_c


@lru_cache(maxsize=None)
def has_netem(wires_name: str) -> bool:
    """Whether this kernel has sch_netem (asked once, in the wires namespace, on its loopback)."""
    prefix = ["nsenter", f"--net=/run/netns/{wires_name}", "--"]
    added = subprocess.run(
        [*prefix, "tc", "qdisc", "add", "dev", "lo", "root", "netem"], capture_output=True, check=False
    )
    if added.returncode == 0:
        subprocess.run([*prefix, "tc", "qdisc", "del", "dev", "lo", "root"], capture_output=True, check=False)
    return added.returncode == 0


class Link:
    """One cable of the lab. Created connected, without delay, loss or limit."""

    def __init__(
        self, name: str, wires: NetNs, registry: Registry, x: tuple[NetNs, str], y: tuple[NetNs, str]
    ) -> None:
        self.name = name
        self.conditions = Conditions()
        self.is_cut = False
        self._wires = wires
        self._registry = registry
        self._ends = {"x": x, "y": y}
        self._linkd: subprocess.Popen | None = None
        hub = f"{name}.hub"
        wires.ip(
            f"link add name {hub} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {hub} up",
        )
        for side in self._ends:
            self.plug(side)

    def port(self, side: str) -> str:
        return f"{self.name}.{side}"

    def plug(self, side: str) -> None:
        """Makes the veth pair of one side anew (its namespace was just created) and connects it."""
        namespace, interface = self._ends[side]
        port = self.port(side)
        self._wires.ip(
            f"link add name {port} type veth peer name {interface} netns {namespace.name}",
            f"link set {port} up",
        )
        namespace.ip(f"link set {interface} up")
        self._connect()

    def unplug(self, side: str) -> None:
        """Removes one side's veth pair now; the kernel would do so late, after the namespace's removal."""
        self._stop_linkd()
        self._wires.ip(f"link delete {self.port(side)}")

    def _exists(self, side: str) -> bool:
        return self._wires.run(["ip", "link", "show", self.port(side)], check=False).returncode == 0

    def set(self, *, delay: str | None = None, loss: str | None = None, rate: str | None = None) -> None:
        """Changes one-way delay ('1ms'), loss ('0.1%') or bandwidth ('1gbit'); what is not named stays as it is."""
        self.conditions = self.conditions.changed(delay, loss, rate)
        self._offload()
        if not self.is_cut:
            self._connect()

    def clear(self) -> None:
        """Takes all conditions away."""
        self.set(delay="0ms", loss="0%", rate="0kbit")

    def cut(self) -> None:
        """Frames of both directions vanish from now on, what is under way included."""
        self.is_cut = True
        self._stop_linkd()
        ports = [self.port(side) for side in self._ends if self._exists(side)]
        self._wires.ip(*[f"link set {port} nomaster" for port in ports])

    def restore(self) -> None:
        """Connects both ends again, under the conditions set."""
        self.is_cut = False
        self._connect()

    def _connect(self) -> None:
        self._stop_linkd()
        if self.is_cut or not all(self._exists(side) for side in self._ends):
            return  # the end of a host that is off: plug() connects it when it boots
        plain = self.conditions == Conditions()
        ports = [self.port(side) for side in self._ends]
        if plain or has_netem(self._wires.name):
            for port in ports:
                self._wires.ip(f"link set {port} master {self.name}.hub")
                # A hub, not a switch: an address that moves to the other end (failover) is heard at once.
                self._wires.run(["bridge", "link", "set", "dev", port, "learning", "off", "flood", "on"])
                self._wires.run(["tc", "qdisc", "del", "dev", port, "root"], check=False)
                if not plain:
                    self._wires.run(
                        ["tc", "qdisc", "add", "dev", port, "root", "netem", *self.conditions.netem().split()]
                    )
        else:
            self._wires.ip(*[f"link set {port} nomaster" for port in ports])
            self._start_linkd(ports)

    def _start_linkd(self, ports: list[str]) -> None:
        command = [*self._wires.prefix(), str(compile_c(paths.HERE / "tools" / "linkd.c")), *ports]
        self._linkd = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._registry.add_process(self._linkd.pid)
        self._linkd.stdin.write(self.conditions.linkd())
        self._linkd.stdin.flush()
        ready, _, _ = select.select([self._linkd.stdout], [], [], 10)
        if not ready or self._linkd.stdout.readline() != "ok\n":
            self._linkd.kill()
            raise LabError(f"link {self.name}: linkd did not start: {self._linkd.stderr.read().strip()}")

    def _stop_linkd(self) -> None:
        if self._linkd is not None:
            self._linkd.kill()
            self._linkd.communicate()
            self._linkd = None

    def _offload(self) -> None:
        # Loss takes whole frames: with segmentation offload one frame would stand for up to 44 packets lost at once.
        state = "off" if self.conditions.loss_ppm else "on"
        for namespace, interface in self._ends.values():
            namespace.run(["ethtool", "-K", interface, "tso", state, "gso", state], check=False)

    def close(self) -> None:
        self._stop_linkd()
