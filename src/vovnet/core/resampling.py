"""Resamples of clusters, intervals of means over seeds, and tests of several at once.

Questions that share an image or a circular group vary together: such a cluster is drawn as a whole.
The same clusters are drawn for everything that is compared on a set, so that differences are
paired. Seeds are few, so they are not resampled: what trainings differ by is estimated from
the seeds themselves, see `mean_over_seeds`.

Shapes: B resamples, of which the first is the data itself, C clusters, U questions, N rows,
K quantities, S seeds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, vstack
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtr, stdtrit

from vovnet.core.arrays import Floats, Ints, unit_codes, unit_sums
from vovnet.core.pieces import Runs

LEVEL = 0.95
"""Coverage of every interval that is reported."""

Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""The half-width of such an interval in standard errors, where these are known well."""

BLOCK = 256
"""Resamples that are drawn or averaged at a time: only as many are held as float64."""

MOST_CHANGES = 0.1
"""Share of values that may differ from their neighbours for the differences to be added up."""

FARTHEST = 37.0
"""Standard errors at which a p-value is as small as float64 can tell."""


# ---- clusters --------------------------------------------------------------------------


def cluster_codes(units_N: Ints, marks: Sequence[Iterable[str]]) -> Ints:
    """The cluster of each question, (U,): questions that share a mark, directly or by others.

    `marks` has those of each row, such as the hashes of its images; the rows of a question are
    one anyway. Clusters are numbered by their first question.
    """
    pairs = [(unit, mark) for unit, own in zip(units_N, marks, strict=True) for mark in own]
    num_units = int(units_N.max()) + 1
    marks_M = num_units + unit_codes([mark for _, mark in pairs])
    units_M = np.array([unit for unit, _ in pairs], dtype=np.int64)
    size = int(marks_M.max(initial=num_units - 1)) + 1
    edges = coo_array((np.ones(len(pairs)), (units_M, marks_M)), shape=(size, size))
    _, parts = connected_components(edges, directed=False)
    return unit_codes(parts[:num_units].tolist())


@dataclass(frozen=True)
class Resamples:
    """How often the data itself and each resample draw each cluster: `counts`, (B, C).

    `clusters` has the cluster of each question, (U,). Counts are held in one byte each.
    """

    counts: NDArray[Any]
    clusters: Ints

    @classmethod
    def draw(cls, clusters_U: Ints, num_resamples: int, seed: int | Sequence[int]) -> Self:
        """The data and resamples of its clusters, which depend on the arguments alone."""
        num_clusters = int(clusters_U.max()) + 1
        shares_C = np.full(num_clusters, 1.0 / num_clusters)
        rng = np.random.default_rng(seed)
        blocks = [np.ones((1, num_clusters), np.uint8)]
        for start in range(0, num_resamples, BLOCK):
            size = min(BLOCK, num_resamples - start)
            drawn = rng.multinomial(num_clusters, shares_C, size=size)
            blocks.append(drawn.astype(np.min_scalar_type(drawn.max())))
        # A block of resamples is read cluster after cluster, whenever something is averaged.
        return cls(np.asfortranarray(np.concatenate(blocks)), clusters_U)

    def means(self, values_NK: Floats, units_N: Ints | None = None) -> Floats:
        """The mean of each quantity over rows, on the data and each resample, (B, K).

        A row belongs to the question `units_N` names, or is one itself. A set of one cluster tells
        nothing of how others would differ: its resamples are NaN.
        """
        return self.means_of((values_NK, units_N))[0]

    def means_of(self, *parts: tuple[Floats | Runs, Ints | None]) -> list[Floats]:
        """The same of several quantities at once, each with the questions of its rows.

        Instead of values of rows there may be totals of clusters.
        """
        sums: list[Floats | Runs] = []
        for values, units_N in parts:
            clusters_N = self.clusters if units_N is None else self.clusters[units_N]
            sizes_C = np.bincount(clusters_N)
            if isinstance(values, Runs):
                sums.append(values.after(sizes_C))
            else:
                sums.append(np.hstack([sizes_C[:, None], unit_sums(values, clusters_N)]))
        found = []
        for part_BK in weighted_totals(self.counts, *sums):
            means_BK = part_BK[:, 1:] / part_BK[:, :1]
            if self.counts.shape[1] == 1:
                means_BK[1:] = np.nan
            found.append(means_BK)
        return found


