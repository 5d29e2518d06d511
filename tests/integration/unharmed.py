"""What 'the guest unharmed' means, checked: it runs, its session goes on, and nothing of the product is left where it was refused."""

import contextlib
import shutil
from collections.abc import Iterator

from eventually import eventually
from pair import Pair

from lab.qemu.host import Host

QEMU = shutil.which("qemu-system-x86_64") or "/usr/bin/qemu-system-x86_64"
REAL_QEMU = "/run/real-qemu"  # where a stand-in on the host finds it


class Unharmed:
    """A guest with a verified session to it. Call it after each refusal."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.session = pair.lab.stream(pair.guest)
        self._was = self._inside_qemu()

    def _inside_qemu(self) -> dict:
        """All that protection would change in the guest's QEMU."""
        with self.pair.guest.qmp(self.pair.lab.host("A")) as qmp:
            return {
                "running": qmp.command("query-status")["running"],
                "objects": sorted(item["name"] for item in qmp.command("qom-list", path="/objects")),
                "chardevs": sorted(item["label"] for item in qmp.command("query-chardev")),
                "capabilities": qmp.command("query-migrate-capabilities"),
                "migrating": qmp.command("query-migrate").get("status") in ("setup", "active", "device", "colo"),
            }

    def __call__(self) -> None:
        self.pair.client_moves(self.session)
        now = self._inside_qemu()
        assert now == self._was, "the guest's QEMU is not as it was"
        assert now["running"]

    def nothing_left(self) -> None:
        """Neither guard nor standby, nor anything of them, on either host."""
        name = self.pair.name
        a, b = self.pair.lab.host("A"), self.pair.lab.host("B")
        eventually(lambda: "remus-guard" not in {*a.processes().values(), *b.processes().values()}, 15,
                   what="no guard is left")
        eventually(lambda: not b.pids("qemu-system-x86_64") and not b.pids("real-qemu"), 15, what="no standby is left")
        for host in (a, b):
            assert not host.path(f"/dev/shm/remus/{name}").exists(), "no image is left"
            assert not host.path(f"/var/lib/remus/guests/{name}.json").exists(), "no record is left"
            assert not [link for link in interfaces(host) if link.startswith("rm")], "no tap of ours is left"

    def finish(self) -> None:
        verdict = self.session.finish()
        assert verdict["ok"], verdict["reasons"]


def interfaces(host: Host) -> list[str]:
    lines = host.run(["ip", "-o", "link"]).stdout.splitlines()
    return [line.split(":")[1].strip().split("@")[0] for line in lines]


@contextlib.contextmanager
def stand_in(host: Host, script: str) -> Iterator[None]:
    """On this host, QEMU is a script while this lasts; it finds the true one at REAL_QEMU."""
    if not host.path(REAL_QEMU).exists():
        host.write(REAL_QEMU, "")
        host.run(["mount", "--bind", QEMU, REAL_QEMU])
    host.write("/run/host/stand-in", script, 0o755)
    host.run(["mount", "--bind", "/run/host/stand-in", QEMU])
    try:
        yield
    finally:
        host.run(["umount", QEMU])


def refused(pair: Pair, words: list[str], *fragments: str, status: int | None = None) -> str:
    """The command fails on host A, with this exit status if one is given, and says these fragments."""
    done = pair.lab.remus("A", *words, check=False, timeout=90)
    said = done.stdout + done.stderr
    assert done.returncode > 0, said
    assert done.returncode not in (1, 134, 139), f"a fault of ours: {said}"
    for fragment in fragments:
        assert fragment.lower() in said.lower(), said
    if status is not None:
        assert done.returncode == status, said
    assert "internal" not in said, said
    return said


def protect_words(qmp: str = "/run/host/web1.qmp", name: str = "web1", to: str = "hostB") -> list[str]:
    return ["protect", name, "--qmp", qmp, "--to", to]

