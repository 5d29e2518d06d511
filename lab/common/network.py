"""The lab's network.

              ┌──────────── LAN 10.77.0.0/24 (bridge) ────────────┐
           [lanA]               [client]                       [lanB]
      ┌───────┴────────┐     ┌─────┴─────┐            ┌──────────┴─────┐
      │ A  br0 .11     │     │ client    │            │ B  br0 .12     │
      │   tap-<guest>  │     │ eth0 .100 │            │   tap-<guest>  │
      │    repl0 .1    ├──────────[repl] 10.78.0.0/24 ─┤ repl0 .2     │
      └────────────────┘     └───────────┘            └────────────────┘

[name] is a link that can be cut, restored and made slow (link.py). A guest's tap sits in its host's br0.
"""

from dataclasses import dataclass

from lab.common.errors import LabError
from lab.common.link import Link
from lab.common.netns import NetNs
from lab.common.registry import Registry

PREFIX_BITS = 24
CLIENT_ADDRESS = "10.77.0.100"
LAN_GATEWAY = "10.77.0.1"


@dataclass(frozen=True)
class HostAddresses:
    """Where a host is found: on the LAN, and on the link between the hosts."""

    lan: str
    repl: str


HOSTS = {"A": HostAddresses("10.77.0.11", "10.78.0.1"), "B": HostAddresses("10.77.0.12", "10.78.0.2")}


class Network:
    """Namespaces and links of one lab; all names begin with the lab's, so that labs do not meet."""

    def __init__(self, lab_name: str, registry: Registry) -> None:
        self.registry = registry
        self.wires = NetNs(f"{lab_name}-wires", registry)
        self.client = NetNs(f"{lab_name}-client", registry)
        self.hosts = {name: NetNs(f"{lab_name}-{name}", registry) for name in HOSTS}
        self.wires.ip(
            "link add name lan type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set lan up"
        )
        self.links: dict[str, Link] = {}
        for name, namespace in self.hosts.items():
            self._lan_link(f"lan{name}", namespace, "lan0")
        self._lan_link("client", self.client, "eth0")
        self._link("repl", (self.hosts["A"], "repl0"), (self.hosts["B"], "repl0"))
        self.client.ip(f"addr add {CLIENT_ADDRESS}/{PREFIX_BITS} dev eth0")
        for name in HOSTS:
            self._attach(name)

    def _link(self, name: str, x: tuple[NetNs, str], y: tuple[NetNs, str]) -> None:
        self.links[name] = Link(name, self.wires, self.registry, x, y)

    def _lan_link(self, name: str, namespace: NetNs, interface: str) -> None:
        self._link(name, (namespace, interface), (self.wires, f"{name}.lan"))
        self.wires.ip(f"link set {name}.lan master lan")

    def _attach(self, host: str) -> None:
        """What a host has at its ends of the cables: here, its bridge and its addresses."""
        addresses = HOSTS[host]
        self.hosts[host].ip(
            "link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            "link set lan0 master br0",
            "link set br0 up",
            f"addr add {addresses.lan}/{PREFIX_BITS} dev br0",
            f"addr add {addresses.repl}/{PREFIX_BITS} dev repl0",
        )

    def link(self, name: str) -> Link:
        if name not in self.links:
            raise LabError(f"no link '{name}': there are {', '.join(self.links)}")
        return self.links[name]

    def _sides_of(self, host: str) -> list[tuple[Link, str]]:
        return [(self.links[f"lan{host}"], "x"), (self.links["repl"], "x" if host == "A" else "y")]

    def unplug_host(self, host: str) -> None:
        """Cuts every link of a host at once: from here on nothing it or its kernel sends gets out."""
        self.wires.ip(*[f"link set {link.port(side)} down" for link, side in self._sides_of(host)])

    def remove_host(self, host: str) -> None:
        """Removes the namespace of a dead host, and with it the sockets its kernel still kept alive."""
        for link, side in self._sides_of(host):
            link.unplug(side)
        self.hosts[host].delete()

    def replace_host(self, host: str) -> None:
        """A new namespace for a host that boots again; links keep their conditions, and stay cut where they were."""
        self.hosts[host].create()
        for link, side in self._sides_of(host):
            link.plug(side)
        self._attach(host)

    def close(self) -> None:
        for link in self.links.values():
            link.close()
        for namespace in [*self.hosts.values(), self.client, self.wires]:
            namespace.delete()
