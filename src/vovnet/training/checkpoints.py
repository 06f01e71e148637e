"""Checkpoints: which there are, and their states, of a whole model or of one that is cut."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of every complete checkpoint, oldest first."""
    found = []
    for path in folder.glob("checkpoint-*"):
        step = path.name.removeprefix("checkpoint-").removesuffix(".pt")
        if step.isdigit():
            found.append((int(step), path))
    return sorted(found)


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


def restore(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Set `model` and `optimizer` of a checkpoint, cut as they are here."""
    here = model.state_dict()
    weights = {name: _cut_as(here[name], value) for name, value in state["model"].items()}
    model.load_state_dict(weights)
    kept = state["optimizer"]
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
