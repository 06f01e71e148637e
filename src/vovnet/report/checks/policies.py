"""Checks of reduced views (blocks B4 to B7), and of how the shares of the actions shift."""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd

from vovnet.config import NEAR, policy_points, run_settings
from vovnet.report.checks import Finding, NotRunError, Rules, baseline_rows
from vovnet.report.inputs import SAME, TOLERANCE, Inputs, each, of, per_seed
from vovnet.report.render import percent
from vovnet.report.training_logs import load_train_log

ORDER = 30
RULES = Rules()
SWEPT = {
    "B4": ("vision_token_pruning_proxy", "pruning_ratio"),
    "B5": ("token_merge_prune_proxy", "merge_ratio"),
    "B6": ("resolution_scaling_proxy", "long_side"),
    "B7": ("multi_granularity_proxy", "pool_factor"),
}
"""Block -> its baseline, and the column of results.csv that its sweep fills."""

MAX_RATIO_ERROR = 0.05
"""Of the share of tokens that is left: each image keeps a whole number of them."""

MAX_RISE = 0.02
"""Accuracy that fewer tokens may gain by chance."""

MAX_BLIND = 0.25
"""A share of NO that is low."""

BY = ["dataset", "seed"]
FALLBACK = ("fallback_mode", "fallback_entropy_threshold", "fallback_margin_threshold")


def costs_full(inputs: Inputs, block: str, value: float | None) -> Iterator[Finding]:
    for where, seed, row in _unreduced(inputs, block, value):
        cost, full = row["avg_vision_tokens"], row["avg_vision_tokens_full"]
        yield Finding(where, abs(cost - full) <= TOLERANCE, f"{cost:g} tokens, FULL {full:g}", seed)


def full_side_costs_full(inputs: Inputs) -> Iterator[Finding]:
    """A view of a long side has no limit of its area, which FULL may have besides."""
    budget = inputs.settings.vision_budget
    if budget.full_max_pixels is not None:
        raise NotRunError("vision_budget.full_max_pixels limits FULL besides its long side")
    yield from costs_full(inputs, "B6", budget.full_long_side)


def is_full(inputs: Inputs, block: str, value: float | None) -> Iterator[Finding]:
    for where, seed, row in _unreduced(inputs, block, value):
        own, full = row["accuracy"], row["accuracy_full"]
        text = f"{percent(own)}, FULL {percent(full)}"
        yield Finding(where, abs(own - full) <= TOLERANCE, text, seed)


def tokens_follow(inputs: Inputs, block: str) -> Iterator[Finding]:
    _, column = SWEPT[block]
    for where, seed, rows in _beside_full(inputs, block):
        asked, left = rows[column], rows["avg_vision_tokens"] / rows["avg_vision_tokens_full"]
        text = ", ".join(f"{a:g} leaves {b:.3f}" for a, b in zip(asked, left, strict=True))
        yield Finding(where, ((left - asked).abs() <= MAX_RATIO_ERROR).all(), text, seed)


def accuracy_falls(inputs: Inputs, block: str) -> Iterator[Finding]:
    """From many tokens to few, accuracy never rises by more than chance allows."""
    for where, seed, rows in _beside_full(inputs, block):
        if len(rows) < 2:
            continue
        rows = rows.sort_values("avg_vision_tokens", ascending=False)
        text = " to ".join(percent(value) for value in rows["accuracy"])
        yield Finding(where, (rows["accuracy"].diff().dropna() <= MAX_RISE).all(), text, seed)


def _unreduced(
    inputs: Inputs, block: str, value: float | None
) -> Iterator[tuple[str, int, pd.Series]]:
    """Rows at the value of the sweep at which nothing is reduced, where it is in the sweep."""
    _, column = SWEPT[block]
    for where, seed, rows in _beside_full(inputs, block):
        for _, row in rows[rows[column] == value].iterrows():
            yield where, seed, row


