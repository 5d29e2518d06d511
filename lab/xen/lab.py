"""A Xen lab: a network, hosts A and B as emulated machines, guests, a client. Gone without a trace when left.

    with Lab("demo") as lab:
        guest = lab.start_guest(GuestSpec(kind="pvh"), on="A")
        client = lab.stream(guest)
        lab.link("repl").set(delay="1ms")
        lab.host("A").power_cut()
        print(client.finish())
"""

from lab.common.base_lab import BaseLab
from lab.common.network import HOSTS
from lab.common.registry import Registry
from lab.xen.guest import Guest, GuestSpec, place
from lab.xen.host import Host
from lab.xen.machine import MachineSpec
from lab.xen.network import XenNetwork


class Lab(BaseLab):
    """A lab whose hosts are emulated machines that run Xen. `stock_xen`: Debian's hypervisor, without shadow paging."""

    hosts: dict[str, Host]

    def __init__(self, name: str | None = None, *, machine: MachineSpec = MachineSpec(), stock_xen: bool = False) -> None:
        super().__init__(name)
        self._spec = machine
        self._stock_xen = stock_xen

    def _make(self, registry: Registry) -> None:
        self.network = XenNetwork(self.name, registry)
        for name in HOSTS:
            self.hosts[name] = Host(
                name, self.network, registry, self.directory / name, self._spec, stock_xen=self._stock_xen
            )
        for host in self.hosts.values():
            host.switch_on()
        for host in self.hosts.values():
            host.wait_until_up()

    def start_remus(self, on: str, env: dict[str, str] | None = None):
        self.host(on).program("remus-xen-standby")  # remus-guard looks for it beside itself
        return super().start_remus(on, env)

    def start_guest(self, spec: GuestSpec | None = None, *, on: str = "A", wait: bool = True) -> Guest:
        """Starts a guest on a host. What it boots from is put on both, as shared storage would have it; a root of its own is on that
        host alone."""
        spec = spec or GuestSpec()
        place(spec, [self.host(on), *(host for name, host in self.hosts.items() if name != on and host.is_up)])
        guest = Guest(spec, self.host(on), self.network.client)
        if wait:
            guest.wait_for_boot()
        return guest
