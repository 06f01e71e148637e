"""Questions about anybody's pictures: one by itself, as in a live run, or many in batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import ExifTags, Image
from pydantic import ValidationError

from vovnet.config import PolicySettings, Settings
from vovnet.core.errors import ConfigError, DataError, one_line
from vovnet.core.files import sha256_json
from vovnet.core.records import ImageRef, Sample, signal_columns
from vovnet.data.decoder import decode, open_image
from vovnet.data.price import priced
from vovnet.inference.engine import Answer, Inference
from vovnet.inference.live import LivePolicy
from vovnet.inference.observe import batches
from vovnet.policies import kind_of, spelled
from vovnet.policies.base import Confidence, Ints
from vovnet.policies.decide import decide, shown_views
from vovnet.policies.experiments import check_live
from vovnet.policies.learned import values_by_action

Picture = str | Path | Image.Image


@dataclass(frozen=True)
class Asked:
    """What a model decided about one question, and what it answered.

    `decision` names the executed views in their order. `values` tells what each action was worth
    (nats), where the policy goes by that. Tokens and FLOPs are those of all executed views.
    `time_ms` has the total and its parts; of a question in a batch it is its share of the total.
    """

    decision: list[str]
    values: dict[str, float]
    answer: str
    vision_tokens: float
    flops: float
    time_ms: dict[str, float]


@dataclass(frozen=True)
class Question:
    """A question about pictures; `choices` are answers to choose from, by the letters A, B, C."""

    text: str
    pictures: Sequence[Picture]
    choices: Sequence[str] = ()

    def load(self) -> list[Image.Image]:
        """The pictures as the model sees them."""
        return [_opened(picture) for picture in self.pictures]

    def sample(self, shown: Sequence[Image.Image]) -> Sample:
        """The question as a sample, whose name follows from its text alone."""
        if len(self.choices) > len(ascii_uppercase):
            most = len(ascii_uppercase)
            raise ConfigError(f"expected at most {most} choices, got {len(self.choices)}")
        return Sample(
            id=sha256_json([self.text, *self.choices])[:16],
            dataset="asked",
            split="asked",
            question_type="multiple-choice" if self.choices else "vqa",
            question=self.text,
            images=[
                ImageRef(path="asked", width=image.width, height=image.height, sha256="")
                for image in shown
            ],
            choices=dict(zip(ascii_uppercase, self.choices, strict=False)),
        )


def at_lambda(settings: Settings, lambda_cost: float | None) -> PolicySettings:
    """The configured policy, at another price of looking where one is given."""
    if lambda_cost is None:
        return settings.policy
    try:
        return PolicySettings.model_validate(
            settings.policy.model_dump() | {"lambda_cost": lambda_cost}
        )
    except ValidationError:
        raise ConfigError(
            f"lambda_cost: expected a number of at least 0, got {lambda_cost!r}"
        ) from None


def ask(
    inference: Inference, policy: PolicySettings, question: Question, *, warm_up: bool = False
) -> Asked:
    """Decide whether to look at the pictures, and answer, one part after the other and timed.

    A `lambda_cost` that is a share of FULL's cost is one of this question's: a question by itself
    has no set whose mean cost it could be. With `warm_up`, what is timed has been done before.
    """
    _check(policy)
    settings = inference.settings
    sample = question.sample(question.load())
    own = priced(policy, [sample], settings.vision_budget)
    live = LivePolicy(inference, settings.layout, own, load=lambda _: question.load())
    if warm_up:
        live.warm_up([sample])
    answer = live(sample)
    row, parts = answer.row, {name: ms for name, ms in answer.timing.parts.items() if ms}
    return Asked(
        decision=row["executed"].split(">"),
        values=_values(own, settings, answer.signals),
        answer=row["text"],
        vision_tokens=row["vision_tokens"],
        flops=row["flops"],
        time_ms={"total": answer.timing.latency_ms} | parts,
    )


def ask_many(
    inference: Inference, policy: PolicySettings, questions: Sequence[Question]
) -> list[Asked]:
    """Decide and answer as `ask` does, with the questions of a batch in one pass of the model.

    Those that are shown the same view are answered together. Where a batch is shown several views,
    its text pass is computed once more for each, as if each view had been asked about alone.
    """
    _check(policy)
    pictures = [question.load() for question in questions]
    samples = [item.sample(shown) for item, shown in zip(questions, pictures, strict=True)]
    found: dict[int, Asked] = {}
    for rows in batches(inference, samples, shown_views(policy, inference.settings.actions)):
        batch = [samples[row] for row in rows], [pictures[row] for row in rows]
        found |= zip(rows, _ask_batch(inference, policy, *batch), strict=True)
    return [found[row] for row in range(len(questions))]


def _ask_batch(
    inference: Inference,
    policy: PolicySettings,
    samples: Sequence[Sample],
    pictures: Sequence[Sequence[Image.Image]],
) -> list[Asked]:
    began, settings, kind = time.perf_counter(), inference.settings, kind_of(policy)
    own = [priced(policy, [sample], settings.vision_budget) for sample in samples]
    text_pass = inference.text_pass(samples) if kind.reads_text_pass(policy) else None
    signals = text_pass.signals if text_pass else [inference.costs(item) for item in samples]
    answers: list[list[Answer]] = [[] for _ in samples]

    def look(rows: Ints, views: NDArray[Any]) -> Confidence:
        for view in dict.fromkeys(views):
            chosen = rows[views == view].tolist()
            asked = [samples[row] for row in chosen]
            again = text_pass
            if text_pass is not None and len(chosen) < len(samples):
                again = inference.text_pass(asked) if settings.eval.cache_reuse else None
            shown = [pictures[row] if view != "no" else [] for row in chosen]
            for row, answer in zip(
                chosen, inference.answer(asked, view, shown, again), strict=True
            ):
                answers[row].append(answer)
        return Confidence.of(answers[row][-1] for row in rows.tolist())

    by_value = policy.baseline_name is None
    decision = decide(
        own[0],
        settings.actions,
        pd.DataFrame(signals, columns=list(signal_columns(settings.actions))),
        look,
        questions=[sample.id for sample in samples],
        values=np.array([item.lambda_cost for item in own]) if by_value else None,
    )
    total_ms = (time.perf_counter() - began) * 1000 / len(samples)
    reuses = text_pass is not None and settings.eval.cache_reuse
    return [
        Asked(
            decision=executed.split(">"),
            values=_values(priced_own, settings, told),
            answer=shown[-1].text,
            vision_tokens=sum(answer.vision_tokens for answer in shown),
            flops=sum(answer.executed_flops(after_text=reuses) for answer in shown)
            + (float(told["flops_text_pass"]) if text_pass else 0),
            time_ms={"total": total_ms},
        )
        for executed, priced_own, told, shown in zip(
            decision.executed, own, signals, answers, strict=True
        )
    ]


def _check(policy: PolicySettings) -> None:
    """Refuse a policy that needs outcomes: those of a suite, or of the question itself."""
    check_live(policy)
    if kind_of(policy).router is not None:
        raise ConfigError(
            f"{spelled(policy)} is fitted on the outcomes of a suite, expected a policy that needs"
            " none"
        )


def _values(policy: PolicySettings, settings: Settings, signals: Any) -> dict[str, float]:
    """What each action is worth, where the policy goes by that."""
    by_value = policy.baseline_name is None
    return values_by_action(policy, settings.actions, signals) if by_value else {}


def _opened(picture: Picture) -> Image.Image:
    """A picture in RGB and upright, decoded as those of datasets are."""
    if not isinstance(picture, Image.Image):
        return open_image(Path(picture))
    upright = picture.getexif().get(ExifTags.Base.Orientation, 1) == 1
    if picture.mode == "RGB" and upright and "transparency" not in picture.info:
        return picture
    content = BytesIO()
    try:
        picture.save(content, "PNG", exif=picture.getexif())
    except OSError as error:
        raise DataError(
            f"a picture in mode {picture.mode!r} is not taken ({one_line(error)}), expected RGB, or"
            " its path"
        ) from None
    return decode(content.getvalue(), "a picture")[1]
