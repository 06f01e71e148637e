"""Resamples of clusters, intervals over questions and seeds, and Holm's correction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from support.properties import given, st
from vovnet.core.arrays import unit_codes
from vovnet.core.resampling import (
    LEVEL,
    Resamples,
    cluster_codes,
    holm,
    mean_over_seeds,
    percentile_interval,
)

# ---- clusters --------------------------------------------------------------------------


def test_clusters_by_hand() -> None:
    """Passes 0 and 1 are a question; it shares an image with 3, which shares another with 4."""
    units_N = np.array([0, 0, 1, 2, 3, 4])
    images = [["a"], ["b"], ["c"], ["b", "d"], ["d"], []]
    assert cluster_codes(units_N, images).tolist() == [0, 1, 0, 0, 2]
    assert cluster_codes(np.arange(3), [[], [], []]).tolist() == [0, 1, 2]


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=12))
def test_clusters_are_what_shared_images_connect(images: list[list[int]]) -> None:
    """As by joining any two that share one until nothing changes."""
    found = list(range(len(images)))
    for _ in images:
        for left, own in enumerate(images):
            for right, other in enumerate(images):
                if set(own) & set(other):
                    found[left] = found[right] = min(found[left], found[right])
    names = [[str(image) for image in own] for own in images]
    assert (cluster_codes(np.arange(len(images)), names) == unit_codes(found)).all()


def test_resamples_draw_as_many_clusters_as_there_are() -> None:
    clusters_U = np.arange(50)
    counts_BC = Resamples.draw(clusters_U, 600, seed=3).counts
    assert counts_BC.shape == (601, 50) and counts_BC.itemsize == 1
    assert (counts_BC[0] == 1).all()
    assert (counts_BC.sum(axis=1) == 50).all()
    assert (Resamples.draw(clusters_U, 600, seed=3).counts == counts_BC).all()
    assert (Resamples.draw(clusters_U, 600, seed=4).counts != counts_BC).any()
    # A cluster is left out of a resample with probability (1 - 1/50)^50.
    assert (counts_BC == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)


def test_means_by_hand() -> None:
    """Three questions in two clusters; cost is a mean over rows, and question 1 has two."""
    counts_BC = np.array([[1, 1], [2, 0], [0, 2]], dtype=np.uint8)
    resamples = Resamples(counts_BC, np.array([0, 0, 1]))
    scores_U1 = np.array([[1.0], [0], [1]])
    assert resamples.means(scores_U1)[:, 0].tolist() == [2 / 3, 1 / 2, 1]
    costs_N1, units_N = np.array([[3.0], [6], [0], [16]]), np.array([0, 1, 1, 2])
    assert resamples.means(costs_N1, units_N)[:, 0].tolist() == [25 / 4, 3, 16]


def test_one_cluster_tells_nothing_of_others() -> None:
    found = Resamples.draw(np.zeros(5, dtype=int), 10, seed=0).means(np.ones((5, 1)))
    assert found[0] == 1 and np.isnan(found[1:]).all()


# ---- intervals -------------------------------------------------------------------------


def test_the_interval_has_the_width_of_theory() -> None:
    """Also where the questions of an image are all right or all wrong: fewer clusters count."""
    rng = np.random.default_rng(1)
    scores_U1 = (rng.random((1000, 1)) < 0.6).astype(float)
    expected = 2 * 1.959964 * scores_U1.std() / math.sqrt(1000)
    low, high = percentile_interval(Resamples.draw(np.arange(1000), 4000, 1).means(scores_U1))
    assert high[0] - low[0] == pytest.approx(expected, rel=0.05)
    resamples = Resamples.draw(np.repeat(np.arange(1000), 4), 4000, 1)
    low, high = percentile_interval(resamples.means(np.repeat(scores_U1, 4, axis=0)))
    assert high[0] - low[0] == pytest.approx(expected, rel=0.05)


def test_policies_are_paired() -> None:
    """A policy that differs on 20 of 1,000 questions: the difference is known closely."""
    rng = np.random.default_rng(2)
    first_U = (rng.random(1000) < 0.5).astype(float)
    second_U = first_U.copy()
    second_U[np.flatnonzero(first_U == 0)[:20]] = 1
    scores_UK = np.stack([first_U, second_U], axis=1)
    means_BK = Resamples.draw(np.arange(1000), 2000, seed=0).means(scores_UK)
    low, high = percentile_interval(means_BK[:, 1:] - means_BK[:, :1])
    assert 0 < low[0] < 0.02 < high[0] < 0.03


def normal_seeds(
    seeds: int, trainings: float, questions: float, both: float, count: int
) -> np.ndarray:
    """Means that vary by known parts, and 400 resamples of each: (S, B, K), the truth is 0."""
    rng = np.random.default_rng(0)
    shared_K, own_SK = rng.normal(0, questions, count), rng.normal(0, both, (seeds, count))
    means_SK = rng.normal(0, trainings, (seeds, count)) + shared_K + own_SK
    drawn_BK = rng.normal(0, questions, (400, count))
    drawn_SBK = means_SK[:, None] + drawn_BK + rng.normal(0, both, (seeds, 400, count))
    return np.concatenate([means_SK[:, None], drawn_SBK], axis=1)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("trainings", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize(("questions", "both"), [(1.0, 0.0), (1.0, 1.0), (0.2, 1.0)])
def test_intervals_of_few_seeds_cover(
    seeds: int, trainings: float, questions: float, both: float
) -> None:
    """Whatever the share of the trainings, the questions, and what both do together."""
    values_SBK = normal_seeds(seeds, trainings, questions, both, 3000)
    found = mean_over_seeds(values_SBK)
    covered = ((found.low <= 0) & (found.high >= 0)).mean()
    assert 0.925 <= covered <= 0.98
    excluded = (found.low > 0) | (found.high < 0)
    assert (excluded == (found.p_value < 1 - LEVEL)).all()


def test_resampling_three_seeds_would_be_too_narrow() -> None:
    """What `mean_over_seeds` is there for: questions alone, and seeds drawn with replacement."""
    values_SBK = normal_seeds(3, 1.0, 1.0, 0.0, 2000)
    low, high = percentile_interval(values_SBK.mean(axis=0))
    assert ((low <= 0) & (high >= 0)).mean() < 0.93
    drawn_BS = np.random.default_rng(1).multinomial(3, [1 / 3] * 3, size=400) / 3
    both = np.einsum("bs,sbk->bk", drawn_BS, values_SBK[:, 1:])
    low, high = percentile_interval(np.concatenate([both[:1], both]))
    assert ((low <= 0) & (high >= 0)).mean() < 0.93


def test_a_single_seed_has_the_interval_of_its_questions() -> None:
    values_SBK = normal_seeds(1, 1.0, 1.0, 1.0, 50)
    found, (low, high) = mean_over_seeds(values_SBK), percentile_interval(values_SBK[0])
    assert np.isnan(found.deviation).all()
    inside = (low <= found.value) & (found.value <= high)
    assert inside.any()
    assert found.low[inside] == pytest.approx(low[inside])
    assert found.high[inside] == pytest.approx(high[inside])


def test_p_values_by_hand() -> None:
    """One seed, a symmetric bootstrap with a standard error of 1, and a mean of 3."""
    spread_B = np.linspace(-1, 1, 4001) * 1.959964 / 0.95
    for mean, expected in ((3.0, 0.0026998), (-3.0, 0.0026998), (0.0, 1.0)):
        values_SBK = (mean + np.concatenate([[0.0], spread_B]))[None, :, None]
        assert mean_over_seeds(values_SBK).p_value.item() == pytest.approx(expected, rel=1e-3)
    same = np.full((3, 100, 1), 0.0)
    found = mean_over_seeds(same)
    assert (found.low.item(), found.high.item(), found.p_value.item()) == (0, 0, 1)
    unknown = mean_over_seeds(np.where(np.arange(100)[:, None] == 0, 1.0, np.nan)[None])
    assert math.isnan(unknown.low.item()) and math.isnan(unknown.p_value.item())


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]).tolist() == pytest.approx([0.04, 0.09, 0.09, 0.5])
    found = holm([0.03, math.nan, 0.02])
    assert found[[0, 2]].tolist() == pytest.approx([0.04, 0.04]) and math.isnan(found[1])
    assert holm([]).tolist() == []


def test_holm_errs_in_one_table_of_twenty() -> None:
    """Of 2,000 tables of 20 true hypotheses 5% have one that is called false, not 64%."""
    tables = np.random.default_rng(0).random((2000, 20))
    wrong = np.mean([(holm(table) < 0.05).any() for table in tables])
    assert 0.035 < wrong < 0.065
    assert (tables < 0.05).any(axis=1).mean() > 0.6
