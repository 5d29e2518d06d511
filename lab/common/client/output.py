"""What client programs print: one JSON object a line, so that a person can read it and a program can follow it."""

import json
import signal
from collections.abc import Callable


def say(kind: str, **fields) -> None:
    print(json.dumps({"type": kind, **fields}), flush=True)


def percentile(values: list[float], fraction: float) -> float | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] if ordered else None


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def on_stop(action: Callable[[], None]) -> None:
    """SIGTERM and SIGINT ask for a verdict, not for silence."""
    for which in (signal.SIGTERM, signal.SIGINT):
        signal.signal(which, lambda *_: action())
