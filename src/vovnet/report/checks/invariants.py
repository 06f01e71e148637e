"""What must hold, whatever was learned: if it does not, the numbers cannot be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vovnet.config import Settings
from vovnet.config.experiments import stage1_owner
from vovnet.core.files import read_json
from vovnet.core.layout import ROUTER_FIT
from vovnet.pipeline.code_digest import closure_digest
from vovnet.pipeline.steps import step_digest
from vovnet.report.checks._check import (
    Finding,
    NotRunError,
    Rule,
    baseline_rows,
    beside_oracle,
    each,
    per_seed,
    percent,
    registry,
    trained,
)
from vovnet.report.inputs import Inputs, of
from vovnet.report.points import SAME, TOLERANCE
from vovnet.report.training_logs import load_train_log

ORDER = 10
RULES: list[Rule] = []
check = registry(RULES, "invariant")


@check("run", "every result is of the present configuration and code")
def results_are_current(inputs: Inputs) -> Iterator[Finding]:
    """Where a job that others only wait for runs again, a DAG may not look behind it."""
    for name, path, key in _keys_of_results(inputs):
        if path.exists():
            value = read_json(path)
            found = value.get("key", value)
            stale = [part for part, digest in key.items() if found.get(part) != digest]
            text = f"{path}: other {' and '.join(stale)}, run again" if stale else "current"
            yield Finding(name, not stale, text)


def _keys_of_results(inputs: Inputs) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """(what, its manifest, the hashes it must have been made with) of every step's results."""
    settings, layout = inputs.settings, inputs.layout
    sets = [*settings.data.eval_sets, *([ROUTER_FIT] if settings.data.router_fit else [])]
    for run, seeds in trained(inputs).items():
        for seed in seeds:
            for stage, owner in ((1, stage1_owner(settings, run)), (2, run)):
                path = layout.stage(owner, seed, stage) / "manifest.json"
                key = _key(settings, "train", run=owner, seed=seed, stage=stage)
                yield "stages", path, key
            for name in sets:
                path = layout.observations(run, seed, name) / "manifest.json"
                key = _key(settings, "observe", run=run, seed=seed, eval_set=name)
                yield "observations", path, key
    for name, item in settings.experiments.items():
        step = "live" if item.mode == "live" else "evaluate"
        path = layout.eval(name) / "summary.json"
        yield "experiments", path, _key(settings, step, experiment=name)


MADE_BY = {
    "train": "vovnet.training.stage",
    "observe": "vovnet.inference.observe",
    "evaluate": "vovnet.evaluation.experiment",
    "live": "vovnet.inference.live",
}
"""Step -> the module whose closure is the code of its results."""


def _key(settings: Settings, step: str, **selection: Any) -> dict[str, str]:
    config = step_digest(settings, step, **selection)
    return {"config": config, "code": closure_digest(MADE_BY[step])}


def _acts_always(inputs: Inputs, baseline: str, rate: str) -> Iterator[Finding]:
    for dataset, seed, row in each(baseline_rows(inputs, baseline)):
        rates = [row[f"action_rate_{name}"] for name in ("no", "coarse", "full")]
        text = "[" + ", ".join(f"{value:.3g}" for value in rates) + "]"
        always = abs(row[rate] - 1) <= TOLERANCE and abs(sum(rates) - 1) <= TOLERANCE
        yield Finding(dataset, bool(always), text, seed)


@check("A0", "training log shows stage 1, then stage 2")
def stages_in_order(inputs: Inputs) -> Iterator[Finding]:
    for run, seeds in trained(inputs).items():
        log = load_train_log(inputs.settings, inputs.layout, run, seeds)
        for seed in seeds:
            steps = [len(of(log, seed=seed, folder_stage=stage)) for stage in (1, 2)]
            wrong = (of(log, seed=seed)["stage"] != of(log, seed=seed)["folder_stage"]).sum()
            text = f"{steps[0]} lines of stage 1, {steps[1]} of stage 2, {wrong} misplaced"
            yield Finding(run, wrong == 0 and min(steps) > 0, text, seed)


