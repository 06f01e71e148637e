"""(a) The whole suite from observations made once, against model runs for every results row."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pandas as pd

from vovnet.commands.bench.measure import Line, median, timed
from vovnet.commands.bench.row_by_row import row_outcome, row_router
from vovnet.commands.bench.subject import Bench, BenchLayout
from vovnet.config import PolicySettings
from vovnet.core.arrays import Floats
from vovnet.core.layout import ROUTER_FIT
from vovnet.core.records import read_table
from vovnet.core.stats import bootstrap_counts
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS, read_results
from vovnet.evaluation.experiment import evaluate_experiment, measured_columns
from vovnet.evaluation.match import write_matched
from vovnet.evaluation.matched import points_on
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.evaluation.replay import Outcome
from vovnet.inference.observe import observe_shard
from vovnet.inference.shards import gather
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies import kind_of
from vovnet.policies.experiments import needed_views, resolve_experiment, uses_router_fit

PASSES_REQUIRED, TIME_REQUIRED = 8.0, 6.0
RELATIVE_TOLERANCE = 1e-12
"""Of numbers that were written to results.csv and read again; observed: 0."""


@dataclass
class _Cost:
    """Model passes and seconds in all, and those for the fitting of routers among them."""

    passes: int = 0
    seconds: float = 0.0
    fits: int = 0
    fit_passes: int = 0
    fit_seconds: float = 0.0

    @property
    def fitted_once(self) -> _Cost:
        """The same if all rows shared one observation of the routers' set."""
        spared = 1 - 1 / max(self.fits, 1)
        return _Cost(
            round(self.passes - spared * self.fit_passes),
            self.seconds - spared * self.fit_seconds,
        )


@dataclass
class _Row:
    """One results row, computed from model runs of its own."""

    experiment: str
    dataset: str
    point: int
    outcome: Outcome
    columns: dict[str, Any] = field(default_factory=dict)


def compare_suite(
    bench: Bench, tick: Callable[[int, int], None] | None = None
) -> tuple[list[Line], dict[str, Any]]:
    """Observe and evaluate, run every row on its own, then observe and evaluate once more."""
    first, second = (replace(bench.layout, root=bench.layout.root / f"suite{n}") for n in (0, 1))
    observed = [observe_suite(bench, first)]
    cost, rows = _run_rows(bench, first, tick)
    observed.append(observe_suite(bench, second))
    passes = observed[0]["passes"]
    seconds = median([way["seconds"] for way in observed])
    different = [
        f"{row.experiment}, {row.dataset}, point {row.point}: {fault}"
        for row in rows
        if (fault := _difference(bench, first, row))
    ]
    shutil.rmtree(first.root)
    shutil.rmtree(second.root)
    shared = cost.fitted_once
    size = f"{len(rows)} rows, {bench.settings.bench.num_samples} questions a set"
    once = "routers fitted once for all rows"
    lines = [
        Line(
            "a",
            "model passes, a run per row / observations",
            cost.passes / passes,
            at_least=PASSES_REQUIRED,
            note=f"{cost.passes} / {passes}, {size}",
        ),
        Line(
            "a",
            "wall time, a run per row / observations",
            cost.seconds / seconds,
            at_least=TIME_REQUIRED,
            note=f"{cost.seconds:.1f} s / {seconds:.1f} s",
        ),
        Line("a", "rows whose numbers differ", len(different), at_most=0, note=size),
        Line("a", f"model passes, {once}", shared.passes / passes),
        Line("a", f"wall time, {once}", shared.seconds / seconds),
    ]
    facts = {"observations": observed, "rows": vars(cost), "num_rows": len(rows)}
    return lines, facts | {"fitted_once": vars(shared), "different": different}


def observe_suite(bench: Bench, layout: BenchLayout) -> dict[str, Any]:
    """The experiments as the DAG makes them: observe once, then evaluate."""
    settings, run, seed = bench.settings, bench.run, bench.seed
    names = list(settings.experiments)
    before = bench.inference.passes
    trained = TrainedModel(settings, layout, run, seed)

    def observe() -> None:
        fitted = [ROUTER_FIT] if any(uses_router_fit(settings, name) for name in names) else []
        for eval_set in [*settings.data.eval_sets, *fitted]:
            further = needed_views(settings, run, seed, eval_set)
            for views in [[], further] if further else [[]]:
                observe_shard(trained, eval_set, 0, 1, views, inference=bench.inference)
                gather(trained, eval_set, views)

    def evaluate() -> None:
        # Those that copy another's action ratios come after it.
        for name in sorted(names, key=lambda name: settings.experiments[name].match is not None):
            if settings.experiments[name].match:
                write_matched(settings, layout, name)
            evaluate_experiment(settings, layout, name)

    observe_s, evaluate_s = timed(observe)[0], timed(evaluate)[0]
    return {
        "passes": bench.inference.passes - before,
        "seconds": observe_s + evaluate_s,
        "observe_s": observe_s,
        "evaluate_s": evaluate_s,
    }