def _beside_full(inputs: Inputs, block: str) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """The points of each sweep beside always FULL on the same model and samples.

    What is merged and then pruned follows neither ratio alone, and is left out.
    """
    baseline, column = SWEPT[block]
    rows = baseline_rows(inputs, baseline)
    if column != "pruning_ratio":
        rows = rows[rows["pruning_ratio"].isna()]
    full = baseline_rows(inputs, "always_full")[[*SAME, "accuracy", "avg_vision_tokens"]]
    beside = rows[rows[column].notna()].merge(full, on=SAME, suffixes=("", "_full"))
    for name, found in beside.groupby("experiment", sort=False):
        for dataset, seed, points in per_seed(found):
            yield f"{dataset} {name}", seed, points


for _block, _verb in (("B4", "pruning"), ("B5", "merging"), ("B7", "pooling")):
    _point = f"at {'factor' if _block == 'B7' else 'ratio'} 1 {_verb}"
    RULES.invariant(_block, f"{_point} costs what FULL costs")(
        partial(costs_full, block=_block, value=1)
    )
    RULES.expectation(_block, f"{_point} answers as well as FULL")(
        partial(is_full, block=_block, value=1)
    )
RULES.invariant("B6", "at FULL's long side an image costs what FULL costs")(full_side_costs_full)
for _block in ("B4", "B5"):
    RULES.expectation(_block, f"the share of tokens that is left is about {SWEPT[_block][1]}")(
        partial(tokens_follow, block=_block)
    )
for _block, _when in (
    ("B4", "pruning_ratio decreases"),
    ("B5", "merge_ratio decreases"),
    ("B6", "the image shrinks"),
    ("B7", "the pooled squares grow"),
):
    RULES.expectation(_block, f"accuracy drops smoothly as {_when}")(
        partial(accuracy_falls, block=_block)
    )


# ---- shares of actions: over benchmarks, recipes and with a fallback -----------------------


@RULES.expectation("C1", "FULL is more frequent on MMMU than on MMBench")
def mmmu_looks_closer(inputs: Inputs) -> Iterator[Finding]:
    shares = _main_shares(inputs, "action_rate_full")
    for first in _of_format(inputs, shares, "mmmu"):
        for second in _of_format(inputs, shares, "mmbench"):
            for seed in shares[first].index.intersection(shares[second].index):
                left, right = shares[first][seed], shares[second][seed]
                text = f"FULL {percent(left)} against {percent(right)}"
                yield Finding(f"{first} against {second}", left > right, text, int(seed))


@RULES.expectation("C1", f"NO is rare on TextVQA, {MAX_BLIND:.0%} or less")
def textvqa_is_looked_at(inputs: Inputs) -> Iterator[Finding]:
    shares = _main_shares(inputs, "action_rate_no")
    for name in _of_format(inputs, shares, "textvqa"):
        for seed, share in shares[name].items():
            yield Finding(name, share <= MAX_BLIND, f"NO {percent(share)}", int(str(seed)))


@RULES.invariant("D2", "a soft mixture trains: every loss is a number")
def soft_mixture_trains(inputs: Inputs) -> Iterator[Finding]:
    """A mixture of losses mixes no image tokens, so views of any length go together."""
    for run, seeds in inputs.trained_runs().items():
        if run_settings(inputs.settings, run).policy.use_straight_through:
            continue
        log = load_train_log(inputs, run, seeds)
        for seed in seeds:
            losses = of(log, seed=seed, folder_stage=2)["loss"]
            text = f"{len(losses)} steps of stage 2, last loss {losses.iloc[-1]:.3f}"
            yield Finding(run, np.isfinite(losses).all(), text, seed)


