"""Every replayed policy against the mixing hull: hull_metrics.csv and curves.csv.

The mixing hull is what random mixing of the three fixed policies reaches. It is taken from the
observations of the same trained model and questions as the policy, and both are resampled
together. Accuracies are shares in [0, 1], gains are percentage points.

Shapes: N rows, U questions, A actions, P points of a policy, B resamples, of which the first
is the data itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vovnet.config import PolicySettings, Settings, policy_points, run_settings
from vovnet.cost import expected_cost
from vovnet.errors import ConfigError, DataError
from vovnet.files import atomic_path
from vovnet.layout import Layout
from vovnet.policies import kind_of
from vovnet.provenance import write_manifest
from vovnet.records import SAMPLE_RESULT_COLUMNS, read_table
from vovnet.replay import Questions, ScoreCache, load_observed, load_questions, replay
from vovnet.stats import (
    Bools,
    Curves,
    Floats,
    Ints,
    aiq,
    apgr,
    bootstrap_counts,
    captured_share,
    mcc,
    needs_look,
    percentile_interval,
    resampled_means,
    sweep_curve,
    unit_minima,
    unit_sums,
    upper_hull,
)
from vovnet.steps import experiment_seeds, experiment_sets

MIXING_HULL = "mixing_hull"
"""The name under which curves.csv holds the hull beside VoVNet's curve."""

GAIN_SHARES = {"gain_at_25": 0.25, "gain_at_50": 0.5, "gain_at_75": 0.75}
"""Shares of FULL's cost at which gains over the hull are reported."""

MCC_SHARE = 0.5
"""Policies decide more or less often to look; they are compared near this share of FULL's cost."""

KEYS = ("dataset", "experiment", "role", "title", "run", "seed")
METRIC_COLUMNS = (
    *KEYS,
    *(name + end for name in GAIN_SHARES for end in ("", "_lo", "_hi")),
    "hull_to_oracle_captured",
    "hull_to_bayes_captured",
    "apgr",
    "aiq",
    "mcc",
    "mcc_point",
)
CURVE_COLUMNS = (*KEYS, "point", "avg_cost", "accuracy", "accuracy_lo", "accuracy_hi")

Row = dict[str, Any]


@dataclass(frozen=True)
class Points:
    """Average cost and accuracy of P policies on the data and its resamples, (B, P) each."""

    costs: Floats
    accuracies: Floats

    @property
    def measured(self) -> Points:
        """The data itself, without resamples."""
        return Points(self.costs[:1], self.accuracies[:1])


@dataclass(frozen=True)
class Ground:
    """One trained model on the questions of one set: what policies there are compared with.

    `fixed` are NO, COARSE and FULL; `bayes` is the Bayes router's sweep where there is one.
    """

    questions: Questions
    counts_BU: Floats
    needed_N: Bools
    fixed: Points
    oracle: Points
    bayes: Points | None = None

    @cached_property
    def full_cost(self) -> Floats:
        return self.fixed.costs[:, -1]

    @cached_property
    def hull(self) -> Curves:
        return upper_hull(self.fixed.costs, self.fixed.accuracies)

    def with_no(self, points: Points) -> Points:
        """The points and, before them, not looking at all."""
        return Points(
            np.concatenate([self.fixed.costs[:, :1], points.costs], axis=1),
            np.concatenate([self.fixed.accuracies[:, :1], points.accuracies], axis=1),
        )

    def curve(self, points: Points) -> Curves:
        """What a policy reaches at any cost, by random mixing of neighbouring points.

        Beyond its dearest point it mixes with always FULL, if that is better.
        """
        ends = self.with_no(points)
        dearest_B1 = points.costs.argmax(axis=1)[:, None]
        last_B1 = np.take_along_axis(points.accuracies, dearest_B1, axis=1)
        full_B1 = np.maximum(self.fixed.accuracies[:, -1:], last_B1)
        return sweep_curve(
            np.concatenate([ends.costs, self.full_cost[:, None]], axis=1),
            np.concatenate([ends.accuracies, full_B1], axis=1),
        )

    @cached_property
    def measured(self) -> Ground:
        """The data itself, without resamples."""
        return replace(
            self,
            fixed=self.fixed.measured,
            oracle=self.oracle.measured,
            bayes=None if self.bayes is None else self.bayes.measured,
        )


@dataclass(frozen=True)
class Decided:
    """What an experiment did on a set, a row per sample and a column per point, (N, P)."""

    actions: Ints
    scores: Floats
    costs: Floats

    def points(self, ground: Ground) -> Points:
        """Its averages on the questions and resamples of `ground`."""
        return _points(ground.questions, ground.counts_BU, self.scores, self.costs)