@check("B1", "Always-Full acts [0, 0, 1]")
def always_full_is_full(inputs: Inputs) -> Iterator[Finding]:
    return _acts_always(inputs, "always_full", "action_rate_full")


@check("B1", "Always-Coarse acts [0, 1, 0]")
def always_coarse_is_coarse(inputs: Inputs) -> Iterator[Finding]:
    return _acts_always(inputs, "always_coarse", "action_rate_coarse")


@check("B1", "No-Vision acts [1, 0, 0]")
def no_vision_is_blind(inputs: Inputs) -> Iterator[Finding]:
    return _acts_always(inputs, "no_vision", "action_rate_no")


@check("B1", "No-Vision costs 0")
def no_vision_is_free(inputs: Inputs) -> Iterator[Finding]:
    for dataset, seed, row in each(baseline_rows(inputs, "no_vision")):
        cost = row["avg_cost"]
        yield Finding(dataset, cost == 0, f"{cost:g}", seed)


@check("B1", "Always-Full costs most, Always-Coarse no more")
def full_is_dearest(inputs: Inputs) -> Iterator[Finding]:
    dearest = baseline_rows(inputs, "always_full")[[*SAME, "avg_cost"]]
    three_views = inputs.points[inputs.points["action_rate_no"].notna()]
    joined = three_views.merge(dearest, on=SAME, suffixes=("", "_full"))
    for dataset, seed, rows in per_seed(joined):
        full = rows["avg_cost_full"].iloc[0]
        most = rows["avg_cost"].max()
        coarse = rows.loc[rows["baseline_name"] == "always_coarse", "avg_cost"]
        passed = most <= full + TOLERANCE and (coarse <= full).all()
        text = f"FULL {full:.2f}, dearest policy {most:.2f}"
        yield Finding(dataset, bool(passed), text, seed)


@check("H1", "oracle_accuracy is at least vovnet_accuracy")
def oracle_is_best(inputs: Inputs) -> Iterator[Finding]:
    for dataset, seed, rows in beside_oracle(inputs):
        best, oracle = rows["accuracy"].max(), rows["accuracy_oracle"].iloc[0]
        text = f"{percent(oracle)} against {percent(best)}"
        yield Finding(dataset, bool(oracle >= best - TOLERANCE), text, seed)


@check("H1", "no VoVNet point is as accurate as the oracle and cheaper")
def oracle_is_efficient(inputs: Inputs) -> Iterator[Finding]:
    for dataset, seed, rows in beside_oracle(inputs):
        as_good = rows["accuracy"] >= rows["accuracy_oracle"] - TOLERANCE
        cheaper = rows["avg_cost"] < rows["avg_cost_oracle"] - TOLERANCE
        dominating = int((as_good & cheaper).sum())
        yield Finding(dataset, dominating == 0, f"{dominating} of {len(rows)} points", seed)


@check("H1", "oracle_avg_cost is at most Always-Full's")
def oracle_costs_less_than_full(inputs: Inputs) -> Iterator[Finding]:
    full = baseline_rows(inputs, "always_full")[[*SAME, "avg_cost"]]
    joined = baseline_rows(inputs, "oracle").merge(full, on=SAME, suffixes=("", "_full"))
    for dataset, seed, row in each(joined):
        text = f"{row['avg_cost']:.2f} against {row['avg_cost_full']:.2f}"
        passed = bool(row["avg_cost"] <= row["avg_cost_full"] + TOLERANCE)
        yield Finding(dataset, passed, text, seed)


@check("C1", "the leakage gate is clean")
def leakage_is_clean(inputs: Inputs) -> Iterator[Finding]:
    if not inputs.layout.leakage_report.exists():
        raise NotRunError(f"{inputs.layout.leakage_report} does not exist")
    report = read_json(inputs.layout.leakage_report)
    for name, compared in report["sets"].items():
        counts = {kind: compared[kind]["count"] for kind in report["fail_on"]}
        text = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        yield Finding(name, not any(counts.values()), f"shared: {text}")