def weighted_totals(weights_BC: NDArray[Any], *parts: Floats | Runs) -> list[Floats]:
    """The totals of each part's values (C, K) in which a cluster counts as often as it was drawn.

    On a frontier most clusters have the same value at neighbouring points. Then the differences
    are added up, few of which are not 0. Each part begins anew: beside FLOPs accuracies are lost.
    """
    steps = [
        part.steps if isinstance(part, Runs) else np.diff(part.T, axis=0, prepend=0.0)
        for part in parts
    ]
    num_changes = sum(
        part.nnz if isinstance(part, coo_array) else np.count_nonzero(part) for part in steps
    )
    few = num_changes < MOST_CHANGES * sum(part.shape[0] * part.shape[1] for part in parts)
    values = [part.values if isinstance(part, Runs) else part for part in parts]
    few = few and not any(np.isnan(value).any() for value in values)  # it would go on to the end
    if few:
        factors_KC = vstack([coo_array(part) for part in steps]).tocsr()
    else:
        dense = [part.dense if isinstance(part, Runs) else part for part in parts]
        factors_KC = np.hstack(dense).T
    totals_KB = np.empty((factors_KC.shape[0], len(weights_BC)))
    for start in range(0, len(weights_BC), BLOCK):
        block = slice(start, start + BLOCK)
        weights_CB = weights_BC[block].T.astype(np.float64, order="C")
        totals_KB[:, block] = factors_KC @ weights_CB
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    return [(part_KB.cumsum(axis=0) if few else part_KB).T for part_KB in np.split(totals_KB, ends)]


# ---- intervals -------------------------------------------------------------------------


def percentile_interval(values_BK: Floats) -> tuple[Floats, Floats]:
    """Lower and upper end of the percentile interval over the resamples, without the data, (K,)."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values_BK[1:], [tail, 100 - tail], axis=0)
    return low, high


def effective_number(clusters_N: Ints) -> float:
    """As how many independent values N count whose clusters vary together (Kish).

    The number of clusters where all are of one size, and less where some weigh more than others.
    """
    sizes_C = np.unique(clusters_N, return_counts=True)[1]
    return float(sizes_C.sum() ** 2 / (sizes_C**2).sum())


def wilson_interval(mean: float, count: float) -> tuple[float, float]:
    """Wilson's score interval of a share of `count` independent values, see `effective_number`.

    For scores within [0, 1] that are graded it is too wide rather than too narrow: no such
    score of mean p varies more than one of 0 and 1, whose variance is p (1 - p).
    """
    spread = Z**2 / count
    centre = (mean + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * sqrt(mean * (1 - mean) / count + spread / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95% interval, each (K,).

    `deviation` is the standard deviation over seeds (ddof 1, NaN for one); `p_value` that of the
    two-sided test that the mean is 0, below 0.05 exactly where the interval excludes 0. The
    variance of one seed's number is told in three parts: what questions do to all seeds alike, what
    each seed answers differently by chance, and what trainings differ by (of a single seed 0, and
    so is the second).
    """

    value: Floats
    low: Floats
    high: Floats
    deviation: Floats
    p_value: Floats
    shared_variance: Floats
    chance_variance: Floats
    trainings_variance: Floats


def half_width(
    z_K: Floats, num_seeds: int, questions_K: Floats, kept_share_K: Floats, seeds_K: Floats
) -> Floats:
    """Of the interval of a mean over seeds, at the level of the normal quantile z, (K,).

    From its standard errors by the choice of questions, of whose variance the share `kept_share`
    counts, and by the choice of seeds, see `mean_over_seeds`.
    """
    student_K = -stdtrit(num_seeds - 1, ndtr(-z_K)) if num_seeds > 1 else z_K
    trainings_K = np.where(seeds_K > 0, student_K * seeds_K, 0.0)
    both_K = np.hypot(z_K * questions_K * np.sqrt(np.maximum(kept_share_K, 0.0)), trainings_K)
    widest_K: Floats = np.maximum(both_K, z_K * questions_K)
    return widest_K