def hull_metrics(settings: Settings, layout: Layout) -> list[Path]:
    """Write hull_metrics.csv, curves.csv and, last, their manifest.json; returns the first two."""
    names = [name for name, item in settings.experiments.items() if item.mode == "replay"]
    if not names:
        raise ConfigError("experiments: hull metrics need at least one with mode: replay")
    comparison = Comparison(settings, layout, names)
    metrics: list[Row] = []
    curves: list[Row] = []
    for dataset in settings.data.eval_sets:
        for name in names:
            if dataset in experiment_sets(settings, name):
                for seed in experiment_seeds(settings, name):
                    row, points = comparison.rows(name, dataset, seed)
                    metrics.append(row)
                    curves += points
        comparison.forget_set()
    paths = [layout.hull / "hull_metrics.csv", layout.hull / "curves.csv"]
    _write_csv(paths[0], metrics, METRIC_COLUMNS)
    _write_csv(paths[1], curves, CURVE_COLUMNS)
    write_manifest(
        layout.hull / "manifest.json",
        step="hull_metrics",
        settings=settings,
        inputs={name: _samples_path(layout, name) for name in names},
        outputs={path.name: path for path in paths},
    )
    return paths


class Comparison:
    """Reads each table once and keeps what experiments on the same questions share."""

    def __init__(self, settings: Settings, layout: Layout, names: Sequence[str]) -> None:
        self.settings, self.layout = settings, layout
        self.points = {name: _comparable_points(settings, name) for name in names}
        self.tables = {name: _read_samples(layout, name) for name in names}
        self.forget_set()
        role = [name for name in names if settings.experiments[name].role == "vovnet"]
        swept = [name for name in role if "lambda_cost" in settings.experiments[name].sweep]
        self.main = next(iter([*swept, *role, *names]))

    def forget_set(self) -> None:
        """Drop what was kept for a set: the next one shares nothing with it."""
        self.questions: dict[int | None, tuple[Questions, Floats, ScoreCache]] = {}
        self.grounds: dict[tuple[str, int, int | None], Ground] = {}

    def rows(self, name: str, dataset: str, seed: int) -> tuple[Row, list[Row]]:
        """An experiment's row of hull_metrics.csv, and those of curves.csv.

        Fixed policies and single points have no curve, so that only AIQ and MCC are defined
        for them; an oracle is a curve by definition. VoVNet's curve brings its hull along.
        """
        ground = self.ground(name, dataset, seed)
        decided = self.decided(name, dataset, seed, ground)
        points = decided.points(ground)
        keys = self.keys(name, dataset, seed)
        metrics = keys | _point_metrics(ground.measured, points.measured, decided)
        if len(self.points[name]) > 1 or kind_of(self.points[name][0]).reads_correctness:
            metrics |= _gains(ground, points) | _curve_metrics(ground.measured, points.measured)
        curves = _curve_rows(keys, points)
        if name == self.main:
            facts = {"experiment": MIXING_HULL, "role": "reference", "title": "Mixing hull"}
            knots = Points(ground.hull.costs, ground.hull.accuracies)
            curves = [*_curve_rows(keys | facts, knots), *curves]
        return metrics, curves

    def keys(self, name: str, dataset: str, seed: int) -> Row:
        item = self.settings.experiments[name]
        facts = {"role": item.role, "title": item.title, "run": item.run, "seed": seed}
        return {"dataset": dataset, "experiment": name} | facts

    def ground(self, name: str, dataset: str, seed: int) -> Ground:
        """What the experiment is compared with, shared by those of its run and questions."""
        item = self.settings.experiments[name]
        key = (item.run, seed, item.max_samples)
        if key not in self.grounds:
            self.grounds[key] = self._ground(name, dataset, seed)
        return self.grounds[key]

    def _ground(self, name: str, dataset: str, seed: int) -> Ground:
        item = self.settings.experiments[name]
        settings = run_settings(self.settings, item.run)
        if item.max_samples not in self.questions:
            questions = load_questions(settings, self.layout, dataset, item.max_samples)
            counts_BU = bootstrap_counts(
                questions.num_units, settings.eval.bootstrap_samples, settings.eval.seed
            )
            counts_BU = np.concatenate([np.ones((1, questions.num_units)), counts_BU])
            self.questions[item.max_samples] = (questions, counts_BU, {})
        questions, counts_BU, scored = self.questions[item.max_samples]
        observed = load_observed(self.layout, item.run, seed, questions, scored)
        costs_NA = expected_cost(observed.vision_tokens, settings.policy.cost_scale)
        oracle = replay(_oracle(settings.policy), questions, observed)
        ground = Ground(
            questions,
            counts_BU,
            needs_look(observed.scores),
            _points(questions, counts_BU, observed.scores, costs_NA),
            _points(questions, counts_BU, oracle.scores[:, None], oracle.costs[:, None]),
        )
        bayes = self.bayes(name, dataset, seed)
        if bayes is None:
            return ground
        return replace(ground, bayes=self.decided(bayes, dataset, seed, ground).points(ground))

    def bayes(self, name: str, dataset: str, seed: int) -> str | None:
        """The experiment of the Bayes router on the run and questions of an experiment."""
        item = self.settings.experiments[name]
        for other, points in self.points.items():
            found = self.settings.experiments[other]
            if (
                all(point.baseline_name == "bayes_router" for point in points)
                and (found.run, found.max_samples) == (item.run, item.max_samples)
                and dataset in experiment_sets(self.settings, other)
                and seed in experiment_seeds(self.settings, other)
            ):
                return other
        return None

    def decided(self, name: str, dataset: str, seed: int, ground: Ground) -> Decided:
        """What an experiment did, from its samples.parquet, checked against the questions."""
        tables, ids = self.tables[name], [sample.id for sample in ground.questions.samples]
        columns = []
        for point in range(len(self.points[name])):
            rows = tables.get((dataset, seed, point))
            if rows is None or rows["id"].tolist() != ids:
                raise DataError(
                    f"{_samples_path(self.layout, name)}: the samples of {dataset}, seed {seed},"
                    f" point {point} are not those of the set, evaluate {name!r} again"
                )
            columns.append(rows)
        return Decided(
            *(
                np.stack([rows[key].to_numpy() for rows in columns], axis=1)
                for key in ("action", "score", "cost")
            )
        )


