"""What a stanza under `experiments` holds."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vovnet.config.kinds import Extended, Once, Samples, Section, Seeds

NEAR = 1e-9
"""The difference up to which a `lambda_cost` or a threshold is the same."""


def _is_none(value: object) -> bool:
    return value is None


class Match(Section):
    """Match a random policy to the action ratios of another experiment's rows.

    The rows are known by their `lambda_costs` or by their `thresholds`. With `buckets`, the ratios
    are taken in that many buckets of the text pass's entropy.
    """

    experiment: str = Field(description="Whose action ratios are copied.")
    lambda_costs: list[Extended] | None = Field(None, min_length=1)
    """Its rows by their `policy.lambda_cost`."""
    thresholds: list[Extended] | None = Field(None, min_length=1, exclude_if=_is_none)
    """Its rows by their threshold, as `policy.baseline_threshold`, instead of `lambda_costs`."""
    buckets: int | None = Field(None, gt=1, le=1000)
    """Buckets of the text pass's entropy, of which each has ratios of its own; one if left out."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.lambda_costs is None) == (self.thresholds is None):
            raise ValueError("match needs either lambda_costs or thresholds")
        return self

    @property
    def column(self) -> str:
        """The column of results.csv by which the rows are known."""
        return "lambda_cost" if self.thresholds is None else "threshold"

    @property
    def key(self) -> str:
        """The key of a matched policy that holds the value of its row."""
        return "lambda_cost" if self.thresholds is None else "baseline_threshold"

    @property
    def values(self) -> list[float]:
        """The values by which the rows are known, one per point."""
        return self.lambda_costs or self.thresholds or []


class Experiment(Section):
    """One named evaluation of a policy on datasets.

    `sweep` maps one key of the policy to a list of values: one results row per value.
    """

    title: str = Field(description="How tables and figures call it.")
    run: str = Field("vovnet", description="The trained model: a key of `runs`.")
    datasets: Annotated[list[str], Field(min_length=1), Once] | None = None
    """Evaluation sets; all of them if left out."""
    seeds: Seeds | None = Field(None, description="Trained seeds; `seeds` if left out.")
    policy: dict[str, Any] = Field({}, description="What differs from `policy`.")
    sweep: dict[str, list[Any]] = Field({})
    """A key of the policy and its values, of which each gives a row of the results."""
    match: Match | None = None
    """Copy the action ratios of another experiment's rows, with random_policy_matched."""
    mode: Literal["replay", "live"] = "replay"
    """Decide from stored observations, or run the model question by question to time it."""
    max_samples: Samples | None = Field(None, description="At most so many of each set.")
    compare_cache_reuse: bool = False
    """Answer with and without cache reuse, live; tokens must be the same."""
    error_slices: bool = False
    """Also write where the policy errs, and what its scores tell."""
    role: Literal["vovnet", "fixed", "heuristic", "random", "reference"] = "heuristic"
    """How reports sort and draw it; `reference` is what cannot be deployed, as an oracle."""
    targets: list[str] = Field([], description="Lists under `targets` that the experiment joins.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.sweep) > 1:
            raise ValueError(f"sweep takes one key, got {sorted(self.sweep)}")
        if any(not values for values in self.sweep.values()):
            raise ValueError("sweep needs at least one value")
        if self.compare_cache_reuse and self.mode != "live":
            raise ValueError("compare_cache_reuse needs mode: live")
        return self
