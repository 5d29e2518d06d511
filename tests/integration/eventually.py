"""Waiting in tests: for a condition, with a bound, and with words when it does not come."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], within: float, *, what: str = "", pause: float = 0.05) -> T:
    """Returns the first truthy result of `condition`; fails if there is none within so many seconds.

    `within` is a bound against hanging, not a promise of speed: make it generous. AssertionError and LabError inside the
    condition count as "not yet"; the last one is shown.
    """
    from lab.qemu import LabError

    deadline = time.monotonic() + within
    last: object = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (AssertionError, LabError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'condition'}: not within {within} s; last: {last!r}")
        time.sleep(pause)
