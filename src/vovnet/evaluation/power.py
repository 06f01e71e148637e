"""How many questions a set needs to show a gain, from how much that gain varied on a finished one.

A gain over the mixing hull is paired: policy and hull answer the same questions. What it varies by
with other questions falls with their number, and so does what each seed answers differently by
chance; what it varies by with other trainings does not.

Shapes: S seeds, B resamples, Q places, R ranks.
"""

from dataclasses import dataclass
from math import ceil, inf, nan, sqrt

import numpy as np
from scipy.special import chdtri, ndtr

from vovnet.config import Settings
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.core.resampling import Z, half_width, mean_over_seeds
from vovnet.evaluation.columns import GAIN_SHARES, TOKENS
from vovnet.evaluation.ground import hull_gains
from vovnet.evaluation.references import Comparison

RANKS = (np.arange(200) + 0.5) / 200
"""At which quantiles the deviation of seeds is averaged over, R of them."""

TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class ObservedGain:
    """A gain in points as it was observed: mean over `num_seeds` seeds on `num_questions`.

    The variance of one seed's gain has three parts: `shared` by the choice of questions, in
    clusters, `chance` by what each seed answers differently on them, and `trainings`; the last two
    are 0 for a single seed.
    """

    dataset: str
    at: str
    gain: float
    num_questions: int
    num_clusters: int
    num_seeds: int
    shared: float
    chance: float
    trainings: float

    @property
    def varies(self) -> bool:
        """Whether what it varies by is known: not on a set of one cluster, nor if it is nothing."""
        return self.shared + self.chance + self.trainings > 0

    def shown(self, gain: float, factor: float) -> float:
        """The chance that `factor` times the questions show a true gain at 5%.

        The mean gain is normal, and the variance of the seeds' own gains, which makes the interval
        wide or narrow, follows a chi-square of S - 1 degrees of freedom: it is averaged over.
        """
        seeds, chance = self.num_seeds, self.chance / factor
        questions = self.shared / factor + chance / seeds
        kept_share = 1 - chance / 2 / seeds / questions if questions > 0 else 1.0
        ratios_R = chdtri(seeds - 1, RANKS) / (seeds - 1) if seeds > 1 else np.zeros(1)
        seeds_R = np.maximum((self.trainings + chance) * ratios_R - chance / 2, 0.0) / seeds
        errors = (np.array(sqrt(questions)), np.array(kept_share), np.sqrt(seeds_R))
        spread = sqrt(max(questions + self.trainings / seeds, TINY))
        return float(ndtr((gain - half_width(np.array(Z), seeds, *errors)) / spread).mean())

    def detectable(self, factor: float, power: float) -> float:
        """The least true gain that `factor` times the questions show so; NaN where none does."""
        low, high = 0.0, 100.0
        if not self.varies:
            return nan
        if not self.shown(high, factor) >= power:
            return nan
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if self.shown(middle, factor) >= power else (middle, high)
        return high

    def needed(self, gain: float, power: float) -> float:
        """The questions that show a true gain with this chance.

        Infinite where no number does, NaN where what the gain varies by is not known.
        """
        low, high = 1 / self.num_clusters, 1e9
        if not self.varies:
            return nan
        if not self.shown(gain, high) >= power:
            return inf
        while high / low > 1 + 1e-6:
            middle = sqrt(low * high)
            low, high = (low, middle) if self.shown(gain, middle) >= power else (middle, high)
        return ceil(high * self.num_clusters) * self.num_questions / self.num_clusters


def observed_gains(settings: Settings, layout: Layout, name: str) -> list[ObservedGain]:
    """The gains of an experiment's curve at shares of FULL's cost, on each of its sets."""
    comparison = Comparison(settings, layout, [name])
    if not comparison.has_curve(name):
        raise ConfigError(f"experiments.{name}: expected a sweep, a single point has no curve")
    experiment, found = comparison.experiments[name], []
    for dataset in experiment.sets:
        gains = []
        for seed in experiment.seeds:
            ground = comparison.ground(name, dataset, seed)
            curve = ground.curve(comparison.reached(name, dataset, seed).points[TOKENS])
            gains.append(hull_gains(ground, curve))
        told = mean_over_seeds(np.stack(gains))
        questions, resamples = comparison.asked(name, dataset)
        sizes = (questions.num_units, resamples.counts.shape[1], len(gains))
        for place, at in enumerate(GAIN_SHARES):
            parts = (told.shared_variance, told.chance_variance, told.trainings_variance)
            gain, *variances = (float(values[place]) for values in (told.value, *parts))
            share = at.removeprefix("gain_at_")
            found.append(ObservedGain(dataset, share, gain, *sizes, *variances))
        comparison.forget_set()
    return found
