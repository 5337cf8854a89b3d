"""Counting calls: what something costs, told without a clock."""

import gc
import sys
from collections.abc import Callable
from types import FrameType


def calls_of(work: Callable[[], object]) -> int:
    """Return how many Python and C functions `work` calls."""
    seen = 0

    def profile(_frame: FrameType, event: str, _what: object) -> None:
        nonlocal seen
        if event in ("call", "c_call"):
            seen += 1

    was_on = gc.isenabled()
    gc.disable()  # its callbacks would be counted
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
        if was_on:
            gc.enable()
    return seen


def growth(work_of: Callable[[int], Callable[[], object]], size: int) -> float:
    """Return how many times as many calls the work takes for twice the size."""
    return calls_of(work_of(2 * size)) / calls_of(work_of(size))
