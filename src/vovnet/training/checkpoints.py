"""Checkpoints: which there are, and their states, of a whole model or of one that is cut."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from vovnet.core.errors import CheckpointError, one_line
from vovnet.core.files import sha256_file, write_json
from vovnet.core.recorded import recorded
from vovnet.pipeline.trained_model import HASHES

logger = logging.getLogger(__name__)


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of every complete checkpoint, oldest first."""
    found = []
    for path in folder.glob("checkpoint-*"):
        step = path.name.removeprefix("checkpoint-").removesuffix(".pt")
        if step.isdigit():
            found.append((int(step), path))
    return sorted(found)


def save_state(accelerator: Accelerator, folder: Path) -> None:
    """Save a checkpoint in accelerate's layout; its writers tell a full disk in their own words."""
    try:
        accelerator.save_state(str(folder))
    except (RuntimeError, SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{folder}: the checkpoint cannot be written, is the disk full? ({one_line(error)})"
        ) from None


def note_hashes(folder: Path) -> None:
    """Write down what the files of a checkpoint are, so that a damaged one is not resumed from."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    outputs = {path.name: {"path": path.name, "sha256": sha256_file(path)} for path in files}
    write_json(folder / HASHES, {"outputs": outputs})


def drop_damaged(folder: Path) -> None:
    """Remove checkpoints that are not as they were written, from the newest to the first whole."""
    for _, path in reversed(list_checkpoints(folder)):
        if _is_whole(path):
            return
        logger.warning("%s: damaged, and removed; training goes on from before it", path)
        _remove(path)


def keep_newest(folder: Path, number: int) -> None:
    """Remove all but so many checkpoints."""
    for _, path in list_checkpoints(folder)[:-number]:
        _remove(path)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_whole(path: Path) -> bool:
    """Whether a checkpoint is as it was written; of a folder without hashes nothing is known."""
    try:
        if path.suffix == ".pt":  # a ZIP archive, which has checksums of its own
            with ZipFile(path) as archive:
                return archive.testzip() is None
        return all(sha256_file(path / name) == digest for name, digest in recorded(path / HASHES))
    except PermissionError:
        raise
    except Exception:  # the libraries raise many kinds on a damaged file
        return False


def gathered(value: Any) -> Any:
    """A state dictionary with whole tensors: those of a model that is cut, on the first's host.

    Every process must call it; the others get empty tensors in their place. Where the model is not
    cut nothing is copied.
    """
    if isinstance(value, DTensor):
        whole = value.full_tensor()
        return whole.cpu() if value.device_mesh.get_rank() == 0 else whole.new_empty(0)
    if isinstance(value, dict):
        return {name: gathered(item) for name, item in value.items()}
    return value


def gathered_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """The weights of a model that is cut; those that are tied are named once."""
    named = [*model.named_parameters(), *model.named_buffers()]
    stored = model.state_dict()
    return {name: gathered(stored[name]) for name, _ in named if name in stored}


def restore(objects: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Set the objects of a trainer to the states of a checkpoint, cut as they are here."""
    if missing := objects.keys() - state.keys():
        raise CheckpointError(f"it has no state of the {', '.join(sorted(missing))}")
    here = objects["model"].state_dict()
    weights = {name: _cut_as(here[name], value) for name, value in state["model"].items()}
    objects["model"].load_state_dict(weights)
    for name in objects.keys() - {"model", "optimizer"}:
        objects[name].load_state_dict(state[name])
    optimizer, kept = objects["optimizer"].optimizer, state["optimizer"]
    trained = [weight for group in optimizer.param_groups for weight in group["params"]]
    cut = {
        number: {
            name: _cut_as(trained[number], value) if value.shape == trained[number].shape else value
            for name, value in values.items()
        }
        for number, values in kept["state"].items()
    }
    optimizer.load_state_dict({**kept, "state": cut})


def _cut_as(here: Tensor, value: Tensor) -> Tensor:
    """This process's share of a whole tensor; all of it where `here` is whole."""
    if not isinstance(here, DTensor):
        return value
    whole = value.to(here.device)
    return distribute_tensor(whole, here.device_mesh, here.placements, src_data_rank=None)
