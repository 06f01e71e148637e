"""The processes that train together: the first of them holds a folder for all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState

from vovnet.pipeline.claims import claimed_folder, is_complete

PATIENCE = timedelta(days=7)
"""How long ranks wait for the first: it may wait for another start of the same job to end."""


def processes() -> PartialState:
    """This process among those that train together, on GPUs where there are any."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


@contextmanager
def claimed_for_all(folder: Path, key: Mapping[str, str]) -> Iterator[bool]:
    """Hold a job's folder as `claimed_folder` does, by the first process; every one calls it."""
    state = processes()
    with claimed_folder(folder, key) if state.is_main_process else nullcontext():
        state.wait_for_everyone()
        yield is_complete(folder)
