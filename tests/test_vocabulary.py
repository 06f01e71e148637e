"""The routing literature's measures: values by hand, and the table that shows them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from support.replays import World, hull_table
from vovnet.core.vocabulary import (
    cost_save,
    gain_at_random,
    gap_at_oracle,
    perf_gain,
    rank_score,
)
from vovnet.report.inputs import load_inputs
from vovnet.report.tables import vocabulary

COSTS_A, ACCURACIES_A = np.array([1.0, 4, 16]), np.array([0.4, 0.6, 0.8])
COSTS_P, ACCURACIES_P = np.array([2.0, 6, 8, 12]), np.array([0.5, 0.7, 0.8, 0.84])


def test_values_by_hand() -> None:
    assert cost_save(COSTS_P, ACCURACIES_P, COSTS_A, ACCURACIES_A) == pytest.approx(0.5)
    assert math.isnan(cost_save(COSTS_P[:2], ACCURACIES_P[:2], COSTS_A, ACCURACIES_A))
    assert math.isnan(cost_save(COSTS_P, ACCURACIES_P, COSTS_A - 1, ACCURACIES_A[::-1]))
    assert perf_gain(ACCURACIES_P, ACCURACIES_A) == pytest.approx(0.05)
    assert gain_at_random(ACCURACIES_P, ACCURACIES_A) == pytest.approx(0.4)
    assert gap_at_oracle(ACCURACIES_P, 0.96) == pytest.approx(0.125)


def test_the_rank_score_by_hand() -> None:
    """At a quarter of the way down the logarithm from 16 to 1 cheapness is 0.25, and so on."""
    one = rank_score(np.array([8.0]), np.array([0.8]), COSTS_A)
    assert one == pytest.approx(1.1 * 0.8 * 0.25 / (0.1 * 0.8 + 0.25))
    assert rank_score(np.array([16.0]), np.array([1.0]), COSTS_A) == 0
    assert rank_score(np.array([20.0]), np.array([1.0]), COSTS_A) == 0, "dearer is not negative"
    assert rank_score(np.array([1.0]), np.array([1.0]), COSTS_A) == pytest.approx(1)
    both = rank_score(np.array([8.0, 1.0]), np.array([0.8, 0.4]), COSTS_A)
    assert both == max(one, 1.1 * 0.4 / 1.04)
    assert math.isnan(rank_score(COSTS_P, ACCURACIES_P, COSTS_A - 1))


def test_the_table_has_every_method(evaluated: World) -> None:
    settings, layout = evaluated
    table = vocabulary.table(load_inputs(settings, layout))
    rows = table.numbers.set_index(["dataset", "experiment"])
    for dataset in ("even", "graded"):
        assert rows.loc[(dataset, "always_full"), "cost_save_mean"] == 0
        assert rows.loc[(dataset, "always_full"), "perf_gain_mean"] == 0
        assert rows.loc[(dataset, "oracle"), "gap_at_oracle_mean"] == pytest.approx(0)
        assert rows.loc[(dataset, "oracle"), "cost_save_mean"] > 0.2
        assert rows.loc[(dataset, "vovnet"), "gap_at_oracle_mean"] == pytest.approx(0)
        assert rows.loc[(dataset, "always_coarse"), "gap_at_oracle_mean"] > 0.1
        assert math.isnan(rows.loc[(dataset, "no_vision"), "cost_save_mean"])
    flops = hull_table(layout, "hull_metrics", "flops")
    assert flops["rank_score"].between(0, 1).all()
    assert hull_table(layout, "hull_metrics")["rank_score"].isna().all()
