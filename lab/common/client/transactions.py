"""Transactions against the guest's ledger (lab/common/disk/ledger.c), one after another, and what became of each acknowledged one.

On SIGTERM, or after --transactions, it asks the database for all it holds and compares. Prints
{"type": "verdict", "ok": ..., "reasons": [...], "acknowledged": n, "present": n, "lost": n, "twice": n, "foreign": n,
"p50_ms": ..., "p99_ms": ..., "max_ms": ...}; while it runs, {"type": "stats", "acknowledged": n} twice a second.
A transaction that was not acknowledged may be there or not, but only once. --record FILE keeps the acknowledged ones, for a
later `--check-only` after the guest was started anew.
"""

import argparse
import hashlib
import json
import socket
import time
from pathlib import Path

from lab.common.client.connect import connect
from lab.common.client.output import milliseconds, on_stop, percentile, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", help="the guest's address")
    parser.add_argument("--port", type=int, default=7010)
    parser.add_argument("--transactions", type=int, default=0, help="how many (default: until SIGTERM)")
    parser.add_argument(
        "--patience", type=float, default=60, help="seconds to wait for an answer: longer than any outage (default %(default)s)"
    )
    parser.add_argument("--record", type=Path, help="writes what was sent and acknowledged to this file at the end")
    parser.add_argument("--check-only", type=Path, metavar="FILE", help="no transactions: compares with such a record")


def text_of(number: int) -> str:
    """What transaction `number` writes: of varying length, so that rows move across pages."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return digest * (1 + number % 16)


def compare(held: dict[int, tuple[int, str]], end: list[str], sent: int, acknowledged: int) -> dict:
    """Lost, doubled and foreign transactions, and the reasons. `sent`, `acknowledged`: all numbers from 1 up to these."""
    lost = [number for number in range(1, acknowledged + 1) if number not in held]
    twice = [number for number, (times, _) in held.items() if times != 1]
    foreign = [number for number, (_, text) in held.items() if not 1 <= number <= sent or text != text_of(number)]
    reasons = [f"{name}: {numbers[:5]}" for name, numbers in (("lost", lost), ("twice", twice), ("foreign", foreign)) if numbers]
    count, total, integrity = int(end[0]), int(end[1]), end[2]
    if integrity != "ok":
        reasons.append(f"the database's integrity check says: {integrity}")
    if (count, total) != (sum(times for times, _ in held.values()), sum(n * times for n, (times, _) in held.items())):
        reasons.append(f"the sums say {count} entries, {total} in all, and the entries another thing")
    figures = {"present": len(held), "lost": len(lost), "twice": len(twice), "foreign": len(foreign)}
    return {"ok": not reasons, "reasons": reasons, **figures}


def ask(address: tuple[str, int]) -> tuple[dict[int, tuple[int, str]], list[str]]:
    """All the database holds: {number: (times, text)}, and the words of its last line."""
    held: dict[int, tuple[int, str]] = {}
    with connect(address) as connection:
        connection.settimeout(60)
        connection.sendall(b"check\n")
        for line in connection.makefile("r", encoding="ascii"):
            words = line.split(None, 3)
            if words[0] == "end":
                return held, [words[1], words[2], words[3].strip()]
            held[int(words[0])] = (int(words[1]), words[2])
    raise ConnectionError("the database's answer broke off")


class Session:
    """One transaction at a time over one connection."""

    def __init__(self, address: tuple[str, int], patience: float) -> None:
        self._address = address
        self._patience = patience
        self._connection: socket.socket | None = None
        self.sent = 0
        self.acknowledged = 0
        self.samples: list[float] = []

    def commit_next(self) -> None:
        """Sends the next transaction and waits for its answer."""
        if self._connection is None:
            self._connection = connect(self._address, within=self._patience)
        self.sent += 1
        start = time.perf_counter()
        self._connection.sendall(f"commit {self.sent} {text_of(self.sent)}\n".encode())
        answer = b""
        while not answer.endswith(b"\n"):
            got = self._connection.recv(256)
            if not got:
                raise ConnectionError("the guest closed the connection")
            answer += got
        if answer != f"ok {self.sent}\n".encode():
            raise ConnectionError(f"the answer to transaction {self.sent} is {answer!r}")
        self.acknowledged = self.sent
        self.samples.append(time.perf_counter() - start)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def main(arguments: argparse.Namespace) -> int:
    address = (arguments.address, arguments.port)
    stopping: list[bool] = []
    on_stop(lambda: stopping.append(True))
    session = Session(address, arguments.patience)
    broken: list[str] = []
    told = time.monotonic()
    if arguments.check_only:
        record = json.loads(arguments.check_only.read_text(encoding="ascii"))
        session.sent, session.acknowledged = record["sent"], record["acknowledged"]
    while not arguments.check_only and not stopping and session.sent != (arguments.transactions or -1):
        try:
            session.commit_next()
        except OSError as error:
            # Whether the one under way is there cannot be known, and those before it must be: numbers without gaps need an end.
            broken.append(str(error))
            break
        if time.monotonic() - told > 0.5:
            told = time.monotonic()
            say("stats", acknowledged=session.acknowledged)
    session.close()
    if arguments.record:
        record = {"sent": session.sent, "acknowledged": session.acknowledged}
        arguments.record.write_text(json.dumps(record), encoding="ascii")
    result: dict = {"ok": False, "reasons": broken}
    if not broken:
        try:
            result = compare(*ask(address), session.sent, session.acknowledged)
        except OSError as error:
            result["reasons"] = [f"{arguments.address}:{arguments.port}: {error}"]
    figures = {f"p{percent}_ms": milliseconds(percentile(session.samples, percent / 100)) for percent in (50, 99)}
    figures["max_ms"] = milliseconds(max(session.samples, default=None))
    say("verdict", **result, sent=session.sent, acknowledged=session.acknowledged, **figures)
    return 0 if result["ok"] else 1
