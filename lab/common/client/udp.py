"""Numbered datagrams with the guest: what the path loses or puts out of order, which TCP would hide.

  udp receive                 counts those the guest sends (start `udp-seq:send:<client>:<port>:<rate>` in it)
  udp send ADDRESS            sends to the guest (`udp-seq:receive:<port>`; it shows its counts in /run/stat/udp-receive-*)

The receiver prints {"type": "verdict", "received": n, "lost": n, "late": n, "duplicated": n, "longest_gap_ms": ..., "gap_from": ...},
the last being when that silence began, in seconds since 1970.
"""

import argparse
import select
import socket
import struct
import time

from lab.common.client.output import milliseconds, on_stop, say

DATAGRAM = struct.Struct("<QQ48x")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["receive", "send"])
    parser.add_argument("address", nargs="?", help="the guest's address (send)")
    parser.add_argument("--port", type=int, default=7009)
    parser.add_argument(
        "--rate", type=float, default=1000, help="datagrams a second (send; default %(default)s)"
    )
    parser.add_argument("--duration", type=float, default=0, help="seconds (default: until a signal)")


def _receive(arguments: argparse.Namespace, stopping: list[bool]) -> int:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    receiver.bind(("0.0.0.0", arguments.port))
    say("ready", port=arguments.port)
    seen: set[int] = set()
    highest = lowest = None
    late = duplicated = 0
    gap = 0.0
    last = gap_from = None
    end = time.time() + arguments.duration if arguments.duration else float("inf")
    while not stopping and time.time() < end:
        if not select.select([receiver], [], [], 0.1)[0]:
            continue
        data = receiver.recv(2048)
        if len(data) != DATAGRAM.size:
            continue
        now = time.time()
        if last is not None and now - last > gap:
            gap, gap_from = now - last, last
        last = now
        sequence = DATAGRAM.unpack(data)[0]
        duplicated += sequence in seen
        late += highest is not None and sequence < highest
        seen.add(sequence)
        highest = sequence if highest is None else max(highest, sequence)
        lowest = sequence if lowest is None else min(lowest, sequence)
    lost = highest - lowest + 1 - len(seen) if seen else 0
    reasons = [] if seen else ["no datagram came"]
    say(
        "verdict",
        ok=bool(seen),
        reasons=reasons,
        received=len(seen),
        lost=lost,
        late=late,
        duplicated=duplicated,
        longest_gap_ms=milliseconds(gap),
        gap_from=gap_from,
    )
    return 0 if seen else 1


def _send(arguments: argparse.Namespace, stopping: list[bool]) -> int:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    start = time.time()
    sequence = 0
    while not stopping and (not arguments.duration or time.time() - start < arguments.duration):
        sender.sendto(DATAGRAM.pack(sequence, 0), (arguments.address, arguments.port))
        sequence += 1
        time.sleep(max(0.0, start + sequence / arguments.rate - time.time()))
    say("verdict", ok=True, reasons=[], sent=sequence)
    return 0


def main(arguments: argparse.Namespace) -> int:
    stopping: list[bool] = []
    on_stop(lambda: stopping.append(True))
    if arguments.what == "receive":
        return _receive(arguments, stopping)
    if not arguments.address:
        say("verdict", ok=False, reasons=["send needs the guest's address"])
        return 2
    return _send(arguments, stopping)
