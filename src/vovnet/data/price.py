"""`lambda_cost` per unit of cost, whichever unit the settings give it in."""

from collections.abc import Iterable

from vovnet.config import PolicySettings, VisionBudget
from vovnet.core.cost import expected_cost, unit_price
from vovnet.core.records import Sample
from vovnet.views import num_vision_tokens


def priced(
    policy: PolicySettings, samples: Iterable[Sample], budget: VisionBudget
) -> PolicySettings:
    """The policy with its `lambda_cost` per unit of cost on a set of samples.

    FULL's mean cost is that of the whole set as it is prepared, which follows from the sizes of its
    images alone: replays, live runs of a part of it, and training know the same number.
    """
    if policy.lambda_unit == "cost":
        return policy
    sizes = ([(image.width, image.height) for image in sample.images] for sample in samples)
    tokens = [num_vision_tokens(own, "full", budget) for own in sizes]
    price = unit_price(policy.lambda_cost, expected_cost(tokens, policy.cost_scale))
    return policy.model_copy(update={"lambda_cost": price, "lambda_unit": "cost"})
