"""How many questions a set needs to show a gain, from how much that gain varied on a finished one.

A gain over the mixing hull is paired: policy and hull answer the same questions. What it varies by
with other questions falls with their number; what it varies by with other trainings does not.

Shapes: S seeds, B resamples, Q places.
"""

from dataclasses import dataclass
from math import ceil, inf, sqrt
from statistics import NormalDist

import numpy as np
from scipy.special import stdtrit

from vovnet.config import Settings
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.core.resampling import LEVEL, Z, mean_over_seeds
from vovnet.evaluation.columns import GAIN_SHARES
from vovnet.evaluation.references import Comparison, hull_gains


@dataclass(frozen=True)
class Observed:
    """A gain in points as it was observed: mean over `num_seeds` seeds on `num_questions`.

    `questions` is its standard error by the choice of questions, in clusters, `trainings` that by
    the choice of seeds (0 for a single one).
    """

    dataset: str
    at: str
    gain: float
    num_questions: int
    num_clusters: int
    num_seeds: int
    questions: float
    trainings: float

    def detectable(self, factor: float, power: float) -> float:
        """The least true gain that `factor` times the questions show with this chance."""
        freedom = self.num_seeds - 1
        student = -stdtrit(freedom, (1 - LEVEL) / 2) if freedom else 0.0
        questions = self.questions / sqrt(factor)
        half_width = np.hypot(Z * questions, student * self.trainings)
        spread = np.hypot(questions, self.trainings)
        return float(half_width + NormalDist().inv_cdf(power) * spread)

    def needed(self, gain: float, power: float) -> float:
        """The questions that show a true gain with this chance; infinite where no number does."""
        low, high = 1 / self.num_clusters, 1e9
        if self.detectable(high, power) > gain:
            return inf
        while high / low > 1 + 1e-6:
            middle = sqrt(low * high)
            low, high = (low, middle) if self.detectable(middle, power) <= gain else (middle, high)
        return ceil(high * self.num_clusters) * self.num_questions / self.num_clusters


def observed_gains(settings: Settings, layout: Layout, name: str) -> list[Observed]:
    """The gains of an experiment's curve at shares of FULL's cost, on each of its sets."""
    comparison = Comparison(settings, layout, [name])
    if not comparison.has_curve(name):
        raise ConfigError(f"experiments.{name}: expected a sweep, a single point has no curve")
    experiment, found = comparison.experiments[name], []
    for dataset in experiment.sets:
        gains = []
        for seed in experiment.seeds:
            ground = comparison.ground(name, dataset, seed)
            curve = ground.curve(comparison.reached(name, dataset, seed)[1])
            gains.append(hull_gains(ground, curve))
        told = mean_over_seeds(np.stack(gains))
        questions, resamples = comparison.asked(name, dataset)
        sizes = (questions.num_units, resamples.counts.shape[1], len(gains))
        for place, at in enumerate(GAIN_SHARES):
            numbers = (told.value, told.questions_error, told.seeds_error)
            gain, by_questions, by_seeds = (float(values[place]) for values in numbers)
            share = at.removeprefix("gain_at_")
            found.append(Observed(dataset, share, gain, *sizes, by_questions, by_seeds))
        comparison.forget_set()
    return found
