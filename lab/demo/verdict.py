"""The verdict: every claim the demo makes, each checked by itself, each with what was seen. No I/O."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """One claim: whether it holds, and what was seen."""

    claim: str
    holds: bool
    seen: str


@dataclass
class Evidence:
    """What was seen before and after the kill; a value that could not be had stays None."""

    verify_ok: bool = False
    verify_text: str = "not asked"
    killed_at: float = 0.0
    survivors: list[str] = field(default_factory=list)
    host_a_up: bool = True
    status_b: dict = field(default_factory=dict)
    hypervisor_agrees: bool = False
    boot_before: str | None = None
    boot_after: str | None = None
    history: list[dict] = field(default_factory=list)
    client: dict = field(default_factory=dict)

    @property
    def failover(self) -> dict:
        return (self.status_b.get("guard") or {}).get("failover") or {}

    def _gap(self) -> tuple[dict, dict]:
        """The client's reports at the edges of its longest wait for a record since the kill; empty if nothing came after."""
        seen = [report for report in self.history if report["time"] > self.killed_at]
        edges, longest, start = ({}, {}), 0, 0
        for index in range(1, len(seen)):
            if seen[index]["records_in"] != seen[index - 1]["records_in"]:
                if index - start > longest:
                    edges, longest = (seen[start], seen[index]), index - start
                start = index
        return edges

    @property
    def before(self) -> dict:
        """The client's report of the last record from A."""
        return self._gap()[0]

    @property
    def resumed(self) -> dict:
        """The client's report of the first record after the failover."""
        return self._gap()[1]

    @property
    def outage_ms(self) -> float | None:
        """The client's longest wait for a record across the kill: exact if it is the session's longest, else as reported."""
        if not self.resumed:
            return None
        if self.client.get("outage_at", 0.0) >= self.killed_at - 1.0:
            return self.client["outage_ms"]
        return max((s["silent_ms"] for s in self.history if s["time"] > self.killed_at), default=None)


def checks(evidence: Evidence) -> list[Check]:
    """All claims, in the order a person asks them."""
    return [*_machines(evidence), *_session(evidence), *_guest(evidence)]


def _machines(evidence: Evidence) -> list[Check]:
    guard = evidence.status_b.get("guard") or {}
    runs = guard.get("state") == "active" and evidence.status_b.get("guest_running") is True
    dead = not evidence.host_a_up and not evidence.survivors
    return [
        Check(
            "host A is dead",
            dead,
            "no process of it is left" if dead else f"still there: {', '.join(evidence.survivors) or 'the host'}",
        ),
        Check(
            "the guest runs on host B",
            runs and evidence.hypervisor_agrees,
            evidence.status_b.get("text", "host B does not answer"),
        ),
        Check("B's memory was A's before", evidence.verify_ok, evidence.verify_text),
    ]


def _session(evidence: Evidence) -> list[Check]:
    client = evidence.client
    wrong = [client.get(key, 1) for key in ("lost", "duplicated", "changed")]
    inward = client.get("guest_faults", 1)
    return [
        Check(
            "the TCP session lives on",
            bool(client.get("ok")) and bool(evidence.resumed),
            f"{client.get('records_in', 0)} records from the guest, {client.get('records_out', 0)} to it"
            if client.get("ok")
            else "; ".join(client.get("reasons", [])) or "no verdict from the client",
        ),
        Check("records to the client", wrong == [0, 0, 0], "{} lost, {} duplicated, {} changed".format(*wrong)),
        Check(
            "records to the guest",
            inward == 0 and client.get("unconfirmed", 1) == 0,
            f"{inward} lost, duplicated or changed, {client.get('unconfirmed', '?')} unconfirmed",
        ),
    ]


def _guest(evidence: Evidence) -> list[Check]:
    before, after = evidence.before.get("guest_uptime_ms"), evidence.resumed.get("guest_uptime_ms")
    went_on = before is not None and after is not None and after >= before
    same = evidence.boot_before is not None and evidence.boot_before == evidence.boot_after
    return [
        Check(
            "the guest's uptime goes on",
            went_on and evidence.client.get("guest_went_back") == 0,
            f"{seconds(before)} at the last record from A, {seconds(after)} at the first from B, "
            f"{evidence.client.get('guest_went_back', '?')} steps back",
        ),
        Check(
            "the guest never restarted",
            same and evidence.client.get("guest_restarted") == 0,
            f"boot id {evidence.boot_after}"
            if same
            else f"boot id was {evidence.boot_before}, is {evidence.boot_after or 'unknown: no answer'}",
        ),
    ]


def seconds(uptime_ms: float | None) -> str:
    return "-" if uptime_ms is None else f"{uptime_ms / 1000:.3f} s"


def outage_text(evidence: Evidence) -> str:
    """The outage the client saw, split by what host B reports."""
    outage = evidence.outage_ms
    if outage is None:
        return "endless: the session did not go on"
    detected, activation = evidence.failover.get("detected_ms"), evidence.failover.get("activation_ms")
    if detected is None or activation is None:
        return f"{outage:.0f} ms"
    rest = outage - detected - activation
    words = f"{outage:.0f} ms: {detected} ms detection, {activation} ms activation"
    return f"{words}, {rest:.0f} ms until TCP's next attempt" if rest >= 0 else words
