"""Training with a model that is cut over the devices: torch's FSDP2, by `training.fsdp`.

Each device keeps its share of every weight, gradient and optimizer state, and gathers a layer's
weights while it is at work (Zhao et al. 2023, "PyTorch FSDP", section 3). All devices must then ask
for the same layers in the same order, whatever samples they hold; see `Objective`.
"""

import torch
from torch.distributed.fsdp import (
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from vovnet.training.objective import Objective


def shard(objective: Objective, mixed_precision: str) -> None:
    """Cut the model of an objective over all processes, in place.

    Weights and what the optimizer keeps are float32. With `bf16` the layers of the language model,
    which hold nearly all weights, are gathered in 16 bits; gradients are summed in float32. All
    other weights are gathered once a pass: the vision tower among them, since a process may hold
    samples without an image.
    """
    computed = torch.bfloat16 if mixed_precision == "bf16" else None
    policy = MixedPrecisionPolicy(computed, torch.float32, cast_forward_inputs=False)
    for layer in objective.layers:
        fully_shard(layer.float(), mp_policy=policy)
    fully_shard(objective.float(), mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))
    register_fsdp_forward_method(objective, "evaluate")
