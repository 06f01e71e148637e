"""Progress with rate and time left: a bar on a terminal, plain lines in a log file."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as bars

LOG_INTERVAL_S = 10.0

TOLD = re.compile(r".*: \d+/\d+, .*/s, \d+ s left")
"""How the lines read that a log has of it."""


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total) that shows progress."""
    if sys.stderr.isatty():
        parts = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
        times = (bars.TimeElapsedColumn(), bars.TimeRemainingColumn())
        with bars.Progress(*parts, *times) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    began = last = time.monotonic()
    first: int | None = None

    def log(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        first = done - 1 if first is None else first
        if now - last >= LOG_INTERVAL_S or done >= total:
            last = now
            rate = (done - first) / max(now - began, 1e-9)
            left_s = (total - done) / max(rate, 1e-9)
            text = f"{what}: {done}/{total}, {rate:.1f}/s, {left_s:.0f} s left"
            print(text, file=sys.stderr, flush=True)

    yield log
