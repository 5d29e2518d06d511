"""What lab/qemu/run asks of a lab that stays up; see lab/common/server.py."""

from lab.common.accel import pick_accel
from lab.common.server import BaseServer
from lab.qemu.guest import GuestSpec


class Server(BaseServer):
    """Owns a lab of namespaces."""

    def _do_status(self) -> dict:
        lab = self._lab
        hosts = {}
        for name, host in lab.hosts.items():
            hosts[name] = {
                "up": host.is_up,
                "init": host.init_pid if host.is_up else None,
                "lan": host.addresses.lan,
                "repl": host.addresses.repl,
                "processes": [f"{pid} {name}" for pid, name in host.processes().items()],
            }
        guests = {
            name: {"address": guest.spec.address, "first_host": guest.first_host.name}
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
        spec = GuestSpec(**fields)
        guest = self._lab.start_guest(spec, on=on)
        self._guests[spec.name] = guest
        return f"{spec.name} runs on {on}, pid {guest.process.pid}, address {spec.address}, QMP {spec.qmp}"

    def _do_kill(self, host: str, processes_only: bool) -> None:
        target = self._lab.host(host)
        if processes_only:
            target.kill_all()
        else:
            target.power_cut()
