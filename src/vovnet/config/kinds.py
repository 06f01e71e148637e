"""Kinds of values that settings have, beside those of pydantic, and what is refused of each."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from vovnet.core.checks import expanded_path, repeated
from vovnet.core.errors import ConfigError
from vovnet.views import parse_view
from vovnet.views.logged import is_logged


class Section(BaseModel):
    """A part of the configuration; the text below a key describes it in the JSON schema."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_truths(cls, value: Any, validated: ModelWrapValidatorHandler[Self]) -> Self:
        """YAML reads `yes`, `no`, `on` and `off` as true or false, which count as 1 and 0."""
        found = validated(value)
        for key, given in value.items() if isinstance(value, Mapping) else ():
            if (fault := _truth(given, getattr(found, str(key), None))) is not None:
                details = PydanticCustomError("number_type", "Input should be a number")
                line = InitErrorDetails(type=details, loc=(key,), input=fault)
                raise ValidationError.from_exception_data(cls.__name__, [line])
        return found


def _truth(given: Any, found: Any) -> bool | None:
    """A true or false that was taken for a number; None where there is none."""
    if isinstance(given, bool):
        return given if type(found) in (int, float) else None
    if isinstance(given, list | tuple) and isinstance(found, list | tuple):
        return next(filter(lambda item: item is not None, map(_truth, given, found)), None)
    return None


def _no_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("Input should be a number")
    return value


Extended = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_no_nan)]
"""A number or infinity, which prices every look out, or is never exceeded."""


def _check_once(values: list[Any]) -> list[Any]:
    if (twice := repeated(values)) is not None:
        raise ValueError(f"expected each value once, got {twice!r} twice")
    return values


Once = AfterValidator(_check_once)
"""A list in which each value stands once: of two that are the same, all that follows is twice."""

Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1), Once]


PathText = Annotated[str, AfterValidator(expanded_path)]
"""A path of the user's. One that is not absolute starts at the working folder."""


def _place_of_results(path: str) -> str:
    """A folder in which Snakemake can work: it takes braces for wildcards, and `-` for a flag."""
    if "://" in path or any(mark in path for mark in "{}") or path.startswith("-"):
        raise ValueError("expected a folder of this machine without '{' or '}', nor '-' in front")
    return path


ResultsFolder = Annotated[PathText, Field(min_length=1), AfterValidator(_place_of_results)]


def unit(name: str) -> Any:
    """In what a setting is counted or measured, for the reference of all settings."""
    return Field(json_schema_extra={"unit": name})


Pixels = Annotated[int, Field(gt=0), unit("pixels")]
Tokens = Annotated[int, Field(gt=0), unit("tokens")]
Samples = Annotated[int, Field(gt=0), unit("samples")]
Questions = Annotated[int, Field(gt=0), unit("questions")]
Processes = Annotated[int, Field(ge=0), unit("processes")]
Nats = Annotated[float, unit("nats")]
Epochs = Annotated[float, Field(gt=0), unit("epochs")]
Seconds = Annotated[float, Field(ge=0), unit("s")]

Decay = Annotated[float, Field(ge=0, lt=1)]
"""What is left of a running mean after a step."""


Shares = Annotated[list[float], Field(min_length=2)]
"""One share per action, in their order."""


def are_shares(ratios: Sequence[float]) -> bool:
    """Whether none is negative and their sum is 1."""
    return min(ratios) >= 0 and abs(sum(ratios) - 1) <= 1e-4


def check_shares(key: str, ratios: Shares | None) -> None:
    if ratios is not None and not are_shares(ratios):
        raise ValueError(f"{key} must be shares that sum to 1, one per action, got {ratios}")


def _bare_no(value: Any) -> Any:
    """YAML reads a bare `no` as false."""
    return "no" if value is False else value


Precision = Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(_bare_no)]


def _canonical_view(value: Any) -> str:
    """The canonical name of a view; YAML reads a bare `no` as false, and `64` as a number."""
    text = str(_bare_no(value))
    if is_logged(text):
        return text
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
    cheapest = actions[:1] == ["no"] or any(map(is_logged, actions[:1]))
    if not cheapest or "full" not in actions:
        raise ValueError(f"expected 'no' first, and 'full' among the others, got {actions}")
    for action in actions:
        if not is_logged(action) and parse_view(action).dropping is not None:
            raise ValueError(
                f"expected views that training can show, got {action!r}, which drops tokens inside"
                " the language model"
            )
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


REPLACED = {"gradient_accumulation_steps": "training.micro_batch_tokens"}
"""Keys that were there once -> what to say instead."""


def first_error(error: ValidationError) -> str:
    """`key: what is wrong` of the first error."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
        if (instead := REPLACED.get(str(first["loc"][-1]))) is not None:
            message += f", {instead} has taken its place"
    elif ", got " not in message and not isinstance(first.get("input", {}), dict | Section):
        message += f", got {first['input']!r}"
    return f"{key + ': ' if key else ''}{message}"
