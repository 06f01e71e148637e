"""Questions by what they need: sorted by outcomes elsewhere, counted by their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from support.replays import World
from vovnet.core.arrays import unit_minima
from vovnet.core.resampling import Resamples
from vovnet.evaluation.ceilings import Ceilings
from vovnet.evaluation.columns import STRATA_COLUMNS, read_results
from vovnet.evaluation.expected import head_policies
from vovnet.evaluation.references import Comparison
from vovnet.evaluation.strata import strata_of


def test_a_question_needs_the_cheapest_view_that_likely_answers_it() -> None:
    """COARSE comes last in the list, and costs less than FULL."""
    costs_NA = np.tile([0.0, 16, 4], (5, 1))
    expected_NA = np.array([[0.6, 0.9, 0.9], [0.4, 0.9, 0.6], [0.4, 0.9, 0.5], [0.3, 0.5, 0.4]])
    assert strata_of(expected_NA, costs_NA[:4], np.arange(4)).tolist() == [0, 2, 1, -1]
    # Passes of one question count together: NO is right in one of them, FULL in both.
    passes_NA = np.array([[0.9, 0.9, 0.1], [0.1, 0.9, 0.1]])
    assert strata_of(passes_NA, costs_NA[:2], np.zeros(2, dtype=int)).tolist() == [1]


def test_kinds_of_questions_add_up_to_all_of_them(evaluated: World) -> None:
    """Shares to 1, accuracies and costs, weighted by them, to those of the results."""
    settings, layout = evaluated
    rows = pd.read_csv(layout.hull / "strata.csv", keep_default_na=False, na_values=[""])
    assert tuple(rows) == STRATA_COLUMNS
    assert set(rows["experiment"]) == set(settings.experiments)
    keys = ["dataset", "experiment", "seed", "point"]
    assert rows.groupby(keys)["share"].sum().to_numpy() == pytest.approx(1)
    for measure in ("accuracy", "avg_cost", "avg_flops"):
        parts = rows.assign(part=rows["share"] * rows[measure]).groupby(keys)["part"].sum()
        for name in ("vovnet", "entropy", "always_full"):
            results = read_results(layout.eval(name) / "results.csv")
            for (dataset, seed), found in results.groupby(["dataset", "seed"]):
                assert parts.loc[dataset, name, seed].tolist() == pytest.approx(
                    found[measure].tolist()
                )


def test_what_is_needed_is_what_helps(evaluated: World) -> None:
    """On each kind, the view that is needed answers far more than any cheaper one."""
    _, layout = evaluated
    rows = pd.read_csv(layout.hull / "strata.csv", keep_default_na=False, na_values=[""])
    means = rows.groupby(["experiment", "stratum"])[["accuracy", "look_rate"]].mean()
    names = {"no": "no_vision", "coarse": "always_coarse", "full": "always_full"}
    for cheaper, needed in (("no", "coarse"), ("no", "full"), ("coarse", "full")):
        there, below = (means.loc[(names[view], needed), "accuracy"] for view in (needed, cheaper))
        assert there > below + 0.3
    assert means.loc[("no_vision", "no"), "accuracy"] > 0.8
    looks = means["look_rate"].loc["vovnet"]
    assert looks["no"] < looks["coarse"] < looks["full"]


def test_a_questions_own_outcome_does_not_sort_it(evaluated: World) -> None:
    """What each seed answers is left out of its own kinds: they differ between the seeds."""
    settings, layout = evaluated
    comparison = Comparison(settings, layout, ["vovnet"], head_policies(settings.policy))
    ceilings = Ceilings(comparison)
    before = ceilings.strata("vovnet", "graded")
    assert set(before) == {0, 1} and (before[0] != before[1]).any()
    observed = comparison.observed("vovnet", "graded", 0)
    wrong = int(np.flatnonzero(before[0] == 0)[0])
    for table in observed.views.values():
        table.loc[wrong, "score"] = 0.0
    again = Ceilings(comparison).strata("vovnet", "graded")
    assert again[0][wrong] == 0
    assert (again[0] == before[0]).mean() > 0.98


def test_luck_in_circular_passes_sorts_no_question(evaluated: World) -> None:
    """One seed, coins as answers: each kind of question is as often right as all questions are.

    NO is right in half of the passes and so on 6.25% of the questions; sorted by what the other
    passes made of them, it would be on twice as many of those that it is said to answer.
    """
    settings, layout = evaluated
    stanza = settings.experiments["vovnet"].model_copy(update={"seeds": [0]})
    settings = settings.model_copy(update={"experiments": {"vovnet": stanza}})
    units_N, chances_A = np.arange(600) // 4, np.array([0.5, 0.7, 0.9])
    right: list[tuple[int, bool]] = []
    for draw in range(4):
        comparison = Comparison(settings, layout, ["vovnet"], head_policies(settings.policy))
        asked = replace(comparison.asked("vovnet", "graded")[0], units=units_N)
        comparison.questions[None] = (asked, Resamples.draw(np.arange(150), 10, 0))
        scores_NA = (np.random.default_rng(draw).random((600, 3)) < chances_A).astype(float)
        views = comparison.observed("vovnet", "graded", 0).views
        for place, action in enumerate(settings.actions):
            views[action]["score"] = scores_NA[:, place]
        ceilings = Ceilings(comparison)
        assert set(ceilings.expected("graded", 0)) == {"by_text"}
        kinds_U = ceilings.strata("vovnet", "graded")[0]
        right += zip(kinds_U.tolist(), unit_minima(scores_NA[:, 0], units_N) > 0, strict=True)
    table = pd.DataFrame(right, columns=["kind", "right"]).groupby("kind")["right"]
    truth = chances_A[0] ** 4
    error = np.sqrt(truth * (1 - truth) / table.count())
    assert (abs(table.mean() - truth) < 3 * error).all(), table.mean()
    assert table.count().max() < 600, "luck makes several kinds"
