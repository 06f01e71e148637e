"""Checks of how the shares of actions shift: over benchmarks, recipes and with a fallback."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from vovnet.config import PolicySettings, policy_points, run_settings
from vovnet.report.checks._check import (
    Finding,
    NotRunError,
    Rules,
    percent,
    trained,
)
from vovnet.report.inputs import TOLERANCE, Inputs, of
from vovnet.report.training_logs import load_train_log

MAX_BLIND = 0.25
"""A share of NO that is low."""

BY = ["dataset", "seed"]

ORDER = 50
RULES = Rules()


@RULES.expectation("C1", "FULL is more frequent on MMMU than on MMBench")
def mmmu_looks_closer(inputs: Inputs) -> Iterator[Finding]:
    shares = _at_target(inputs, "action_rate_full")
    for first in _of_format(inputs, shares, "mmmu"):
        for second in _of_format(inputs, shares, "mmbench"):
            for seed in shares[first].index.intersection(shares[second].index):
                left, right = shares[first][seed], shares[second][seed]
                text = f"FULL {percent(left)} against {percent(right)}"
                yield Finding(f"{first} against {second}", left > right, text, int(seed))


@RULES.expectation("C1", f"NO is rare on TextVQA, {MAX_BLIND:.0%} or less")
def textvqa_is_looked_at(inputs: Inputs) -> Iterator[Finding]:
    shares = _at_target(inputs, "action_rate_no")
    for name in _of_format(inputs, shares, "textvqa"):
        for seed, share in shares[name].items():
            yield Finding(name, share <= MAX_BLIND, f"NO {percent(share)}", int(str(seed)))


@RULES.invariant("D2", "a soft mixture trains: every loss is a number")
def soft_mixture_trains(inputs: Inputs) -> Iterator[Finding]:
    """A mixture of losses mixes no image tokens, so views of any length go together."""
    for run, seeds in trained(inputs).items():
        if run_settings(inputs.settings, run).policy.use_straight_through:
            continue
        log = load_train_log(inputs.settings, inputs.layout, run, seeds)
        for seed in seeds:
            losses = of(log, seed=seed, folder_stage=2)["loss"]
            text = f"{len(losses)} steps of stage 2, last loss {losses.iloc[-1]:.3f}"
            yield Finding(run, np.isfinite(losses).all(), text, seed)


@RULES.expectation("D3", "a model trained without cost takes FULL at least as often")
def no_cost_looks_more(inputs: Inputs) -> Iterator[Finding]:
    """Both at the target lambda; means over the seeds that they share."""
    recipes = {run: run_settings(inputs.settings, run).policy for run in trained(inputs)}
    free = [run for run, policy in recipes.items() if policy.lambda_cost == 0]
    names = {inputs.main(dataset) for dataset in inputs.datasets()}
    swept = _at_lambda(inputs, inputs.settings.report.target_lambda)
    default = swept[swept["experiment"].isin(names) & ~swept["run"].isin(free)]
    joined = swept[swept["run"].isin(free)].merge(default, on=BY, suffixes=("", "_default"))
    for (dataset, run), rows in joined.groupby(["dataset", "run"], sort=False):
        left, right = rows["action_rate_full"].mean(), rows["action_rate_full_default"].mean()
        text = f"FULL {percent(left)} against {percent(right)}"
        yield Finding(f"{dataset} {run}", left >= right - TOLERANCE, text)


@RULES.invariant("E1", "a fallback turns as many NOs into its view as it is triggered")
def fallback_shifts(inputs: Inputs) -> Iterator[Finding]:
    """By the rate of triggering, beside the same policy without its fallback."""
    for name, item in inputs.settings.experiments.items():
        for point, policy in enumerate(policy_points(inputs.settings, name)):
            if policy.fallback_mode not in inputs.actions or item.mode == "live" or item.match:
                continue
            twin = next(inputs.twins("replay", item.run, _without_fallback(policy)), None)
            if twin is None:
                continue
            rows = of(inputs.points, experiment=name, point=point)
            plain = of(inputs.points, experiment=twin[0], point=twin[1])
            joined = rows.merge(plain, on=[*BY, "num_samples"], suffixes=("", "_plain"))
            for _, row in joined.iterrows():
                yield _shift(row, policy, name)


def _shift(row: pd.Series, policy: PolicySettings, name: str) -> Finding:
    chosen, rate = f"action_rate_{policy.fallback_mode}", row["fallback_trigger_rate"]
    away = row["action_rate_no_plain"] - row["action_rate_no"]
    gained = row[chosen] - row[f"{chosen}_plain"]
    exact = max(abs(away - rate), abs(gained - rate)) <= TOLERANCE
    text = (
        f"NO {percent(row['action_rate_no_plain'])} to {percent(row['action_rate_no'])},"
        f" triggered {percent(rate)}"
    )
    where = f"{row['dataset']} {name}, lambda {policy.lambda_cost:g}"
    return Finding(where, exact, text, int(row["seed"]))


def _without_fallback(policy: PolicySettings) -> PolicySettings:
    keys = ("fallback_mode", "fallback_entropy_threshold", "fallback_margin_threshold")
    return policy.model_copy(update=dict.fromkeys(keys))


def _at_lambda(inputs: Inputs, value: float) -> pd.DataFrame:
    """The learned policy's replayed rows at one lambda, without those of a fallback."""
    plain = [
        name
        for name in inputs.experiments("")
        if not inputs.settings.experiments[name].policy.get("fallback_mode")
        and not inputs.settings.experiments[name].policy.get("baseline_reduction")
    ]
    rows = inputs.points[inputs.points["experiment"].isin(plain)]
    return rows[np.isclose(rows["lambda_cost"].astype(float), value)]


def _at_target(inputs: Inputs, rate: str) -> dict[str, pd.Series]:
    """Per dataset a share of VoVNet's actions at the target lambda, by seed."""
    rows = _at_lambda(inputs, inputs.settings.report.target_lambda)
    return {
        name: of(rows, dataset=name, experiment=inputs.main(name)).set_index("seed")[rate]
        for name in inputs.datasets()
    }


def _of_format(inputs: Inputs, shares: dict[str, pd.Series], layout: str) -> list[str]:
    """The sets of a benchmark, told by the layout of its files."""
    data = inputs.settings.data
    found = [
        name for name in shares if data.datasets[data.eval_sets[name].dataset].format == layout
    ]
    if not found:
        raise NotRunError(f"no evaluation set has the format {layout!r}")
    return found