def _run_rows(
    bench: Bench, observed: BenchLayout, tick: Callable[[int, int], None] | None
) -> tuple[_Cost, list[_Row]]:
    """Every results row from model runs of its own.

    A row shares with the others the trained model and the samples; where it copies action
    ratios, it reads those of the rows that it copies.
    """
    settings = bench.settings
    sets = {name: load_questions(settings, bench.layout, name) for name in settings.data.eval_sets}
    counts = {name: _resamples(bench, questions) for name, questions in sets.items()}
    jobs = [
        (name, point, policies)
        for name in settings.experiments
        for point, policies in enumerate(_policies(bench, observed, name))
    ]
    cost, rows = _Cost(), []
    before = bench.inference.passes
    for done, (name, point, policies) in enumerate(jobs, start=1):
        seconds, found = timed(partial(_run_row, bench, cost, policies, sets, counts))
        cost.seconds += seconds
        rows += [_Row(name, dataset, point, *result) for dataset, result in found.items()]
        if tick is not None:
            tick(done, len(jobs))
    cost.passes = bench.inference.passes - before
    return cost, rows


def _run_row(
    bench: Bench,
    cost: _Cost,
    policies: dict[str, PolicySettings],
    sets: dict[str, Questions],
    counts: dict[str, Floats],
) -> dict[str, tuple[Outcome, dict[str, Any]]]:
    """One point of an experiment on each of its sets; a router is fitted for it first."""
    router, key = None, kind_of(next(iter(policies.values()))).router
    if key is not None:
        before = bench.inference.passes
        seconds, router = timed(partial(row_router, bench, key))
        cost.fits += 1
        cost.fit_seconds += seconds
        cost.fit_passes += bench.inference.passes - before
    found = {}
    for dataset, policy in policies.items():
        outcome = row_outcome(bench, policy, sets[dataset], router)
        (columns,) = measured_columns([outcome], counts[dataset])
        found[dataset] = (outcome, columns)
    return found


def _policies(bench: Bench, observed: BenchLayout, name: str) -> list[dict[str, PolicySettings]]:
    """Per sweep point the policy on each set; matched ones copy the ratios of that set."""
    experiment = resolve_experiment(bench.settings, name)
    by_set = {
        dataset: points_on(experiment, observed, dataset, bench.seed) for dataset in experiment.sets
    }
    return [
        {dataset: points[point] for dataset, points in by_set.items()}
        for point in range(len(experiment.points))
    ]


def _resamples(bench: Bench, questions: Questions) -> Floats:
    evaluation = bench.settings.eval
    return bootstrap_counts(questions.num_units, evaluation.bootstrap_samples, evaluation.seed)


def _difference(bench: Bench, observed: BenchLayout, row: _Row) -> str:
    """The first thing in which a row differs from the observations; "" where there is none."""
    folder = observed.eval(row.experiment)
    table = read_table(folder / "samples.parquet", SAMPLE_RESULT_COLUMNS)
    theirs = table[(table["dataset"] == row.dataset) & (table["point"] == row.point)]
    mine = row.outcome.rows.assign(dataset=row.dataset, seed=bench.seed, point=row.point)
    for column in SAMPLE_RESULT_COLUMNS:
        if mine[column].tolist() != theirs[column].tolist():
            return f"{column} of a question"
    results = read_results(folder / "results.csv")
    written = results[results["dataset"] == row.dataset].iloc[row.point]
    for column in set(written.index) & set(row.columns):
        if not _same(row.columns[column], written[column]):
            return f"{column}, {row.columns[column]} and {written[column]}"
    return ""


def _same(mine: Any, written: Any) -> bool:
    if isinstance(mine, str):
        return bool(mine == written)
    if pd.isna(mine) or pd.isna(written):
        return bool(pd.isna(mine) and pd.isna(written))
    return abs(mine - written) <= RELATIVE_TOLERANCE * max(abs(mine), abs(written))
