"""Checks over benchmarks, ablations, fallbacks and live runs: blocks C1, D2, D3, E1 and F2."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from vovnet.config import PolicySettings, Settings, run_settings
from vovnet.report.checks import TOLERANCE, Finding, NotRunError, Rule, per_seed, percent, registry
from vovnet.report.inputs import Inputs, of
from vovnet.report.profiles import profiles
from vovnet.steps import ablation_experiments, fallback_experiments

SUITE_CHECKS: list[Rule] = []
check = registry(SUITE_CHECKS, "expectation")


@check("C1", "MMMU shows a higher FULL action ratio than MMBench")
def mmmu_needs_full(inputs: Inputs) -> Iterator[Finding]:
    full = _shares(inputs, "action_rate_full")
    for hard, easy in _pairs(inputs, "mmmu", "mmbench"):
        text = f"{percent(full[hard])} against {percent(full[easy])}"
        yield Finding(f"{hard} and {easy}", bool(full[hard] > full[easy]), text)


@check("C1", "TextVQA has a low NO action ratio, lower than MMMU and MMBench")
def textvqa_needs_looking(inputs: Inputs) -> Iterator[Finding]:
    no = _shares(inputs, "action_rate_no")
    for other in ("mmmu", "mmbench"):
        for read, seen in _pairs(inputs, "textvqa", other):
            text = f"{percent(no[read])} against {percent(no[seen])}"
            yield Finding(f"{read} and {seen}", bool(no[read] < no[seen]), text)


@check("D2", "soft mixture runs, and gives results for every question")
def soft_mixture_runs(inputs: Inputs) -> Iterator[Finding]:
    names = [
        name
        for name in _trained_otherwise(inputs)
        if not _policy(inputs.settings, name).use_straight_through
    ]
    if not names:
        raise NotRunError("no ablation has policy.use_straight_through: false")
    for name in names:
        for dataset, seed, rows in per_seed(of(inputs.points, experiment=name)):
            text = f"{rows['num_samples'].iloc[0]} questions at {len(rows)} values of lambda"
            yield Finding(f"{dataset} {name}", bool(rows["accuracy"].notna().all()), text, seed)


@check("D3", "trained without cost, FULL is chosen more often")
def no_cost_looks_more(inputs: Inputs) -> Iterator[Finding]:
    """Shares at the target lambda, means over seeds."""
    names = [n for n in _trained_otherwise(inputs) if _policy(inputs.settings, n).lambda_cost == 0]
    if not names:
        raise NotRunError("no ablation has policy.lambda_cost: 0")
    default = _shares(inputs, "action_rate_full")
    for name in names:
        rows = _at_target(inputs, of(inputs.points, experiment=name))
        for dataset, share in (
            rows.groupby("dataset", sort=False)["action_rate_full"].mean().items()
        ):
            text = f"{percent(share)} against {percent(default[dataset])}"
            passed = bool(share >= default[dataset] - TOLERANCE)
            yield Finding(f"{dataset} {name}", passed, text)


@check("E1", "action_ratio shifts from NO to the fallback's view where it is enabled")
def fallback_looks_more(inputs: Inputs) -> Iterator[Finding]:
    names = fallback_experiments(inputs.settings)
    if not names:
        raise NotRunError("no experiment has a policy.fallback_mode")
    for name in names:
        rate = f"action_rate_{inputs.settings.experiments[name].policy['fallback_mode']}"
        for dataset in inputs.datasets():
            plain = of(inputs.points, dataset=dataset, experiment=inputs.main(dataset))
            by = ["dataset", "run", "seed", "lambda_cost", "num_samples"]
            joined = of(inputs.points, experiment=name).merge(plain, on=by, suffixes=("", "_plain"))
            for _, seed, rows in per_seed(joined):
                yield Finding(f"{dataset} {name}", *_shift(rows, rate), seed)


@check("F2", "with and without cache reuse the generated tokens are the same")
def cache_reuse_changes_nothing(inputs: Inputs) -> Iterator[Finding]:
    rows = profiles(inputs)
    rows = rows[rows["num_different"].notna()]
    if rows.empty:
        raise NotRunError("no experiment has compare_cache_reuse: true")
    for _, row in rows.iterrows():
        text = f"{row['num_different']:g} of {row['num_samples']:g} answers differ"
        text += f", time ratio {row['latency_ratio']:.2f}"
        yield Finding(f"{row['dataset']} {row['experiment']}", row["num_different"] == 0, text)


def _shift(rows: pd.DataFrame, rate: str) -> tuple[bool, str]:
    """Whether NO falls and `rate` rises by as much at every lambda, and by how much at most."""
    from_no = (rows["action_rate_no_plain"] - rows["action_rate_no"]).to_numpy()
    to_view = (rows[rate] - rows[f"{rate}_plain"]).to_numpy()
    shifted = bool((from_no >= -TOLERANCE).all() and np.allclose(from_no, to_view, atol=TOLERANCE))
    return shifted, f"{percent(from_no.min())} to {percent(from_no.max())} of the questions"


def _trained_otherwise(inputs: Inputs) -> list[str]:
    """The ablations."""
    return ablation_experiments(inputs.settings)[1:]


def _policy(settings: Settings, name: str) -> PolicySettings:
    return run_settings(settings, settings.experiments[name].run).policy


def _at_target(inputs: Inputs, rows: pd.DataFrame) -> pd.DataFrame:
    return rows[np.isclose(rows["lambda_cost"], inputs.settings.report.target_lambda)]


def _shares(inputs: Inputs, rate: str) -> pd.Series:
    """VoVNet's share of an action at the target lambda, by dataset."""
    names = {dataset: inputs.main(dataset) for dataset in inputs.datasets()}
    rows = inputs.points[inputs.points["experiment"] == inputs.points["dataset"].map(names)]
    if rows.empty:
        raise NotRunError("no experiment has the role 'vovnet'")
    return _at_target(inputs, rows).groupby("dataset", sort=False)[rate].mean()


def _pairs(inputs: Inputs, first: str, second: str) -> list[tuple[str, str]]:
    """Sets of two formats that VoVNet was evaluated on."""
    data = inputs.settings.data
    sets: dict[str, list[str]] = {first: [], second: []}
    for name in inputs.datasets():
        form = data.datasets[data.eval_sets[name].dataset].format
        if inputs.main(name) is not None and form in sets:
            sets[form].append(name)
    pairs = [(a, b) for a in sets[first] for b in sets[second]]
    if not pairs:
        raise NotRunError(f"it needs sets of the formats {first} and {second}")
    return pairs
