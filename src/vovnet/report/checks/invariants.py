"""What must hold, whatever was learned: if it does not, the numbers cannot be trusted."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from vovnet.config import is_imported, last_stage, policy_points
from vovnet.config.experiments import stage1_owners, train_parts
from vovnet.core.files import read_object
from vovnet.core.layout import ROUTER_FIT
from vovnet.core.recorded import content_hash, damage, recorded
from vovnet.evaluation.columns import rate_columns
from vovnet.pipeline.keys import step_key
from vovnet.policies import kind_of
from vovnet.policies.experiments import experiment_views
from vovnet.report.checks import Finding, NotRunError, Rules, baseline_rows, beside_oracle
from vovnet.report.inputs import SAME, TOLERANCE, Inputs, each, of, per_seed
from vovnet.report.render import label, percent
from vovnet.report.training_logs import load_train_log

ORDER = 10
RULES = Rules()


@RULES.invariant("run", "every result was made from the present configuration and code")
def results_are_current(inputs: Inputs) -> Iterator[Finding]:
    """A DAG may not look behind a job that runs again, so that old results stay in its shadow."""
    for name, path, key in _keys_of_results(inputs):
        if path.exists():
            value = read_object(path)
            found = value.get("key", value)
            stale = [part for part, digest in key.items() if found.get(part) != digest]
            text = f"{path}: other {' and '.join(stale)}, run again" if stale else "current"
            yield Finding(name, not stale, text)


def _keys_of_results(inputs: Inputs) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """(what, its manifest, the hashes it must have been made with) of what is told by a key.

    Those of further views, slices and reports are left to Snakemake.
    """
    settings, layout = inputs.settings, inputs.layout
    sets = [*settings.data.eval_sets, *([ROUTER_FIT] if settings.data.router_fit else [])]
    owners = stage1_owners(settings)
    for run, seeds in inputs.runs().items():
        for seed in seeds:
            last = last_stage(settings, run)
            stages = [(1, owners[run]), (2, run)] if last else []
            for stage, owner in stages[:last]:
                path = layout.stage(owner, seed, stage) / "manifest.json"
                key = step_key(settings, "train", run=owner, seed=seed, stage=stage)
                yield "stages", path, key
            for name in sets:
                path = layout.observation_manifest(run, seed, name, "actions")
                step = "import" if is_imported(settings, run) else "observe"
                key = step_key(settings, step, run=run, seed=seed, eval_set=name)
                yield "observations", path, key
    for name, item in settings.experiments.items():
        path = layout.eval(name) / "summary.json"
        yield "experiments", path, step_key(settings, "evaluate", experiment=name)
        if item.mode == "live":
            views = experiment_views(settings, name)
            key = step_key(settings, "live", views, experiment=name)
            yield "live runs", layout.live_facts(name), key


RULE_OF = {"hull": "hull_metrics", "tables": "tables", "figures": "figures"}
"""The rule that makes files anew whose manifest is no output of the workflow."""


@RULES.invariant("run", "every file is what its manifest says")
def files_are_whole(inputs: Inputs) -> Iterator[Finding]:
    """Bytes that a disk or a power cut changed after they were written."""
    layout, data = inputs.layout, inputs.settings.data
    parts = (*data.eval_sets.values(), *train_parts(inputs.settings), *data.router_fit)
    splits = dict.fromkeys((part.dataset, part.split) for part in parts)
    manifests = {"data": [layout.data_manifest(*split) for split in splits]}
    for name, path, _ in _keys_of_results(inputs):
        manifests.setdefault(name, []).append(path)
    manifests["observations"] += [
        path.with_name("views.manifest.json") for path in manifests["observations"]
    ]
    manifests["hull"] = [layout.hull / "manifest.json"]
    manifests["tables"] = [layout.paper / "tables.manifest.json"]
    manifests["figures"] = [layout.paper / "figures" / "manifest.json"]
    for name, paths in manifests.items():
        rule = RULE_OF.get(name)
        files = [(path, *told) for path in paths for told in recorded(path)]
        damaged = [
            damage(path.with_name(file), path, rule)
            for path, file, digest in files
            if not _is(path.with_name(file), digest)
            # A further view may have become an action, of which the other manifest tells.
            and not (path.name.startswith("views.") and Path(file).stem in inputs.actions)
        ]
        yield Finding(name, not damaged, damaged[0] if damaged else f"{len(files)} files")


def _is(file: Path, digest: str) -> bool:
    return file.exists() and content_hash(file) == digest


@RULES.invariant("A0", "training log shows stage 1, then stage 2")
def stages_in_order(inputs: Inputs) -> Iterator[Finding]:
    for run, seeds in inputs.trained_runs().items():
        log = load_train_log(inputs, run, seeds)
        for seed in seeds:
            steps = [len(of(log, seed=seed, folder_stage=stage)) for stage in (1, 2)]
            wrong = (of(log, seed=seed)["stage"] != of(log, seed=seed)["folder_stage"]).sum()
            text = f"{steps[0]} lines of stage 1, {steps[1]} of stage 2, {wrong} misplaced"
            yield Finding(run, wrong == 0 and min(steps) > 0, text, seed)


def _takes_always(inputs: Inputs, baseline: str, action: str) -> Iterator[Finding]:
    if action not in inputs.actions:
        raise NotRunError(f"{label(action)} is not among the actions")
    rates = rate_columns(inputs.actions)
    for dataset, seed, row in each(baseline_rows(inputs, baseline)):
        text = "[" + ", ".join(f"{row[rate]:.3g}" for rate in rates) + "]"
        wanted = [float(name == action) for name in inputs.actions]
        yield Finding(dataset, np.allclose(row[list(rates)].astype(float), wanted), text, seed)


for _baseline, _title, _action in (
    ("always_full", "Always-Full", "full"),
    ("always_coarse", "Always-Coarse", "coarse"),
    ("no_vision", "No-Vision", "no"),
):
    RULES.invariant("B1", f"{_title} takes {label(_action)} for every question")(
        partial(_takes_always, baseline=_baseline, action=_action)
    )


@RULES.invariant("B1", "No-Vision costs 0")
def no_vision_is_free(inputs: Inputs) -> Iterator[Finding]:
    for dataset, seed, row in each(baseline_rows(inputs, "no_vision")):
        cost = row["avg_cost"]
        yield Finding(dataset, cost == 0, f"{cost:g}", seed)


@RULES.invariant("B1", "no policy that looks once costs more than Always-Full")
def full_is_dearest(inputs: Inputs) -> Iterator[Finding]:
    if inputs.actions[-1] != "full":
        raise NotRunError("FULL is not the last one of the actions, so that others may cost more")
    full = baseline_rows(inputs, "always_full")[[*SAME, "avg_cost"]]
    once = [name for name in inputs.settings.experiments if _looks_once(inputs, name)]
    rates = inputs.points[inputs.blind_rate].notna()
    choosing = inputs.points[rates & inputs.points["experiment"].isin(once)]
    for dataset, seed, rows in per_seed(choosing.merge(full, on=SAME, suffixes=("", "_full"))):
        cost, most = rows["avg_cost_full"].iloc[0], rows["avg_cost"].max()
        text = f"FULL {cost:.2f}, dearest policy {most:.2f}"
        yield Finding(dataset, most <= cost + TOLERANCE, text, seed)


def _looks_once(inputs: Inputs, name: str) -> bool:
    """A fallback looks where the text pass is unsure, and a NO has cost nothing until then."""
    points = policy_points(inputs.settings, name)
    return all(kind_of(point).again is None or point.fallback_mode for point in points)


@RULES.invariant("H1", "the oracle is at least as accurate as VoVNet")
def oracle_is_best(inputs: Inputs) -> Iterator[Finding]:
    for dataset, seed, rows in beside_oracle(inputs):
        best, oracle = rows["accuracy"].max(), rows["accuracy_oracle"].iloc[0]
        text = f"{percent(oracle)} against {percent(best)}"
        yield Finding(dataset, oracle >= best - TOLERANCE, text, seed)


@RULES.invariant("H1", "no VoVNet point is as accurate as the oracle and cheaper")
def oracle_is_efficient(inputs: Inputs) -> Iterator[Finding]:
    for dataset, seed, rows in beside_oracle(inputs):
        as_good = rows["accuracy"] >= rows["accuracy_oracle"] - TOLERANCE
        cheaper = rows["avg_cost"] < rows["avg_cost_oracle"] - TOLERANCE
        dominating = int((as_good & cheaper).sum())
        yield Finding(dataset, dominating == 0, f"{dominating} of {len(rows)} points", seed)


@RULES.invariant("H1", "the oracle costs at most as much as Always-Full")
def oracle_costs_less_than_full(inputs: Inputs) -> Iterator[Finding]:
    full = baseline_rows(inputs, "always_full")[[*SAME, "avg_cost"]]
    joined = baseline_rows(inputs, "oracle").merge(full, on=SAME, suffixes=("", "_full"))
    for dataset, seed, row in each(joined):
        text = f"{row['avg_cost']:.2f} against {row['avg_cost_full']:.2f}"
        passed = bool(row["avg_cost"] <= row["avg_cost_full"] + TOLERANCE)
        yield Finding(dataset, passed, text, seed)


@RULES.invariant("C1", "the leakage gate finds nothing")
def leakage_is_clean(inputs: Inputs) -> Iterator[Finding]:
    if not inputs.layout.leakage_report.exists():
        raise NotRunError(f"{inputs.layout.leakage_report} does not exist")
    report = read_object(inputs.layout.leakage_report)
    if not (report["train"] or report["router_fit"]):
        raise NotRunError("nothing is trained or fitted, so that there is nothing to share")
    for name, compared in report["sets"].items():
        counts = {kind: compared[kind]["count"] for kind in report["fail_on"]}
        text = f"shared: {_listed(counts)}"
        for mix, by_set in report.get("left_out", {}).items():
            if name in by_set:
                text += f"; left out of {mix} for it: {_listed(by_set[name])}"
        yield Finding(name, not any(counts.values()), text)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.items())
