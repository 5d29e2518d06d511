"""Hosts as emulated machines with Xen, a guest as a domain that `xl` made."""

from lab.common.accel import qemu_version
from lab.demo.scene import Scene
from lab.demo.screen import Screen
from lab.xen import GuestSpec, Lab, pieces
from lab.xen.accel import pick_accel
from lab.xen.guest import Guest
from lab.xen.server import Server


# An emulated dom0 whose one processor others use too is often silent for a while: that is no death.
PATIENT = ["--heartbeat", "200ms", "--detect-min", "4s", "--detect-max", "30s", "--alone-after", "90s"]


class XenScene(Scene):
    patience_s = 900
    record_every_s = 0.02
    runner = "lab/xen/run"
    targets = ["remus", "remusd", "remus-guard", "remus-xen-standby"]

    @property
    def detect(self) -> list[str]:
        return [] if pick_accel() == "kvm" else PATIENT

    def prepare(self, screen: Screen) -> None:
        """Xen, dom0 and guest images: minutes the first time, nothing later."""
        screen.note("Xen, a dom0 and the guest's kernel: fetched and built once, then kept (takes minutes the first time)")
        pieces.prepare()
        version = ".".join(map(str, qemu_version()))
        if pick_accel() == "kvm":
            screen.note(f"hosts         Xen in machines of QEMU {version} with KVM")
        else:
            screen.note(f"hosts         Xen in machines that QEMU {version} emulates, hence all of it is slow")
        screen.note(f"guest         {self._options.kind}, {self._options.memory} MiB")

    def lab(self) -> Lab:
        return Lab(self._options.lab)

    def start_guest(self, lab: Lab) -> Guest:
        spec = GuestSpec(kind=self._options.kind, memory_mib=self._options.memory, run=self.programs())
        return lab.start_guest(spec, on="A")

    def protect_words(self, guest: Guest) -> list[str]:
        # An HVM guest of the lab boots from a disk and never writes to it again.
        vouched = ["--disk", "hda=scratch"] if guest.spec.boots_from_disk else []
        return ["protect", guest.spec.name, "--to", "hostB", *vouched]

    def victims(self, host) -> tuple[str, dict[int, str]]:
        domains = ", ".join(["Domain-0", *host.domains()])
        return f"the machine is off, with Xen and {domains}", {host.machine_pid: "the machine"}

    def runs(self, host, guest: Guest) -> bool:
        domain = host.domains().get(guest.spec.name)
        return domain is not None and "p" not in domain.state

    def server(self, lab: Lab, guests: dict) -> Server:
        return Server(lab, guests)

    def look_around(self) -> list[tuple[str, str]]:
        return [("exec B xl list", "what Xen on host B has")]
