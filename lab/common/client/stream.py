"""Numbered, checksummed records both ways over one TCP connection, each byte verified at both ends.

Prints a "stats" line every --report seconds, and at the end (--duration, SIGTERM or SIGINT) a "verdict":

  {"type": "stats", "records_in": 812, "outage_ms": 61.2, "silent_ms": 3.0, "faults": [], ...}
  {"type": "verdict", "ok": true, "reasons": [], "lost": 0, "duplicated": 0, "changed": 0, "outage_ms": 61.2, ...}

Exit status 0 only if the connection lived to the end and every record sent by either side arrived, once, unchanged.
"""

import argparse
import select
import time

from lab.common.client.connect import connect
from lab.common.client.ledger import Ledger
from lab.common.client.output import milliseconds, on_stop, percentile, say
from lab.common.client.records import FramingLost, Parser, compose

UNCONFIRMED_MAX = 50_000
OUT_BYTES_MAX = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", help="the guest's address")
    parser.add_argument("--port", type=int, default=7000)
    parser.add_argument(
        "--interval",
        type=float,
        default=0.005,
        help="seconds between records, either way (default %(default)s; 0: flood)",
    )
    parser.add_argument(
        "--payload", type=int, default=512, help="payload bytes a record (default %(default)s)"
    )
    parser.add_argument("--duration", type=float, default=0, help="seconds (default: until a signal)")
    parser.add_argument(
        "--report", type=float, default=0.2, help="seconds between stats lines (default %(default)s)"
    )
    parser.add_argument(
        "--patience", type=float, default=30, help="longest silence borne, seconds (default %(default)s)"
    )


class Session:
    """One connection, from its opening to its verdict."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._socket = connect((arguments.address, arguments.port))
        self._socket.sendall(b"%d %d\n" % (round(arguments.interval * 1e6), arguments.payload))
        self._socket.setblocking(False)
        self._parser = Parser()
        self._out = bytearray()
        self._ended: str | None = None
        self.stopping = False
        self.start = time.time()
        self.ledger = Ledger(self.start)

    def stop(self) -> None:
        self.stopping = True

    def run(self) -> None:
        """Sends and receives until told to stop, then until the guest has confirmed all that was sent."""
        arguments = self._arguments
        next_send = next_report = time.time()
        while self._ended is None:
            now = time.time()
            if arguments.duration and now - self.start >= arguments.duration:
                self.stopping = True
            if self.stopping and not self._out and self.ledger.unconfirmed == 0:
                return
            if now - self.ledger.last_in > arguments.patience:
                self._ended = f"nothing came for {arguments.patience} s"
                return
            if not self.stopping and now >= next_send and self._may_send():
                self._queue_record(now)
                next_send = max(next_send + arguments.interval, now - 0.05)
            if now >= next_report:
                say("stats", **self.figures(now))
                next_report = now + arguments.report
            self._exchange(max(0.0, min(next_send, next_report) - now) if not self.stopping else 0.05)

    def _may_send(self) -> bool:
        return len(self._out) < OUT_BYTES_MAX and self.ledger.unconfirmed < UNCONFIRMED_MAX

    def _queue_record(self, now: float) -> None:
        record = compose(self.ledger.records_out, self._arguments.payload)
        self.ledger.sent(record, now)
        self._out += record

    def _exchange(self, wait: float) -> None:
        wait = max(wait, 0.0005) if not self._may_send() else wait
        readable, writable, _ = select.select([self._socket], [self._socket] if self._out else [], [], wait)
        try:
            if readable:
                self._receive()
            if writable:
                del self._out[: self._socket.send(self._out)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._ended = f"the connection broke: {error}"
        except FramingLost as error:
            self.ledger.changed += 1
            self._ended = str(error)

    def _receive(self) -> None:
        data = self._socket.recv(1 << 18)
        if not data:
            self._ended = "the guest closed the connection"
        now = time.time()
        for record in self._parser.feed(data):
            self.ledger.received(record, now)

    def figures(self, now: float) -> dict:
        ledger = self.ledger
        trips = list(ledger.round_trips_s)
        silent = now - ledger.last_in
        outage, at = (
            (silent, ledger.last_in) if silent > ledger.outage_s else (ledger.outage_s, ledger.outage_at)
        )
        return {
            "time": round(now, 3),
            "seconds": round(now - self.start, 3),
            "records_in": ledger.records_in,
            "records_out": ledger.records_out,
            "bytes_in": ledger.bytes_in,
            "bytes_out": ledger.bytes_out,
            "lost": ledger.lost,
            "duplicated": ledger.duplicated,
            "changed": ledger.changed,
            "guest_faults": ledger.guest_faults + ledger.guest_crc_wrong,
            "guest_restarted": ledger.restarted,
            "guest_went_back": ledger.went_back,
            "guest_uptime_ms": ledger.uptime_us // 1000,
            "unconfirmed": ledger.unconfirmed,
            "silent_ms": milliseconds(silent),
            "outage_ms": milliseconds(outage),
            "outage_at": round(at, 3),
            "rtt_p50_ms": milliseconds(percentile(trips, 0.5)),
            "rtt_p99_ms": milliseconds(percentile(trips, 0.99)),
            "faults": ledger.faults(),
        }

    def verdict(self) -> bool:
        reasons = self.ledger.faults()
        if self._ended is not None:
            reasons.append(self._ended)
        if self.ledger.records_in == 0:
            reasons.append("no record came from the guest")
        if self.ledger.unconfirmed:
            reasons.append(f"{self.ledger.unconfirmed} records sent were never confirmed by the guest")
        say("verdict", ok=not reasons, reasons=reasons, **self.figures(time.time()))
        return not reasons


def main(arguments: argparse.Namespace) -> int:
    try:
        session = Session(arguments)
    except OSError as error:
        say("verdict", ok=False, reasons=[f"cannot connect to {arguments.address}:{arguments.port}: {error}"])
        return 1
    on_stop(session.stop)
    session.run()
    return 0 if session.verdict() else 1
