"""Request latency: one small request at a time to the guest's echo server, the time to its answer.

Prints {"type": "verdict", "requests": n, "p50_ms": ..., "p90_ms": ..., "p99_ms": ..., "max_ms": ...}.
"""

import argparse
import time

from lab.common.client.connect import connect
from lab.common.client.output import milliseconds, on_stop, percentile, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", help="the guest's address")
    parser.add_argument("--port", type=int, default=7007)
    parser.add_argument("--bytes", type=int, default=64, help="bytes of a request (default %(default)s)")
    parser.add_argument(
        "--pause",
        type=float,
        default=0.005,
        help="seconds between an answer and the next request (default %(default)s)",
    )
    parser.add_argument("--requests", type=int, default=500, help="how many (default %(default)s)")
    parser.add_argument("--samples", action="store_true", help="print every latency too (samples_ms)")


def main(arguments: argparse.Namespace) -> int:
    stopping: list[bool] = []
    on_stop(lambda: stopping.append(True))
    samples: list[float] = []
    request = bytes(index & 255 for index in range(arguments.bytes))
    reasons = []
    try:
        with connect((arguments.address, arguments.port)) as connection:
            while len(samples) < arguments.requests and not stopping:
                start = time.perf_counter()
                connection.sendall(request)
                answer = b""
                while len(answer) < len(request):
                    got = connection.recv(len(request) - len(answer))
                    if not got:
                        raise ConnectionError("the guest closed the connection")
                    answer += got
                samples.append(time.perf_counter() - start)
                if answer != request:
                    raise ConnectionError("the answer is not the request")
                time.sleep(arguments.pause)
    except OSError as error:
        reasons.append(f"{arguments.address}:{arguments.port}: {error}")
    figures = {f"p{percent}_ms": milliseconds(percentile(samples, percent / 100)) for percent in (50, 90, 99)}
    figures["max_ms"] = milliseconds(max(samples, default=None))
    if arguments.samples:
        figures["samples_ms"] = [milliseconds(sample) for sample in samples]
    say("verdict", ok=not reasons, reasons=reasons, requests=len(samples), **figures)
    return 1 if reasons else 0
