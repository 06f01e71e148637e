"""What a run may hold: overrides of sections, or the logs of a run elsewhere."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vovnet.config.imports import ImportedSet
from vovnet.config.kinds import first_error

RUN_EVAL = [
    *("batch_size", "batch_tokens", "cache_reuse"),
    *("max_new_tokens", "num_beams", "do_sample", "temperature"),
]
"""What a run may override of `eval`: how it answers. All else is one for the whole suite."""

SUITE_DATA = [
    *("leakage", "router_fit", "router_fit_held_out", "eval_sets"),
    *("datasets", "synthetic", "mmbench_train_fraction", "mmbench_train_seed"),
]
"""What no run may override of `data`: data are prepared and compared once for the whole suite."""

IMPORTED = TypeAdapter(dict[str, ImportedSet])
"""What `runs.<run>.imported` holds."""


def check_overrides(key: str, overrides: Mapping[str, Any]) -> None:
    """A run overrides sections; one that trains nothing has no say in how training is done."""
    if "imported" in overrides:
        _check_imported(key, overrides)
        return
    known = {"base", "last_stage", "model", "data", "policy", "training", "eval"}
    unknown = set(overrides) - known
    if unknown:
        raise ValueError(f"{key}: unknown key {sorted(unknown)[0]!r}")
    for section, value in overrides.items():
        if section not in ("base", "last_stage") and not isinstance(value, dict):
            raise ValueError(f"{key}.{section}: expected a mapping of overrides, got {value!r}")
    if common := set(overrides.get("eval", ())) - set(RUN_EVAL):
        raise ValueError(
            f"{key}.eval.{sorted(map(str, common))[0]}: a run may override"
            f" {', '.join(RUN_EVAL)}; all else of eval is the suite's"
        )
    if common := set(overrides.get("data", ())) & set(SUITE_DATA):
        raise ValueError(
            f"{key}.data.{sorted(common)[0]}: no run may override {', '.join(SUITE_DATA)}, since"
            " data are prepared, and compared by the leakage gate, once for the whole suite"
        )
    if "objective" in overrides.get("policy", ()):
        raise ValueError(
            f"{key}.policy.objective: it changes no training, so that no run may override it; an"
            " experiment may"
        )
    base = overrides.get("base", False)
    if not isinstance(base, bool):
        raise ValueError(f"{key}.base: expected true or false, got {base!r}")
    stage = overrides.get("last_stage", 2)
    if type(stage) is not int or stage not in (1, 2):
        raise ValueError(f"{key}.last_stage: expected 1 or 2, got {stage!r}")
    trained = [name for name in ("last_stage", "policy", "training") if name in overrides]
    trained += ["model.lora"] if overrides.get("model", {}).get("lora") else []
    if base and trained:
        raise ValueError(
            f"{key}.{trained[0]}: nothing is trained with base: true, expected overrides of model,"
            " data and eval alone"
        )


def _check_imported(key: str, overrides: Mapping[str, Any]) -> None:
    """What was run elsewhere has no settings here."""
    for name in overrides:
        if name != "imported":
            raise ValueError(f"{key}.{name}: expected no other key beside imported")
    try:
        IMPORTED.validate_python(overrides["imported"])
    except ValidationError as error:
        separator = "." if error.errors()[0]["loc"] else ": "
        raise ValueError(f"{key}.imported{separator}{first_error(error)}") from None