@RULES.expectation("D3", "a model trained at a lower lambda takes FULL at least as often")
def cheaper_looks_more(inputs: Inputs) -> Iterator[Finding]:
    """Each at the lambda that it was trained at; means over the seeds that they share.

    At one lambda for all there is nothing to expect: the rule subtracts that of the evaluation.
    """
    trained_at = _runs_by_lambda(inputs)
    rows, lambdas = _plain(inputs), sorted(trained_at)
    if "objective" in rows:  # whose lambda is in correctness, and not in nats
        rows = rows[rows["objective"].isna()]
    near = {at: np.isclose(rows["lambda_cost"], at, rtol=0, atol=NEAR) for at in lambdas}
    own = {at: of(rows[near[at]], run=trained_at[at]) for at in lambdas}
    for lower, higher in pairwise(at for at in lambdas if not own[at].empty):
        first = own[lower].drop_duplicates(BY)
        joined = first.merge(own[higher].drop_duplicates(BY), on=BY, suffixes=("", "_higher"))
        for dataset, item in joined.groupby("dataset", sort=False):
            left, right = item["action_rate_full"].mean(), item["action_rate_full_higher"].mean()
            text = f"FULL {percent(left)} at {lower:g} against {percent(right)} at {higher:g}"
            where = f"{dataset} {trained_at[lower]} and {trained_at[higher]}"
            yield Finding(where, left >= right - TOLERANCE, text)


def _runs_by_lambda(inputs: Inputs) -> dict[float, str]:
    """The default, and the runs that differ from it in `policy.lambda_cost` alone, by its value."""
    default = run_settings(inputs.settings, inputs.main_run()[0])
    found = {default.policy.lambda_cost: inputs.main_run()[0]}
    for run in inputs.trained_runs():
        own = run_settings(inputs.settings, run)
        same = {"lambda_cost": own.policy.lambda_cost}
        if own == default.model_copy(update={"policy": default.policy.model_copy(update=same)}):
            found.setdefault(own.policy.lambda_cost, run)
    return found


@RULES.invariant("E1", "a fallback turns as many NOs into its view as it is triggered")
def fallback_shifts(inputs: Inputs) -> Iterator[Finding]:
    """By the rate of triggering, beside the same policy without its fallback."""
    blind = inputs.blind_rate
    for name, item in inputs.settings.experiments.items():
        for point, policy in enumerate(policy_points(inputs.settings, name)):
            if policy.fallback_mode not in inputs.actions or item.mode == "live" or item.match:
                continue
            without = policy.model_copy(update=dict.fromkeys(FALLBACK))
            twin = next(inputs.twins("replay", item.run, without), None)
            if twin is None:
                continue
            rows = of(inputs.points, experiment=name, point=point)
            plain = of(inputs.points, experiment=twin[0], point=twin[1])
            joined = rows.merge(plain, on=[*BY, "num_samples"], suffixes=("", "_plain"))
            for dataset, seed, row in each(joined):
                chosen, rate = f"action_rate_{policy.fallback_mode}", row["fallback_trigger_rate"]
                before, after = row[f"{blind}_plain"], row[blind]
                gained = row[chosen] - row[f"{chosen}_plain"]
                exact = max(abs(before - after - rate), abs(gained - rate)) <= TOLERANCE
                text = f"NO {percent(before)} to {percent(after)}, triggered {percent(rate)}"
                where = f"{dataset} {name}, lambda {policy.lambda_cost:g}"
                yield Finding(where, exact, text, seed)


def _plain(inputs: Inputs) -> pd.DataFrame:
    """The replayed rows of the learned policy as it is."""
    return inputs.plain(inputs.points[inputs.points["experiment"].isin(inputs.experiments(""))])


def _at_target(inputs: Inputs) -> pd.DataFrame:
    """Those of them at the target lambda."""
    return inputs.at_target(_plain(inputs))


def _main_shares(inputs: Inputs, rate: str) -> dict[str, pd.Series]:
    """Per dataset a share of VoVNet's actions at the target lambda, by seed."""
    rows = _at_target(inputs)
    if rate not in rows:
        raise NotRunError("there is no such action")
    return {
        name: of(rows, dataset=name, experiment=inputs.main(name)).set_index("seed")[rate]
        for name in inputs.datasets()
    }


def _of_format(inputs: Inputs, shares: dict[str, pd.Series], layout: str) -> list[str]:
    """The sets of a benchmark, told by the layout of its files."""
    data = inputs.settings.data
    formats = {name: data.datasets[data.eval_sets[name].dataset].format for name in shares}
    found = [name for name, own in formats.items() if own == layout]
    if not found:
        raise NotRunError(f"no evaluation set has the format {layout!r}")
    return found
