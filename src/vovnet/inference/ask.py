"""One question about anybody's pictures, decided and answered as in a live run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from PIL import Image

from vovnet.config import PolicySettings
from vovnet.core.errors import ConfigError
from vovnet.core.files import sha256_file
from vovnet.core.records import ImageRef, Sample
from vovnet.data.decoder import open_image
from vovnet.data.price import priced
from vovnet.inference.engine import Inference
from vovnet.inference.live import LiveAnswer, LivePolicy
from vovnet.policies import kind_of
from vovnet.policies.learned import values_by_action


@dataclass(frozen=True)
class Asked:
    """An answer, and what each action was worth (nats) where the policy goes by that."""

    answer: LiveAnswer
    values: dict[str, float]


def ask(
    inference: Inference,
    policy: PolicySettings,
    question: str,
    images: Sequence[Path],
    choices: Sequence[str] = (),
) -> Asked:
    """Decide whether to look at the pictures, and answer; `choices` get the letters A, B, C ...

    A `lambda_cost` that is a share of FULL's cost is one of this question's: a question by itself
    has no set whose mean cost it could be. What is timed has been done once before.
    """
    if kind_of(policy).router is not None:
        raise ConfigError(
            f"policy.baseline_name: {policy.baseline_name!r} is fitted on the outcomes of a suite,"
            " expected a policy that needs none"
        )
    if len(choices) > len(ascii_uppercase):
        raise ConfigError(f"expected at most {len(ascii_uppercase)} choices, got {len(choices)}")
    pictures = [open_image(path) for path in images]
    sample = Sample(
        id="asked",
        dataset="asked",
        split="asked",
        question_type="multiple-choice" if choices else "vqa",
        question=question,
        images=[
            ImageRef(
                path=str(path), width=shown.width, height=shown.height, sha256=sha256_file(path)
            )
            for path, shown in zip(images, pictures, strict=True)
        ],
        choices=dict(zip(ascii_uppercase, choices, strict=False)),
    )
    settings = inference.settings
    policy = priced(policy, [sample], settings.vision_budget)

    def load(_: Sample) -> list[Image.Image]:
        return [open_image(path) for path in images]

    live = LivePolicy(inference, settings.layout, policy, load=load)
    live.warm_up([sample])
    answer = live(sample)
    by_value = policy.baseline_name is None
    values = values_by_action(policy, settings.actions, answer.signals) if by_value else {}
    return Asked(answer, values)
