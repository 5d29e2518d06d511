"""A guest whose database is on a replicated disk, and the client that keeps account of it."""

import json

from eventually import eventually
from pair import PATIENCE_S, Pair

from lab.qemu import GuestSpec

SPEC = GuestSpec(name="db", run="ledger,stream-server", disk=True)
DISK = "virtio0"


class Account:
    """A client whose transactions go on; each one it was told of must be there at the end, once, and no other."""

    def __init__(self, pair: Pair, *, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self.client = pair.lab.client("transactions", pair.guest.spec.address, "--patience", max(60, patience_s))

    @property
    def acknowledged(self) -> int:
        assert self.client.running, self.client.wait()
        return self.client.stats.get("acknowledged", 0)

    def moves(self) -> None:
        before = self.acknowledged
        eventually(lambda: self.acknowledged > before + 5, self._patience_s, what="transactions go on")

    def close(self) -> dict:
        verdict = self.client.finish()
        print(verdict)
        assert verdict["ok"], verdict["reasons"]
        return verdict


def copies(pair: Pair) -> list[dict]:
    """What the synchronizations so far, by guards of the primary's host, have copied of the disk."""
    lines = pair.lab.remus(pair.primary, "events", pair.name, "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    return [event["data"] for event in events if event["kind"] == "disk" and "copied_bytes" in event["data"]]


def nothing_differs(pair: Pair) -> None:
    """Every block of the disk and of its replica, compared while the guest writes."""
    report = pair.lab.remus_json(pair.primary, "verify", pair.name, "--disks", timeout=120)
    assert report["blocks_different"] == 0 and report["blocks_compared"] > 1000, report
