"""A domain under protection, its session, and what must be left of it in the end: what every scenario on Xen is made of."""

import time

from eventually import eventually

from lab.xen import GuestSpec, LabError
from lab.xen.guest import DISKS

PATIENCE_S = 600  # against hanging only: an emulated host on a busy machine takes its time
VERIFY_PAUSE = "2s"  # an emulated host hashes some 50 MiB a second: few checkpoints shall do
LATE = (8, 13)  # exit status of `remus`: a daemon or a host does not answer, or a guard is not ready within what a daemon waits
LOOK_S = 2  # each look is a program more on the processor that the guest, its dom0 and the guard share
# Nothing here is about how soon a death is noticed; an emulated processor that others use too is often silent.
OPTIONS = ["--heartbeat", "200ms", "--detect-min", "4s", "--detect-max", "30s", "--alone-after", "90s"]
SESSION = ["--interval", 0.02, "--patience", PATIENCE_S]  # 50 records a second, either way


class Protected:
    """A guest of one host, protected to the other, and what is seen of it."""

    def __init__(self, lab, spec: GuestSpec | str, options: list[str] | None = None, *, on: str = "A") -> None:
        self.lab = lab
        self.look_s = LOOK_S
        self.primary, self.backup = on, "B" if on == "A" else "A"
        if isinstance(spec, str):
            spec = GuestSpec(kind=spec, memory_mib=128)
        self.guest = lab.start_guest(spec, on=on)
        self.name = spec.name
        # An HVM guest boots from a disk, and never writes to it again.
        self.options = [*(options or OPTIONS), *(["--disk", "hda=scratch"] if self.guest.spec.boots_from_disk else [])]

    def begin(self) -> None:
        """Asks for its protection, and does not wait for it."""
        self._ask("--no-wait")

    def protect(self) -> None:
        began = time.monotonic()
        self.begin()
        self.wait_protected()
        print(f"{self.guest.spec.kind}: protected after {time.monotonic() - began:.0f} s")

    def _ask(self, *words: str) -> None:
        """Again where the other host, or a guard, was silent for longer than a daemon waits: on a busy machine an emulated one may be."""
        deadline = time.monotonic() + PATIENCE_S
        words = ("protect", self.name, "--to", f"host{self.backup}", *self.options, *words)
        while True:
            done = self.lab.remus(self.primary, *words, check=False, timeout=PATIENCE_S)
            if done.returncode == 0:
                return
            if done.returncode not in LATE or time.monotonic() > deadline:
                raise LabError(f"`remus {' '.join(words)}` failed with {done.returncode}: {done.stderr.strip()}")
            print(f"asked once more, after {done.returncode}: {done.stderr.strip()}")
            time.sleep(LOOK_S)

    def turn_round(self) -> None:
        """After a failover: boots the dead host if nobody has, and is about to protect the guest from where it runs now, to it."""
        self.primary, self.backup = self.backup, self.primary
        if not self.lab.host(self.backup).is_up:
            self.lab.host(self.backup).boot()
            self.lab.start_remus(self.backup)

    def session(self, words: list = SESSION):
        """A TCP session with it, every byte verified; `words` are the client's, a busy session's if not told."""
        return self.lab.stream(self.guest, *words, within=PATIENCE_S)

    def status(self, host: str) -> dict:
        return self.lab.remus_json(host, "status", self.name)

    def guard(self, host: str) -> dict:
        return self.status(host).get("guard") or {}

    def wait_protected(self) -> None:
        eventually(lambda: self.status(self.primary)["protected"], PATIENCE_S, what="protected", pause=self.look_s)

    def wait_for_commits(self, count: int = 3) -> None:
        committed = lambda: (self.guard(self.primary).get("epoch") or {}).get("committed") or 0  # noqa: E731
        before = committed()
        eventually(lambda: committed() >= before + count, PATIENCE_S, what=f"{count} more commits", pause=self.look_s)

    def wait_active(self) -> dict:
        """The guest runs on the backup; what its guard tells of the failover."""
        active = lambda: (guard := self.guard(self.backup)).get("state") == "active" and guard  # noqa: E731
        return eventually(active, PATIENCE_S, what=f"active on {self.backup}", pause=self.look_s)["failover"]

    def verify(self) -> None:
        """The backup's memory is the domain's, page by page."""
        report = self.lab.remus_json(self.primary, "verify", self.name, "--max-pause", VERIFY_PAUSE, timeout=PATIENCE_S)
        assert report["pages_compared"] > 0 and report["pages_different"] == 0, (self.guest.spec.kind, report)

    def moves(self, client) -> None:
        before = client.stats.get("records_in", 0)
        eventually(lambda: client.stats.get("records_in", 0) > before + 5, PATIENCE_S, what="the session goes on")


def traces(host) -> list[str]:
    """What of ours is on a host that protects nothing and keeps no standby."""
    found = [name for name in host.processes().values() if name in ("remus-guard", "remus-keeper", "remus-xen-stand")]
    links = host.shell("ip -o link").splitlines()
    found += [line.split(":")[1].strip() for line in links if line.split(":")[1].strip().startswith("rms")]
    found += [name for name in host.domains() if name.endswith("--incoming")]
    return found


def forget(host) -> None:
    """An earlier test's guest, whose generation it knows, and its disks: the next of that name would be refused over a replica."""
    host.shell(f"rm -rf /var/lib/remus/* /run/remus/* {DISKS}/*.root")


def ready(lab) -> None:
    """Both hosts up, with remusd."""
    down = [host for host in lab.hosts.values() if not host.is_up]
    for host in down:
        host.switch_on()
    for host in down:
        host.wait_until_up()
        forget(host)
    lab.install_remus()


def cleared(lab) -> None:
    """Whatever a test has left: nothing is protected, nothing runs."""
    for name, host in lab.hosts.items():
        if not host.is_up:
            continue
        for guest in host.domains():
            lab.remus(name, "unprotect", guest.removesuffix("--incoming"), "--force", check=False)
            host.xl("destroy", guest, check=False)
        for pid, program in host.processes().items():
            if program in ("remusd", "remus-guard", "remus-keeper", "remus-xen-stand"):
                host.run(["kill", "-9", pid], check=False)
        eventually(lambda host=host: not host.domains(), PATIENCE_S, what=f"no domain on {host.name}")
        forget(host)


def intact(client) -> dict:
    verdict = client.finish()
    assert verdict["ok"], verdict["reasons"]
    assert (verdict["lost"], verdict["duplicated"], verdict["changed"], verdict["guest_went_back"]) == (0, 0, 0, 0)
    return verdict
