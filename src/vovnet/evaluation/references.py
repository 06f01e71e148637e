"""What policies are compared with on the same questions: fixed ones, a perfect choice, routers.

Everything is taken from the observations of the same trained model and questions as the policy,
and is resampled together with it. Accuracies are shares in [0, 1].

Shapes: N rows, U questions, A actions, P points of a policy, B resamples, of which the first
is the data itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vovnet.config import PolicySettings, Settings, is_imported
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core import stats
from vovnet.core.arrays import Floats, Ints
from vovnet.core.cost import expected_cost
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.core.resampling import Resamples
from vovnet.core.stats import Curves
from vovnet.evaluation.clusters import draw_resamples
from vovnet.evaluation.columns import FLOPS, TOKENS, Row, SampleResults, Unit
from vovnet.evaluation.frontier import Frontier, Source, frontier_of, matched_frontier
from vovnet.evaluation.ground import Ground, Reached, averages
from vovnet.evaluation.matched import points_on
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.evaluation.replay import (
    Observed,
    Routers,
    expectations,
    load_observed,
    load_routers,
)
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies import kind_of
from vovnet.policies.experiments import experiment_views, resolve_experiment
from vovnet.policies.fixed import is_plain

DONE = ("action", "score", "cost", "flops", "vision_tokens")
"""The columns of samples.parquet that are compared."""

COLUMN_OF: Mapping[Unit, str] = {TOKENS: "cost", FLOPS: "flops"}
"""Unit of cost -> the column of samples.parquet that holds it."""


class Comparison:
    """Reads each table once and keeps what experiments on the same questions share."""

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        names: Sequence[str],
        knowing: Sequence[PolicySettings] = (),
    ) -> None:
        """`knowing` are further policies of which what they know is read."""
        self.settings, self.layout, self.knowing = settings, layout, knowing
        self.experiments = {name: _comparable(settings, name) for name in names}
        self.samples = {name: SampleResults(layout, name, DONE) for name in names}
        self.routers: dict[tuple[str, int], Routers] = {}
        self.forget_set()
        stanzas = settings.experiments
        role = [name for name in names if stanzas[name].role == "vovnet"]
        swept = [name for name in role if "lambda_cost" in stanzas[name].sweep]
        self.main = next(iter([*swept, *role, *names]), "")

    def forget_set(self) -> None:
        """Drop what was kept for a set: the next one shares nothing with it."""
        self.questions: dict[int | None, tuple[Questions, Resamples]] = {}
        self.grounds: dict[tuple[str, int, int | None, Unit], Ground] = {}
        self.tables: dict[tuple[str, int, int | None], Observed] = {}
        self.frontiers: dict[tuple[str, int], Frontier] = {}
        self.decisions: dict[tuple[str, int], dict[str, NDArray[Any]]] = {}
        self.main_curves: dict[tuple[int, Unit], tuple[Curves, Floats]] = {}

    def keys(self, name: str, dataset: str, seed: int) -> Row:
        stanza = self.experiments[name].stanza
        facts = {"role": stanza.role, "title": stanza.title, "run": stanza.run, "seed": seed}
        return {"dataset": dataset, "experiment": name} | facts

    def ground(self, name: str, dataset: str, seed: int, unit: Unit = TOKENS) -> Ground:
        """What the experiment is compared with, shared by those of its run and questions."""
        experiment = self.experiments[name]
        key = (experiment.run, seed, experiment.stanza.max_samples, unit)
        if key not in self.grounds:
            self.grounds[key] = self._ground(name, dataset, seed, unit)
        return self.grounds[key]

    def units(self, name: str, dataset: str, seed: int) -> list[Unit]:
        """The units of cost that are known; FLOPs are not counted where beams were searched."""
        known = not np.isnan(self.observed(name, dataset, seed).flops).any()
        return [TOKENS, FLOPS] if known else [TOKENS]

    def _ground(self, name: str, dataset: str, seed: int, unit: Unit) -> Ground:
        questions, resamples = self.asked(name, dataset)
        observed = self.observed(name, dataset, seed)
        costs_NA = self.costs(name, observed.vision_tokens, observed.flops, unit)
        bayes = self.beside(name, dataset, seed, "bayes_router")
        return Ground(
            stats.needs_look(observed.scores),
            averages(questions, resamples, observed.scores, {unit: costs_NA})[unit],
            observed.actions.index("full"),
            stats.best_choice(costs_NA, observed.scores, questions.units, resamples),
            None if bayes is None else self.reached(bayes, dataset, seed, [unit]).points[unit],
        )

    def costs(self, name: str, vision_tokens: Ints, flops: Floats, unit: Unit) -> Floats:
        """What was done costs in a unit."""
        if unit == FLOPS:
            return flops
        return expected_cost(vision_tokens, self.experiments[name].settings.policy.cost_scale)

    def observed(self, name: str, dataset: str, seed: int) -> Observed:
        """What the experiment's model did on its questions, under all views that are compared."""
        run, limit = self.experiments[name].run, self.experiments[name].stanza.max_samples
        if (run, seed, limit) not in self.tables:
            alike = [
                other.name
                for other in self.experiments.values()
                if other.run == run and dataset in other.sets and seed in other.seeds
            ]
            views = [view for other in alike for view in experiment_views(self.settings, other)]
            policies = [point for other in alike for point in self.experiments[other].points]
            if not is_imported(self.settings, run):  # whose log has no states
                policies += self.knowing
            trained = TrainedModel(self.settings, self.layout, run, seed)
            questions = self.asked(name, dataset)[0]
            observed = load_observed(trained, questions, views, policies)
            self.tables[run, seed, limit] = observed
        return self.tables[run, seed, limit]

    def _routers(self, run: str, seed: int) -> Routers:
        """The routers of a trained model that its experiments ask for."""
        if (run, seed) not in self.routers:
            alike = [other for other in self.experiments.values() if other.run == run]
            points = [point for other in alike if seed in other.seeds for point in other.points]
            trained = TrainedModel(self.settings, self.layout, run, seed)
            self.routers[run, seed] = load_routers(trained, points)
        return self.routers[run, seed]

    def asked(self, name: str, dataset: str) -> tuple[Questions, Resamples]:
        """What an experiment was asked, and the resamples of that."""
        settings, limit = self.experiments[name].settings, self.experiments[name].stanza.max_samples
        if limit not in self.questions:
            questions = load_questions(settings, self.layout, dataset, limit)
            self.questions[limit] = (questions, draw_resamples(questions, settings.eval))
        return self.questions[limit]

    def beside(
        self, name: str, dataset: str, seed: int, baseline: str, run: str | None = None
    ) -> str | None:
        """The experiment of a baseline as it is on another's questions, of its run unless told."""
        own = self.experiments[name]
        for other in self.experiments.values():
            if (
                all(point.baseline_name == baseline and is_plain(point) for point in other.points)
                and other.run == (run or own.run)
                and other.stanza.max_samples == own.stanza.max_samples
                and dataset in other.sets
                and seed in other.seeds
            ):
                return other.name
        return None

    def has_curve(self, name: str) -> bool:
        """Whether it is a curve: a frontier, a sweep, or an oracle, whose one point is joined."""
        points = self.experiments[name].points
        several = self.has_frontier(name) or len(points) > 1
        return several or kind_of(points[0]).reads_correctness

    def has_frontier(self, name: str) -> bool:
        """Whether it sweeps the scalar of its policy, or is matched to one that does.

        A sweep that also takes what is no single number, such as a threshold for each view, has
        its own points alone.
        """
        experiment = self.experiments[name]
        if (match := experiment.stanza.match) is not None:
            return match.experiment in self.experiments and self.has_frontier(match.experiment)
        scalars = [kind_of(point).scalar(point) for point in experiment.points]
        return all(item is not None and item.key in experiment.stanza.sweep for item in scalars)

    def frontier(self, name: str, dataset: str, seed: int) -> Frontier:
        """The whole frontier of an experiment that has one."""
        if (name, seed) not in self.frontiers:
            experiment = self.experiments[name]
            questions, observed = self.asked(name, dataset)[0], self.observed(name, dataset, seed)
            policy, match = experiment.points[0], experiment.stanza.match
            if match is None:
                policy = points_on(experiment, self.layout, dataset, seed)[0]
                routers = self._routers(experiment.run, seed)
                expected = expectations(routers, [policy], questions, observed)
                found = frontier_of(policy, questions, observed, expected)
            else:
                copied = self.observed(match.experiment, dataset, seed)
                source = Source(
                    self.frontier(match.experiment, dataset, seed),
                    copied.signals["entropy"].to_numpy(),
                )
                update = {"baseline_seed": policy.baseline_seed + seed, "lambda_unit": "cost"}
                own = policy.model_copy(update=update)
                found = matched_frontier(own, match, source, questions, observed)
            self.frontiers[name, seed] = found
        return self.frontiers[name, seed]

    def values(self, name: str, dataset: str, seed: int) -> Floats | None:
        """What the policy's scalar is at the points that are `reached`; None without a frontier."""
        return self.frontier(name, dataset, seed).values if self.has_frontier(name) else None

    def reached(
        self, name: str, dataset: str, seed: int, units: Sequence[Unit] = (TOKENS,)
    ) -> Reached:
        """All operating points, whatever is swept.

        Those of the specification where the experiment has no frontier.
        """
        if not self.has_frontier(name):
            return self.decided(name, dataset, seed, units)
        found = self.frontier(name, dataset, seed)
        done = found.done["vision_tokens"], found.done["flops"]
        costs = {unit: self.costs(name, *done, unit) for unit in units}
        asked = self.asked(name, dataset)
        points = averages(*asked, found.done["scores"], costs, found.piece)
        return Reached(found.actions_at, points)

    def main_curve(self, dataset: str, seed: int, unit: Unit = TOKENS) -> tuple[Curves, Floats]:
        """The curve of the experiment that stands for VoVNet, and the costs of its points, (P,)."""
        if (seed, unit) not in self.main_curves:
            points = self.reached(self.main, dataset, seed, [unit]).points[unit]
            curve = self.ground(self.main, dataset, seed, unit).curve(points)
            self.main_curves[seed, unit] = (curve, points.costs[0])
        return self.main_curves[seed, unit]

    def decided(
        self, name: str, dataset: str, seed: int, units: Sequence[Unit] = (TOKENS,)
    ) -> Reached:
        """The points of an experiment's specification."""
        done = self.done(name, dataset, seed)
        costs = {unit: done[COLUMN_OF[unit]] for unit in units}
        points = averages(*self.asked(name, dataset), done["score"], costs)
        return Reached(lambda point: done["action"][:, point], points)

    def done(self, name: str, dataset: str, seed: int) -> dict[str, NDArray[Any]]:
        """The columns `DONE` of an experiment at the points of its specification, (N, P) each."""
        if (name, seed) not in self.decisions:
            questions = self.asked(name, dataset)[0]
            points = range(len(self.experiments[name].points))
            tables = [self.samples[name].rows(questions, seed, point) for point in points]
            self.decisions[name, seed] = {
                key: np.stack([rows[key].to_numpy() for rows in tables], axis=1) for key in DONE
            }
        return self.decisions[name, seed]


def _comparable(settings: Settings, name: str) -> ResolvedExperiment:
    """An experiment whose costs have the unit of its run; another unit is an error."""
    experiment = resolve_experiment(settings, name)
    unit = experiment.settings.policy.cost_scale
    for point in experiment.points:
        if point.cost_scale != unit:
            raise ConfigError(
                f"experiments.{name}.policy.cost_scale: expected that of the run, {unit:g}, to"
                f" compare costs in one unit; got {point.cost_scale:g}"
            )
    return experiment