def hull_gains(ground: Ground, points: Points) -> Floats:
    """Percentage points over the hull at `GAIN_SHARES` of FULL's cost, (B, Q)."""
    at_BQ = ground.full_cost[:, None] * np.array(list(GAIN_SHARES.values()))
    return 100 * (ground.curve(points).value(at_BQ) - ground.hull.value(at_BQ))


def _point_metrics(ground: Ground, points: Points, decided: Decided) -> Row:
    """AIQ, and MCC at the point whose cost is nearest to `MCC_SHARE` of FULL's."""
    ends = ground.with_no(points)
    target = MCC_SHARE * ground.full_cost[0]
    point = int(np.abs(points.costs[0] - target).argmin())
    return {
        "aiq": float(aiq(ends.costs, ends.accuracies, ground.full_cost)[0]),
        "mcc": mcc(decided.actions[:, point] != 0, ground.needed_N),
        "mcc_point": point,
    }


def _gains(ground: Ground, points: Points) -> Row:
    """Percentage points over the hull at shares of FULL's cost, with paired intervals."""
    gains_BQ = hull_gains(ground, points)
    low_Q, high_Q = percentile_interval(gains_BQ[1:])
    row: Row = {}
    for name, gain, low, high in zip(GAIN_SHARES, gains_BQ[0], low_Q, high_Q, strict=True):
        row |= {name: float(gain), f"{name}_lo": float(low), f"{name}_hi": float(high)}
    return row


def _curve_metrics(ground: Ground, points: Points) -> Row:
    """Areas under a policy's curve; the reference curves are drawn by the same rule."""
    curve, full_cost = ground.curve(points), ground.full_cost
    references = {"oracle": ground.oracle, "bayes": ground.bayes}
    row: Row = {
        f"hull_to_{name}_captured": float(
            captured_share(curve, ground.hull, ground.curve(reference), full_cost)[0]
        )
        for name, reference in references.items()
        if reference is not None
    }
    no_B, _, full_B = ground.fixed.accuracies.T
    return row | {"apgr": float(apgr(curve, no_B, full_B, full_cost)[0])}


def _curve_rows(keys: Row, points: Points) -> list[Row]:
    low_P, high_P = percentile_interval(points.accuracies[1:])
    return [
        keys
        | {"point": point, "avg_cost": float(cost), "accuracy": float(accuracy)}
        | {"accuracy_lo": float(low_P[point]), "accuracy_hi": float(high_P[point])}
        for point, (cost, accuracy) in enumerate(
            zip(points.costs[0], points.accuracies[0], strict=True)
        )
    ]


def _points(questions: Questions, counts_BU: Floats, scores_NP: Floats, costs_NP: Floats) -> Points:
    """Means over the data and its resamples: accuracy over questions, cost over rows."""
    sizes_U = np.bincount(questions.units).astype(np.float64)
    return Points(
        resampled_means(counts_BU, unit_sums(costs_NP, questions.units), sizes_U),
        resampled_means(counts_BU, unit_minima(scores_NP, questions.units)),
    )


def _comparable_points(settings: Settings, name: str) -> list[PolicySettings]:
    """The policies of an experiment; another unit of cost than its run's is an error."""
    run = run_settings(settings, settings.experiments[name].run)
    points = policy_points(run, name)
    for point in points:
        if point.cost_scale != run.policy.cost_scale:
            raise ConfigError(
                f"experiments.{name}.policy.cost_scale: expected that of the run,"
                f" {run.policy.cost_scale:g}, to compare costs in one unit; got"
                f" {point.cost_scale:g}"
            )
    return points


def _oracle(policy: PolicySettings) -> PolicySettings:
    return policy.model_copy(update={"baseline_name": "oracle", "fallback_mode": None})


def _samples_path(layout: Layout, name: str) -> Path:
    return layout.eval(name) / "samples.parquet"


def _read_samples(layout: Layout, name: str) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The rows of samples.parquet by dataset, seed and point."""
    table = read_table(_samples_path(layout, name), SAMPLE_RESULT_COLUMNS)
    kept = table[["dataset", "seed", "point", "id", "action", "score", "cost"]]
    return dict(list(kept.groupby(["dataset", "seed", "point"], sort=False)))


def _write_csv(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    with atomic_path(path) as partial:
        frame = pd.DataFrame(list(rows), columns=list(columns))
        frame.to_csv(partial, index=False, lineterminator="\n")
