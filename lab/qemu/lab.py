"""A lab: a network, hosts A and B, guests, a client. Made when entered, gone without a trace when left.

    with Lab("demo") as lab:
        guest = lab.start_guest(GuestSpec(), on="A")
        client = lab.stream(guest)
        lab.link("repl").set(delay="1ms")
        lab.host("A").power_cut()
        print(client.finish())
"""

from lab.common.base_lab import BaseLab
from lab.common.network import HOSTS, Network
from lab.common.registry import Registry
from lab.qemu.guest import Guest, GuestSpec
from lab.qemu.host import Host
from lab.qemu.tcg_shim import tcg_shim


class Lab(BaseLab):
    """A lab whose hosts are namespaces of this machine."""

    hosts: dict[str, Host]

    def __init__(self, name: str | None = None, *, shm_size: str = "4g", disk_size: str = "1g") -> None:
        super().__init__(name)
        self._sizes = {"shm_size": shm_size, "disk_size": disk_size}
        self._guests: list[Guest] = []

    def _make(self, registry: Registry) -> None:
        self.network = Network(self.name, registry)
        for name in HOSTS:
            self.hosts[name] = Host(name, self.network, registry, self.directory / name, **self._sizes)
            self.hosts[name].boot()

    def start_guest(self, spec: GuestSpec | None = None, *, on: str = "A", wait: bool = True) -> Guest:
        """Starts a guest on a host; its tap exists on that host only (the product makes what its standby needs)."""
        spec = spec or GuestSpec()
        self.host(on).add_tap(spec.tap)
        guest = Guest(spec, self.host(on), self.network.client)
        self._guests.append(guest)
        if wait:
            guest.wait_for_boot()
        return guest

    def daemon_environment(self) -> dict[str, str]:
        """The library that TCG needs is handed on to the QEMU that a guard starts: a standby may become a source itself."""
        shim = tcg_shim()
        return {"LD_PRELOAD": str(shim)} if shim else {}
