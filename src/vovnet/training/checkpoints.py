"""Training checkpoints: complete or absent, in accelerate's layout or as one `.pt` file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from vovnet.core.errors import CheckpointError
from vovnet.core.files import atomic_path


def checkpoint_path(folder: Path, step: int, form: str) -> Path:
    return folder / (f"checkpoint-{step}.pt" if form == "pt" else f"checkpoint-{step}")


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of every complete checkpoint, oldest first."""
    found = []
    for path in folder.glob("checkpoint-*"):
        step = path.name.removeprefix("checkpoint-").removesuffix(".pt")
        if step.isdigit():
            found.append((int(step), path))
    return sorted(found)


def save_checkpoint(
    accelerator: Accelerator, objects: dict[str, Any], path: Path, keep: int
) -> None:
    """Save model, optimizer and scheduler aside, rename, and drop all but the `keep` newest.

    `objects` holds the unwrapped "model", the "optimizer" and the "scheduler". Every process
    calls this; accelerate writes what belongs to each.
    """
    partial = path.with_name(f".{path.name}.partial")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(path, ignore_errors=True)
    accelerator.wait_for_everyone()
    if path.suffix == ".pt":
        if accelerator.is_main_process:
            state = {name: value.state_dict() for name, value in objects.items()}
            with atomic_path(path) as aside:
                torch.save(state, aside)
    else:
        accelerator.save_state(str(partial))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            partial.replace(path)
    if accelerator.is_main_process:
        for _, old in list_checkpoints(path.parent)[:-keep]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    accelerator.wait_for_everyone()


def load_checkpoint(accelerator: Accelerator, objects: dict[str, Any], path: Path) -> None:
    """Restore what `save_checkpoint` saved, without running code from the file."""
    try:
        if path.suffix == ".pt":
            state = torch.load(path, map_location="cpu", weights_only=True)
            for name, value in objects.items():
                value.load_state_dict(state[name])
        else:
            accelerator.load_state(str(path))
    except Exception as error:  # the libraries raise many kinds on a damaged file
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: cannot resume from it ({first_line}); delete it to resume from the one before"
        ) from None
