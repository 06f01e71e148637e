"""The suite as the DAG makes it: (a) against model runs for every row, (e) over growing sets.

For (e) the questions of an evaluation set are repeated under new ids until there are enough.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from vovnet.commands.bench.row_by_row import row_outcome, row_router
from vovnet.commands.bench.subject import Bench, BenchLayout, Line, growth_exponent, timed
from vovnet.config import PolicySettings, Settings, validate
from vovnet.config.experiments import with_matched
from vovnet.core.layout import ROUTER_FIT
from vovnet.core.records import Sample, read_table
from vovnet.core.resampling import Resamples
from vovnet.data.samples import read_samples, write_samples
from vovnet.evaluation.clusters import draw_resamples
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
from vovnet.policies.experiments import (
    experiment_views,
    needed_views,
    resolve_experiment,
    uses_router_fit,
)

PASSES_REQUIRED, TIME_REQUIRED = 8.0, 6.0
RELATIVE_TOLERANCE = 1e-12
"""Of numbers that were written to results.csv and read again; observed: 0."""

LINEAR = 1.05
"""The exponent up to which growth counts as linear, since clocks are not exact."""

GROWTH_REPEATS = 3


@dataclass
class _Cost:
    """Model passes and seconds in all, and those for the fitting of routers among them."""

    passes: int = 0
    seconds: float = 0.0
    fits: int = 0
    fit_passes: int = 0
    fit_seconds: float = 0.0

    @property
    def fitted_once(self) -> "_Cost":
        """The same if all rows shared one observation of the routers' set."""
        spared = 1 - 1 / max(self.fits, 1)
        return _Cost(
            round(self.passes - spared * self.fit_passes), self.seconds - spared * self.fit_seconds
        )


@dataclass
class _Row:
    """One results row, computed from model runs of its own; `number` is that of the sweep point."""

    experiment: str
    dataset: str
    number: int
    outcome: Outcome
    columns: dict[str, Any]


