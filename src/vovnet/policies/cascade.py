"""A cascade: look cheaply first, and again where the answer is unsure."""

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from vovnet.config import Extended, PolicySettings, Section, ViewName
from vovnet.core.arrays import Floats, Ints
from vovnet.core.errors import DataError
from vovnet.policies.base import (
    STOP,
    Confidence,
    PolicyInputs,
    PolicyKind,
    Scalar,
    Told,
    read_options,
)


class CascadeOptions(Section):
    """`views` are executed in their order, the cheapest first, until one is sure enough.

    A view is unsure where its entropy (nats) is above the threshold, or its margin or
    log-probability (nats) below. There is one threshold for all views, or one for each but the
    last.
    """

    views: list[ViewName] = Field(["coarse", "full"])
    """What is executed, one after the other."""
    confidence: Literal["entropy", "margin", "log_probability"] = "entropy"
    """By which it is told how sure an answer is."""
    threshold: Extended | list[Extended]
    """Where an answer counts as unsure; one for all views, or one for each but the last."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.views) < 2 or len(set(self.views)) < len(self.views):
            raise ValueError(f"views must be at least two different ones, got {self.views}")
        if isinstance(self.threshold, list) and len(self.threshold) != len(self.views) - 1:
            raise ValueError(
                f"threshold must be a number or {len(self.views) - 1} of them, one for each view"
                f" but the last, got {self.threshold}"
            )
        return self


def _options(policy: PolicySettings) -> CascadeOptions:
    return read_options(policy, CascadeOptions)


def first(inputs: PolicyInputs) -> Ints:
    return inputs.always(_options(inputs.policy).views[0])


def again(inputs: PolicyInputs, at_N: Ints, confidence: Confidence) -> Ints:
    """The next view of the list where the confidence under the present one is too low."""
    options = _options(inputs.policy)
    sure_N = getattr(confidence, options.confidence)
    if np.isnan(sure_N).any():
        sample = inputs.signals["id"].iloc[int(np.isnan(sure_N).argmax())]
        raise DataError(
            f"sample {sample!r}: the {options.confidence} of a view is missing, cascade needs it"
        )
    one, count = options.threshold, len(options.views) - 1
    limits = one if isinstance(one, list) else [inputs.scalar(one)] * count
    next_N = np.full(len(at_N), STOP)
    for view, following, limit in zip(options.views, options.views[1:], limits, strict=False):
        unsure_N = sure_N > limit if options.confidence == "entropy" else sure_N < limit
        next_N[(at_N == inputs.index(view)) & unsure_N] = inputs.index(following)
    return next_N


def _switches(inputs: PolicyInputs, told: Told) -> Floats:
    """What each view but the last is as sure of; NO's first token is known from the text pass."""
    options = _options(inputs.policy)
    from_text = options.confidence != "log_probability"
    confidences = [
        inputs.text_confidence if view == "no" and from_text else told(inputs.index(view))
        for view in options.views[:-1]
    ]
    return np.stack([getattr(item, options.confidence) for item in confidences], axis=1)


def _scalar(policy: PolicySettings) -> Scalar | None:
    """One threshold for all views moves the cascade; of one for each, no single number does."""
    return Scalar("options.threshold", _switches) if _threshold(policy) is not None else None


def _threshold(policy: PolicySettings) -> float | None:
    """What results.csv tells; several thresholds have no column."""
    threshold = _options(policy).threshold
    return None if isinstance(threshold, list) else threshold


POLICIES = {
    "cascade": PolicyKind(
        "Executes one view after the other, the cheapest first, until its confidence is high"
        " enough; every executed view is paid for.",
        first,
        again,
        options=CascadeOptions,
        columns={"threshold": _threshold},
        views=lambda policy: _options(policy).views,
        reads_text_pass=lambda policy: "no" in _options(policy).views,
        reads_answers=lambda policy: _options(policy).confidence == "log_probability",
        scalar=_scalar,
    )
}
