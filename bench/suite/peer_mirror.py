"""The peer of replicated disks: QEMU's own blockdev-mirror to an NBD export of qemu-nbd on the backup's host.

It keeps a copy of the disk and knows nothing of the guest's memory: after a failover it would serve for a reboot, not for going on.
"""

import contextlib
import time

from lab.common.network import HOSTS
from lab.qemu import Lab, LabError
from lab.qemu.guest import Guest

PORT = 10809
WITHIN_S = 60


def _node(qmp, device: str) -> str:
    """The block node behind a -drive's id."""
    return next(block["inserted"]["node-name"] for block in qmp.command("query-block") if block["device"] == device)


def _job(qmp) -> dict | None:
    return next((job for job in qmp.command("query-block-jobs") if job["device"] == "peer"), None)


def _wait(what: str, condition) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"QEMU's own mirror: {what} not within {WITHIN_S} s")
        time.sleep(0.02)


@contextlib.contextmanager
def mirrored(lab: Lab, guest: Guest, device: str, file: str, copy_mode: str):
    """While this lasts the disk is mirrored, all of it having been copied before, to a file on host B."""
    host = lab.host("B")
    address = HOSTS["B"].repl
    words = ["qemu-nbd", "--format=raw", "--persistent", "--export-name=peer", f"--bind={address}", f"--port={PORT}", file]
    server = host.spawn(words, name="qemu-nbd")
    try:
        listens = ["ss", "-Hltn", f"sport = :{PORT}"]
        _wait("the server's port", lambda: host.run(listens).stdout.strip())
        _begin(guest, device, copy_mode, address)
        try:
            yield
        finally:
            with guest.qmp() as qmp:
                qmp.command("block-job-cancel", device="peer")
                _wait("its end", lambda: _job(qmp) is None)
                qmp.command("blockdev-del", **{"node-name": "peer-target"})
    finally:
        server.stop()


def _begin(guest: Guest, device: str, copy_mode: str, address: str) -> None:
    where = {"type": "inet", "host": address, "port": str(PORT)}
    with guest.qmp() as qmp:
        qmp.command("blockdev-add", **{"driver": "nbd", "node-name": "peer-target", "server": where, "export": "peer"})
        qmp.command("blockdev-mirror", **{"job-id": "peer", "device": _node(qmp, device), "target": "peer-target",
                                          "sync": "full", "copy-mode": copy_mode})  # fmt: skip
        _wait("the end of its copy", lambda: _ready(qmp))


def _ready(qmp) -> bool:
    job = _job(qmp)
    if job is None:
        raise LabError("QEMU's own mirror ended before it was ready")
    return job["ready"]
