"""Where Snakemake ends with one line: faults of the user's files, settings, permissions or disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vovnet.core.errors import error_line


@contextmanager
def ends_in_one_line() -> Iterator[None]:
    """End Snakemake with the line of an error, as the command line ends; also a decorator.

    Functions of inputs and parameters need it: Snakemake reports their errors by tracebacks.
    """
    try:
        yield
    except Exception as error:
        if (line := error_line(error)) is None:
            raise
        sys.exit(f"vovnet: error: {line}")
