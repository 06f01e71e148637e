"""Live runs at equal time: what a policy gains over mixing the fixed ones, in milliseconds.

The mixing hull is that of the actions, each shown always in a live run of its own, of the same
trained model and questions. Where one is missing, or a run was not alone on its machine, there is
nothing to compare. Methods that are not mixed themselves are also held against VoVNet's own live
run, where that gains something over mixing the actions.
Shapes: N rows, S seeds, A actions, P points, B resamples, of which the first is the data itself.
"""

from collections.abc import Mapping

import numpy as np

from vovnet.config import Settings
from vovnet.core.arrays import EPSILON, Floats
from vovnet.core.layout import Layout
from vovnet.core.stats import upper_hull
from vovnet.evaluation.columns import MIXING_HULL, MS, VOVNET, Row
from vovnet.evaluation.equal_cost import NOT_JUDGED, OWN, Reference, gains_of, within_range
from vovnet.evaluation.ground import Points, averages
from vovnet.evaluation.live_run import LiveRun
from vovnet.evaluation.references import Comparison
from vovnet.policies.fixed import always_shown


class LiveComparison(Comparison):
    """The live experiments that time a policy, in place of replayed ones."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        names = [
            name
            for name, item in settings.experiments.items()
            if item.mode == "live" and not item.compare_cache_reuse
        ]
        super().__init__(settings, layout, names)
        runs = {name: LiveRun(item, layout) for name, item in self.experiments.items()}
        self.runs = {name: run for name, run in runs.items() if run.alone}

    def latencies(self, name: str, dataset: str, seed: int) -> Floats:
        """The milliseconds of each row at each point of a live experiment, (N, P)."""
        questions, points = self.asked(name, dataset)[0], range(len(self.experiments[name].points))
        times = [self.runs[name].latencies(questions, seed, point) for point in points]
        return np.stack(times, axis=1)

    def timed(self, name: str, dataset: str, seed: int) -> Points:
        """Mean milliseconds and accuracy of each point of a live experiment."""
        scores_NP = self.done(name, dataset, seed)["score"]
        costs = {MS: self.latencies(name, dataset, seed)}
        return averages(*self.asked(name, dataset), scores_NP, costs)[MS]

    def hull(self, name: str, dataset: str, seed: int) -> Reference | None:
        """What random mixing of the actions reaches in a time; None where one was not timed."""
        fixed = self.fixed(name, dataset, seed)
        if fixed is None:
            return None
        return Reference("", upper_hull(fixed.costs, fixed.accuracies), fixed.costs[0])

    def vovnet(self, name: str, dataset: str, seed: int) -> Reference | None:
        """What VoVNet's live run reaches in a time, mixed with the fixed ones; None without it.

        A live run has few points, and between them VoVNet could do better than a line. There is
        no such reference for the fixed policies, which are a part of it, nor where VoVNet gains
        nothing over mixing them in a seed: it would be no part of it there.
        """
        main, own = self.experiments[self.main], self.experiments[name]
        fixed = self.fixed(name, dataset, seed)
        alike = main.run == own.run and main.stanza.max_samples == own.stanza.max_samples
        there = main.name in self.runs and dataset in main.sets and seed in main.seeds
        if fixed is None or name == main.name or main.stanza.role != "vovnet":
            return None
        if not (alike and there):
            return None
        if all(always_shown(policy) in own.settings.actions for policy in own.points):
            return None
        common = [other for other in main.seeds if other in own.seeds]
        if any(self._gains_nothing(main.name, dataset, other) for other in common):
            return None
        timed = self.timed(main.name, dataset, seed)
        points = timed.beside(fixed)
        curve = upper_hull(points.costs, points.accuracies)
        return Reference(main.name, curve, timed.costs[0])

    def _gains_nothing(self, name: str, dataset: str, seed: int) -> bool:
        """Whether no point of a live experiment lies above what mixing the actions reaches."""
        hull = self.hull(name, dataset, seed)
        if hull is None:
            return False
        timed = self.timed(name, dataset, seed)
        gains_BP = timed.accuracies - hull.curve.value(timed.costs)
        return bool((gains_BP[0] <= EPSILON).all())

    def shown(self, name: str, dataset: str, seed: int) -> dict[str | None, tuple[str, int]]:
        """View -> the first fixed policy that always shows it, and its point.

        They were timed on the questions of an experiment, with the same trained model.
        """
        own, found = self.experiments[name], dict[str | None, tuple[str, int]]()
        for other in self.runs:
            item = self.experiments[other]
            alike = item.run == own.run and item.stanza.max_samples == own.stanza.max_samples
            if alike and dataset in item.sets and seed in item.seeds:
                for point, policy in enumerate(item.points):
                    found.setdefault(always_shown(policy), (other, point))
        return found

    def fixed(self, name: str, dataset: str, seed: int) -> Points | None:
        """The actions, each shown always on the questions of an experiment, (B, A)."""
        fixed, actions = self.shown(name, dataset, seed), self.experiments[name].settings.actions
        if not set(actions) <= set(fixed):
            return None
        points = [(self.timed(fixed[view][0], dataset, seed), fixed[view][1]) for view in actions]
        costs_BA, accuracies_BA = (
            np.stack([getattr(item, key)[:, point] for item, point in points], axis=1)
            for key in ("costs", "accuracies")
        )
        return Points(costs_BA, accuracies_BA)


def live_rows(live: LiveComparison, dataset: str) -> list[Row]:
    """Rows of equal_cost.csv of the live runs on a set, each point at its own mean time."""
    rows: list[Row] = []
    for name in live.runs:
        experiment = live.experiments[name]
        if dataset not in experiment.sets:
            continue
        for kind, reference in ((MIXING_HULL, live.hull), (VOVNET, live.vovnet)):
            found = {
                seed: (live.timed(name, dataset, seed), told)
                for seed in experiment.seeds
                if (told := reference(name, dataset, seed)) is not None
            }
            if found:
                keys = live.keys(name, dataset, next(iter(found))) | {"reference": kind}
                rows += [keys | row for row in _rows(found, experiment.run)]
    return rows


def _rows(found: Mapping[int, tuple[Points, Reference]], run: str) -> list[Row]:
    """The points of a live experiment against a reference of each seed."""
    facts: Row = {"unit": MS, "at": OWN, "reference_run": run} | NOT_JUDGED
    facts |= {"reference_experiment": next(iter(found.values()))[1].experiment}
    costs_P = np.mean([points.costs[0] for points, _ in found.values()], axis=0)
    gains_SBP = 100 * np.stack(
        [points.accuracies - item.curve.value(points.costs) for points, item in found.values()]
    )
    within_P = within_range(costs_P, [item for _, item in found.values()])
    return [
        facts | {"point": point, "avg_cost": cost, "within_range": within} | gain
        for point, (cost, within, gain) in enumerate(
            zip(costs_P.tolist(), within_P.tolist(), gains_of(gains_SBP), strict=True)
        )
    ]
