"""What lab/xen/run asks of a lab that stays up; see lab/common/server.py."""

from lab.common.server import BaseServer
from lab.xen.accel import pick_accel
from lab.xen.guest import GuestSpec


class Server(BaseServer):
    """Owns a lab of Xen hosts."""

    def _do_status(self) -> dict:
        lab = self._lab
        hosts = {}
        for name, host in lab.hosts.items():
            hosts[name] = {
                "up": host.is_up,
                "machine": host.machine_pid if host.is_up else None,
                "boot_s": round(host.boot_s, 1),
                "lan": host.addresses.lan,
                "repl": host.addresses.repl,
                "domains": {domain.name: domain.state for domain in host.domains().values()} if host.is_up else {},
            }
        guests = {
            name: {"address": guest.spec.address, "kind": guest.spec.kind, "first_host": guest.first_host.name}
            for name, guest in self._guests.items()
        }
        return {
            "lab": lab.name,
            "logs": str(lab.directory),
            "accel": pick_accel(),
            "hosts": hosts,
            "links": self._links(),
            "guests": guests,
        }

    def _do_guest(self, on: str, **fields) -> str:
        number = len(self._guests)
        spec = GuestSpec(**fields, mac=f"00:16:3e:77:00:{0x20 + number:02x}", address=f"10.77.0.{20 + number}")
        guest = self._lab.start_guest(spec, on=on)
        self._guests[spec.name] = guest
        return f"{spec.name} ({spec.kind}) runs on {on} as domain {guest.domain_id()}, address {spec.address}, up after {guest.boot_s:.1f} s"

    def _do_kill(self, host: str) -> None:
        self._lab.host(host).power_cut()
