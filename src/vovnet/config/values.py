"""Kinds of values in the configuration: what is allowed, whatever key holds them."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from vovnet.core.errors import ConfigError
from vovnet.views import parse_view


class Section(BaseModel):
    """A part of the configuration; the text below a key describes it in the JSON schema."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def _no_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("Input should be a number")
    return value


Extended = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_no_nan)]
"""A number or infinity, which prices every look out, or is never exceeded."""

Decay = Annotated[float, Field(ge=0, lt=1)]
"""What is left of a running mean after a step."""


Shares = Annotated[list[float], Field(min_length=2)]
"""One share per action, in their order."""


def check_shares(key: str, ratios: Shares | None) -> None:
    if ratios is not None and (min(ratios) < 0 or abs(sum(ratios) - 1) > 1e-4):
        raise ValueError(f"{key} must be shares that sum to 1, one per action, got {ratios}")


def _canonical_view(value: Any) -> str:
    """The canonical name of a view; YAML reads a bare `no` as false, and `64` as a number."""
    text = "no" if value is False else str(value)
    try:
        return parse_view(text).name
    except ConfigError as error:
        raise ValueError(str(error)) from None


ViewName = Annotated[str, BeforeValidator(_canonical_view)]
"""A view by its canonical name, whatever its spelling in the configuration."""


def _canonical_reduction(value: Any) -> str:
    """The canonical name of one or more reductions, without the view that they are part of."""
    return _canonical_view(f"full+{value}").removeprefix("full+")


ReductionName = Annotated[str, BeforeValidator(_canonical_reduction)]
"""Reductions by their canonical name, joined by `+`."""


def _check_actions(actions: list[str]) -> list[str]:
    """Refuse a list of actions that policies could not choose from."""
    if len(set(actions)) < len(actions):
        raise ValueError(f"expected each action once, got {actions}")
    if actions[:1] != ["no"] or "full" not in actions:
        raise ValueError(f"expected 'no' first, and 'full' among the others, got {actions}")
    return actions


ActionNames = Annotated[list[ViewName], AfterValidator(_check_actions)]


def _as_slurm_plugin(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.]+", value):
        raise ValueError(
            "must be letters, digits, '_' or '.', as Snakemake's Slurm plugin takes no other;"
            " choose such GPUs by their partition instead"
        )
    return value


GpuModel = Annotated[str, AfterValidator(_as_slurm_plugin)]