def mean_over_seeds(values_SBK: Floats) -> Estimate:
    """The mean of a number over seeds, and where it would be with other seeds and questions.

    Two parts add up by the squares of their half-widths (Zou and Donner 2008, Statistics in
    Medicine 27): the percentile bootstrap of the mean over these seeds, the same clusters in each,
    and Student's t of S - 1 degrees of freedom with the variance of the seeds' own numbers. Seeds
    share the questions as readers share cases (Obuchowski and Rockette 1995, Communications in
    Statistics 24). What each seed answers differently by chance is in both parts, and half of it
    is taken off each: all of it off the second would make an interval that covers as little as 91%
    of the time with three seeds, none 99%. The interval is never narrower than the first part.
    Of a single seed it covers the questions only.
    """
    means_BK, num_seeds = values_SBK.mean(axis=0), len(values_SBK)
    mean_K, variance_K = means_BK[0], means_BK[1:].var(axis=0)
    low_K, high_K = percentile_interval(means_BK)
    seeds_K, kept_share_K = np.zeros_like(mean_K), np.ones_like(mean_K)
    chance_K, trainings_K = np.zeros_like(mean_K), np.zeros_like(mean_K)
    deviation_K = np.full_like(mean_K, np.nan)
    if num_seeds > 1:
        deviation_K = values_SBK[:, 0].std(axis=0, ddof=1)
        disagreement_K = values_SBK[:, 1:].var(axis=1).mean(axis=0) - variance_K
        half_chance_K = num_seeds / (num_seeds - 1) * disagreement_K / 2
        chance_K = np.maximum(2 * half_chance_K, 0.0)
        trainings_K = np.maximum(deviation_K**2 - chance_K, 0.0)
        seeds_K = np.sqrt(np.maximum(deviation_K**2 - half_chance_K, 0.0) / num_seeds)
        kept_share_K = 1 - half_chance_K / num_seeds / np.where(variance_K > 0, variance_K, 1.0)
    below_K, above_K = np.maximum(mean_K - low_K, 0.0), np.maximum(high_K - mean_K, 0.0)

    def width(questions_K: Floats, z_K: Floats) -> Floats:
        return half_width(z_K, num_seeds, questions_K, kept_share_K, seeds_K)

    def p_value(questions_K: Floats) -> Floats:
        """The level at which the interval just reaches 0, by bisection."""
        near_K, far_K = np.zeros_like(mean_K), np.full_like(mean_K, FARTHEST)
        for _ in range(60):
            z_K = (near_K + far_K) / 2
            short_K = width(questions_K, z_K) < np.abs(mean_K)
            near_K, far_K = np.where(short_K, z_K, near_K), np.where(short_K, far_K, z_K)
        return np.where(np.isnan(questions_K + mean_K), np.nan, 2 * ndtr(-far_K))

    level_K = np.full_like(mean_K, Z)
    return Estimate(
        mean_K,
        mean_K - width(below_K / Z, level_K),
        mean_K + width(above_K / Z, level_K),
        deviation_K,
        p_value(np.where(mean_K > 0, below_K, above_K) / Z),
        np.maximum(variance_K - chance_K / num_seeds, 0.0),
        chance_K,
        trainings_K,
    )


def holm(p_values: Iterable[float]) -> Floats:
    """P-values corrected for the number of tests in a family (Holm 1979).

    At most 5% of families have one below 0.05 of a mean that is 0 in truth; a table of several
    families has one more often. An empty p-value, NaN, is no test and stays empty.
    """
    values_T = np.array(list(p_values), dtype=np.float64)
    corrected_T = np.full_like(values_T, np.nan)
    order = np.argsort(values_T, kind="stable")[: np.isfinite(values_T).sum()]
    steps = values_T[order] * np.arange(len(order), 0, -1)
    corrected_T[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected_T