def compare_suite(
    bench: Bench, tick: Callable[[int, int], None] | None = None
) -> tuple[list[Line], dict[str, Any]]:
    """Observe and evaluate, run every row on its own, then observe and evaluate once more."""
    first, second = (replace(bench.layout, root=bench.layout.root / f"suite{n}") for n in (0, 1))
    observed = [observe_suite(bench, first)]
    cost, rows = _run_rows(bench, first, tick)
    observed.append(observe_suite(bench, second))
    passes, seconds = observed[0]["passes"], median(way["seconds"] for way in observed)
    different = [
        f"{row.experiment}, {row.dataset}, point {row.number}: {fault}"
        for row in rows
        if (fault := _difference(bench, first, row))
    ]
    shutil.rmtree(first.root)
    shutil.rmtree(second.root)
    shared, ways = cost.fitted_once, "a run per row / observations"
    size = f"{len(rows)} rows, {bench.settings.bench.num_samples} questions a set"
    once = "routers fitted once for all rows"
    counts, times = f"{cost.passes} / {passes}, {size}", f"{cost.seconds:.1f} s / {seconds:.1f} s"
    lines = [
        Line("a", f"model passes, {ways}", cost.passes / passes, PASSES_REQUIRED, note=counts),
        Line("a", f"wall time, {ways}", cost.seconds / seconds, TIME_REQUIRED, note=times),
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
        # Those that copy another's action ratios come after it, which may itself copy some.
        for name in sorted(names, key=lambda name: len(with_matched(settings, name))):
            if settings.experiments[name].match:
                write_matched(settings, layout, name)
            evaluate_experiment(settings, layout, name)

    observe_s, evaluate_s = timed(observe)[0], timed(evaluate)[0]
    passes = bench.inference.passes - before
    seconds = {"seconds": observe_s + evaluate_s, "observe_s": observe_s, "evaluate_s": evaluate_s}
    return {"passes": passes, **seconds}


def _run_rows(
    bench: Bench, observed: BenchLayout, tick: Callable[[int, int], None] | None
) -> tuple[_Cost, list[_Row]]:
    """Every results row from model runs of its own.

    A row shares with the others the trained model and the samples; where it copies action
    ratios, it reads those of the rows that it copies.
    """
    settings = bench.settings

    @cache
    def asked(name: str, limit: int | None) -> tuple[Questions, Resamples]:
        questions = load_questions(settings, bench.layout, name, limit)
        return questions, draw_resamples(questions, settings.eval)

    jobs = [
        (name, number, policies)
        for name in settings.experiments
        for number, policies in enumerate(_policies(bench, observed, name))
    ]
    cost, rows = _Cost(), []
    before = bench.inference.passes
    for done, (name, number, policies) in enumerate(jobs, start=1):
        limit = settings.experiments[name].max_samples
        sets = {dataset: asked(dataset, limit) for dataset in policies}
        seconds, found = timed(partial(_run_row, bench, cost, policies, sets))
        cost.seconds += seconds
        rows += [_Row(name, dataset, number, *result) for dataset, result in found.items()]
        if tick is not None:
            tick(done, len(jobs))
    cost.passes = bench.inference.passes - before
    return cost, rows


def _run_row(
    bench: Bench,
    cost: _Cost,
    policies: dict[str, PolicySettings],
    sets: dict[str, tuple[Questions, Resamples]],
) -> dict[str, tuple[Outcome, dict[str, Any]]]:
    """One point of an experiment on each of its sets; a router is fitted for it first."""
    router, policy = None, next(iter(policies.values()))
    if kind_of(policy).router is not None:
        before = bench.inference.passes
        seconds, router = timed(partial(row_router, bench, policy))
        cost.fits += 1
        cost.fit_seconds += seconds
        cost.fit_passes += bench.inference.passes - before
    found = {}
    for dataset, policy in policies.items():
        questions, resamples = sets[dataset]
        outcome = row_outcome(bench, policy, questions, router)
        (columns,) = measured_columns([outcome], resamples)
        found[dataset] = (outcome, columns)
    return found


def _policies(bench: Bench, observed: BenchLayout, name: str) -> list[dict[str, PolicySettings]]:
    """Per sweep point the policy on each set; matched ones copy the ratios of that set."""
    experiment = resolve_experiment(bench.settings, name)
    by_set = [points_on(experiment, observed, name, bench.seed) for name in experiment.sets]
    points = zip(*by_set, strict=True)
    return [dict(zip(experiment.sets, policies, strict=True)) for policies in points]


def _difference(bench: Bench, observed: BenchLayout, row: _Row) -> str:
    """The first thing in which a row differs from the observations; "" where there is none."""
    folder = observed.eval(row.experiment)
    table = read_table(folder / "samples.parquet", SAMPLE_RESULT_COLUMNS)
    theirs = table[(table["dataset"] == row.dataset) & (table["point"] == row.number)]
    mine = row.outcome.rows.assign(dataset=row.dataset, seed=bench.seed, point=row.number)
    for column in SAMPLE_RESULT_COLUMNS:
        if mine[column].tolist() != theirs[column].tolist():
            return f"{column} of a question"
    results = read_results(folder / "results.csv")
    written = results[results["dataset"] == row.dataset].iloc[row.number]
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


@dataclass(frozen=True)
class _GrownLayout(BenchLayout):
    """A layout with a single split, made of repeated questions."""

    def samples(self, dataset: str, split: str) -> Path:
        return self.root / "samples.jsonl"


def compare_growth(
    bench: Bench, tick: Callable[[int, int], None] | None = None
) -> tuple[list[Line], dict[str, Any]]:
    """Fit seconds = c * samples^k over the sizes, and report the exponents k."""
    sizes = bench.settings.bench.growth
    layout = _GrownLayout(bench.layout.root / "growth", bench.layout.source)
    chosen = bench.settings.data.eval_sets[bench.first_set]
    source = bench.layout.samples(chosen.dataset, chosen.split)
    write_samples(layout.samples("", ""), _repeated(read_samples(source), max(sizes)))
    runs = sizes * min(GROWTH_REPEATS, bench.settings.bench.repeats)
    found: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for done, size in enumerate(runs, start=1):
        found[size].append(observe_suite(replace(bench, settings=_grown(bench, size)), layout))
        if tick is not None:
            tick(done, len(runs))
        shutil.rmtree(layout.root / "observations")
        shutil.rmtree(layout.root / "eval")
    shutil.rmtree(layout.root)
    seconds = {
        way: [median(item[key] for item in found[size]) for size in sizes]
        for way, key in (("observation", "observe_s"), ("evaluation", "evaluate_s"))
    }
    exponents = {way: growth_exponent(sizes, medians) for way, medians in seconds.items()}
    lines = []
    for way, medians in seconds.items():
        pairs = zip(sizes, medians, strict=True)
        note = ", ".join(f"{size}: {item:.2f} s" for size, item in pairs)
        what = f"growth of {way} with samples, exponent"
        lines.append(Line("e", what, exponents[way], at_most=LINEAR, note=note))
    fit = "slope of log(median seconds) over log(samples), least squares"
    return lines, {"sizes": sizes, "seconds": seconds, "exponents": exponents, "fit": fit}


def _grown(bench: Bench, size: int) -> Settings:
    """Settings with one set of `size` questions and the experiments that read only actions."""
    settings = bench.settings
    chosen = settings.data.eval_sets[bench.first_set]
    names = [
        name
        for name, item in settings.experiments.items()
        if item.match is None
        and not uses_router_fit(settings, name)
        and not experiment_views(settings, name)
    ]
    value = settings.model_dump()
    whole = {"datasets": None, "max_samples": None}
    stanzas = {name: value["experiments"][name] | whole for name in names}
    grown = chosen.model_dump() | {"max_samples": size, "passes": "all"}
    data = value["data"] | {"eval_sets": {"grown": grown}}
    return validate(value | {"data": data, "experiments": stanzas}, "bench growth")


def _repeated(samples: Iterable[Sample], count: int) -> Iterable[Sample]:
    """`count` questions: the same ones over and over, under ids of their own."""
    for number, sample in enumerate(islice(cycle(samples), count)):
        yield sample.model_copy(update={"id": f"{number}", "group": "", "pass_index": 0})
