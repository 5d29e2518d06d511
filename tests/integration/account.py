"""A guest whose database is on a replicated disk, and the client that keeps account of it."""

from eventually import eventually
from pair import PATIENCE_S, Pair

from lab.qemu import GuestSpec

SPEC = GuestSpec(name="db", run="ledger,stream-server", disk=True)
DISK = "virtio0"


class Account:
    """A client whose transactions go on; each one it was told of must be there at the end, once, and no other."""

    def __init__(self, pair: Pair) -> None:
        self.client = pair.lab.client("transactions", SPEC.address, "--patience", 60)

    @property
    def acknowledged(self) -> int:
        assert self.client.running, self.client.wait()
        return self.client.stats.get("acknowledged", 0)

    def moves(self) -> None:
        before = self.acknowledged
        eventually(lambda: self.acknowledged > before + 5, PATIENCE_S, what="transactions go on")

    def close(self) -> dict:
        verdict = self.client.finish()
        print(verdict)
        assert verdict["ok"], verdict["reasons"]
        return verdict
