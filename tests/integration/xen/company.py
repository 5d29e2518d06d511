"""Several domains of one host, each protected with a TCP session of its own, and carried from host to host together.

All of a host share one emulated processor: they are booted one after the other, make fewer checkpoints than one alone would, and
their sessions are quieter. The dom0, in which their guards, backends and device models run, has the weight that an administrator would
give it beside so many.
"""

import time

from eventually import eventually
from protected import OPTIONS, PATIENCE_S, Protected, intact

from lab.xen import GuestSpec

PACE = ["--interval", "2s", "--max-latency", "2s"]
SESSION = ["--interval", 0.1, "--patience", PATIENCE_S]
MEMORY_MIB = 128
LOOK_S = 4
DOM0_WEIGHT = 512  # a guest's is 256; with more a guest would not be quick to suspend
RUN = "stream-server,echo-server"


def prefer_dom0(host) -> None:
    host.xl("sched-credit2", "-d", "Domain-0", "-w", DOM0_WEIGHT)


class Company:
    """`members[i]` is of kind `kinds[i]`; `sessions[i]`, once begun, is its session."""

    def __init__(self, lab, kinds: tuple[str, ...], pace: list[str] | None = None) -> None:
        self.lab = lab
        self.sessions: list = []
        for host in lab.hosts.values():
            prefer_dom0(host)
        self.members = [
            Protected(
                lab,
                GuestSpec(name=f"vm{i}", kind=kind, memory_mib=MEMORY_MIB, mac=f"00:16:3e:77:00:3{i}", address=f"10.77.0.3{i}", run=RUN),
                [*OPTIONS, *(pace or PACE)],
            )
            for i, kind in enumerate(kinds)
        ]

        for it in self.members:
            it.look_s = LOOK_S

    @property
    def names(self) -> set[str]:
        return {it.name for it in self.members}

    @property
    def primary(self):
        """The host they run on."""
        return self.lab.host(self.members[0].primary)

    @property
    def backup(self):
        return self.lab.host(self.members[0].backup)

    def begin_sessions(self) -> None:
        self.sessions = [it.session(SESSION) for it in self.members]

    def protect(self) -> None:
        """One after the other: a host of one processor that synchronizes four lets none of them suspend in time."""
        began = time.monotonic()
        for it in self.members:
            it.begin()
            it.wait_protected()
        print(f"all {len(self.members)} protected after {time.monotonic() - began:.0f} s")

    def all_move(self) -> None:
        for it, session in zip(self.members, self.sessions, strict=True):
            it.moves(session)

    def lose_host(self, after_s: float) -> None:
        """Their host loses its power `after_s` seconds into the protection of the last of them; all go on at the other."""
        for it in self.members:
            it.wait_for_commits()
        self.all_move()
        time.sleep(after_s)
        knew = [session.stats["guest_uptime_ms"] for session in self.sessions]
        self.primary.power_cut()
        reports = [it.wait_active() for it in self.members]
        self.all_move()
        for it, session, before, report in zip(self.members, self.sessions, knew, reports, strict=True):
            kind = it.guest.spec.kind
            assert session.stats["guest_uptime_ms"] >= before, f"{kind} went back behind what its client saw"
            print(
                f"{kind} {it.primary} to {it.backup}: epoch {report['epoch']}, detected {report['detected_ms']} ms, "
                f"activated {report['activation_ms']} ms, longest outage {session.stats['outage_ms']} ms"
            )
        assert set(self.backup.domains()) == self.names

    def turn_round(self) -> None:
        """After that: boots the dead host, and is about to protect all from where they run now, to it."""
        for it in self.members:
            it.turn_round()
        prefer_dom0(self.backup)

    def sessions_intact(self) -> None:
        for it, session in zip(self.members, self.sessions, strict=True):
            verdict = intact(session)
            print(
                f"{it.guest.spec.kind}: {verdict['records_in']} records to the client, {verdict['records_out']} to the guest, "
                "all once and unchanged"
            )

    def verify(self) -> None:
        for it in self.members:
            it.verify()

    def unprotect(self) -> None:
        for it in self.members:
            self.lab.remus(it.primary, "unprotect", it.name, timeout=PATIENCE_S)
        assert set(self.primary.domains()) == self.names, "to give up protection must not touch the guests"

    def destroy(self) -> None:
        for it in self.members:
            it.guest.destroy(self.primary)
        eventually(lambda: not self.primary.domains(), PATIENCE_S, what=f"no domain on {self.primary.name}")
