"""What matched random policies draw from: the stored action ratios of another experiment."""

from collections.abc import Sequence
from math import isclose
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, TypeAdapter, ValidationError, model_validator

from vovnet.config import NEAR, PolicySettings, read_yaml
from vovnet.config.experiments import ResolvedExperiment
from vovnet.config.kinds import are_shares
from vovnet.core.errors import DataError
from vovnet.core.layout import Layout
from vovnet.data.price import priced
from vovnet.data.sets import load_set

Shares = list[float]
"""One share per action."""


class Buckets(BaseModel):
    """Thresholds of entropy (nats, ascending) and the shares between them, surest first."""

    thresholds: list[float]
    ratios: list[Shares]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.thresholds) != len(self.ratios) - 1:
            raise ValueError("one threshold lies between two buckets")
        return self


MatchedRatios = dict[str, dict[int, dict[float, Shares | Buckets]]]
"""The shares of the actions by dataset, seed, and `lambda_cost` or threshold."""


def matched_path(layout: Layout, name: str) -> Path:
    return layout.eval(name) / "matched.yaml"


def read_matched(layout: Layout, name: str) -> MatchedRatios:
    """The ratios that `write_matched` stored."""
    path = matched_path(layout, name)
    if not path.exists():
        raise DataError(f"{path}: file not found, `vovnet match --experiment {name}` writes it")
    try:
        return TypeAdapter(MatchedRatios).validate_python(read_yaml(path)["ratios"])
    except (KeyError, ValidationError):
        raise DataError(
            f"{path}: expected ratios as dataset, seed, lambda_cost, a share per action (or"
            " thresholds and the ratios of each bucket)"
        ) from None


def points_on(
    experiment: ResolvedExperiment, layout: Layout, dataset: str, seed: int
) -> list[PolicySettings]:
    """The policies of an experiment on a set and seed: priced for it, or matched with their ratios.

    Each trained seed of a matched policy has draws of its own, so that seeds are independent
    repetitions. It follows no price: its `lambda_cost` only names the row that it copies.
    """
    match, settings = experiment.stanza.match, experiment.settings
    if match is None:
        if all(point.lambda_unit == "cost" for point in experiment.points):
            return experiment.points
        samples = load_set(settings, layout, dataset)
        return [priced(point, samples, settings.vision_budget) for point in experiment.points]
    path = matched_path(layout, experiment.name)
    ratios = read_matched(layout, experiment.name).get(dataset, {}).get(seed, {})
    actions, where = settings.actions, f"{path}: {dataset}, seed {seed}"
    return [
        point.model_copy(
            update=_update(ratios, where, match.column, getattr(point, match.key), actions)
            | {"baseline_seed": point.baseline_seed + seed, "lambda_unit": "cost"}
        )
        for point in experiment.points
    ]


def _update(
    ratios: dict[float, Shares | Buckets],
    where: str,
    column: str,
    value: float,
    actions: Sequence[str],
) -> dict[str, Any]:
    """The policy's keys for one point; a point that the file lacks is an error."""
    near = [x for key, x in ratios.items() if isclose(key, value, rel_tol=0, abs_tol=NEAR)]
    if not near:
        raise DataError(f"{where}: no ratios for {column} {value:g}")
    found, where = near[0], f"{where}, {column} {value:g}"
    if not isinstance(found, Buckets):
        return {"baseline_target_ratios": check_shares(found, where, actions)}
    rows = [check_shares(row, where, actions) for row in found.ratios]
    return {"baseline_bucket_ratios": rows, "baseline_bucket_thresholds": found.thresholds}


def check_shares(shares: Shares, where: str, actions: Sequence[str]) -> Shares:
    if len(shares) != len(actions) or not are_shares(shares):
        raise DataError(
            f"{where}: expected shares of {list(actions)} that sum to 1, got {list(shares)}"
        )
    return shares
