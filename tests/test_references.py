"""References: what is expected of a question comes from elsewhere, and luck does not count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from support.replays import World, hull_table
from vovnet.config import PolicySettings, merge, validate
from vovnet.core.arrays import Floats
from vovnet.core.errors import DataError
from vovnet.core.stats import Curves
from vovnet.evaluation.ceilings import _by_dataset, _captured
from vovnet.evaluation.clusters import draw_resamples
from vovnet.evaluation.columns import ALL_SETS
from vovnet.evaluation.expected import (
    PRIOR,
    cross_fitted,
    head_policies,
    told_by_other_seeds,
)
from vovnet.evaluation.frontier import chosen_at_every_lambda
from vovnet.evaluation.ground import Ground, Points
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.evaluation.references import Comparison
from vovnet.evaluation.replay import Observed, load_observed
from vovnet.pipeline.trained_model import TrainedModel

POLICIES = head_policies(PolicySettings())


@pytest.fixture(scope="module")
def asked(evaluated: World) -> tuple[Questions, Observed]:
    """The first 200 questions of the graded set, and what seed 0 did on them."""
    settings, layout = evaluated
    questions = load_questions(settings, layout, "graded", 200)
    trained = TrainedModel(settings, layout, "vovnet", 0)
    return questions, load_observed(trained, questions, policies=POLICIES)


def with_scores(observed: Observed, scores_NA: Floats) -> Observed:
    views = {
        action: observed.views[action].assign(score=scores_NA[:, place])
        for place, action in enumerate(observed.actions)
    }
    return replace(observed, views=views)


def test_the_ceiling_is_not_told_a_questions_own_outcome(
    asked: tuple[Questions, Observed],
) -> None:
    """Nor those of its cluster: rows 7 and 8 share an image."""
    questions, observed = asked
    clusters_N = np.arange(200)
    clusters_N[8:] -= 1
    expected_NA = cross_fitted(POLICIES, questions, observed, clusters_N, 0)
    changed_NA = observed.scores.copy()
    changed_NA[7] = 1 - changed_NA[7]
    other = with_scores(observed, changed_NA)
    again_NA = cross_fitted(POLICIES, questions, other, clusters_N, 0)
    assert expected_NA is not None and again_NA is not None
    assert (again_NA[7:9] == expected_NA[7:9]).all()
    assert (again_NA != expected_NA).any(axis=1).mean() > 0.5
    assert cross_fitted(POLICIES, questions, observed, np.zeros(200, dtype=int), 0) is None


def test_the_ceiling_knows_the_questions_it_is_fitted_on(
    asked: tuple[Questions, Observed],
) -> None:
    """Categories tell the need: what is expected is closer to the outcomes than their average."""
    questions, observed = asked
    expected_NA = cross_fitted(POLICIES, questions, observed, np.arange(200), 0)
    assert expected_NA is not None
    error, chance = (
        ((scores_NA - observed.scores) ** 2).mean()
        for scores_NA in (expected_NA, observed.scores.mean(axis=0))
    )
    assert error < 0.8 * chance


@pytest.mark.parametrize(
    ("name", "key"), [("graded", r"data\.eval_sets\.graded"), ("router_fit", r"data\.router_fit")]
)
def test_an_error_of_a_fit_names_the_set(
    asked: tuple[Questions, Observed], name: str, key: str
) -> None:
    """A ceiling is fitted on the evaluation set itself, and not on `data.router_fit`."""
    mute = [item.model_copy(update={"question": "?", "choices": {}}) for item in asked[0].samples]
    questions = replace(asked[0], name=name, samples=mute)
    with pytest.raises(DataError, match=f"^{key}: no question has a word"):
        cross_fitted(POLICIES, questions, asked[1], np.arange(200), 0)


def test_outcomes_elsewhere_by_hand() -> None:
    prior_N1 = np.full((4, 1), 0.5)
    scores_SNA = np.array([[[1.0], [0], [1], [1]], [[0], [0], [1], [0]], [[1], [0], [1], [1]]])
    found = told_by_other_seeds(prior_N1, scores_SNA, 0)
    assert found is not None
    assert found[:, 0] == pytest.approx((PRIOR * 0.5 + np.array([1, 0, 2, 1])) / (PRIOR + 2))
    assert told_by_other_seeds(prior_N1, scores_SNA[:1], 0) is None, "nothing is elsewhere"


def test_luck_is_no_knowledge(asked: tuple[Questions, Observed]) -> None:
    """Coins instead of answers: a choice by the outcomes gains, one by outcomes elsewhere not."""
    questions, observed = asked
    rng = np.random.default_rng(0)
    scores_SNA = (rng.random((3, *observed.scores.shape)) < [0.3, 0.5, 0.7]).astype(float)
    coins = with_scores(observed, scores_SNA[0])
    ceiling_NA = cross_fitted(POLICIES, questions, coins, np.arange(200), 0)
    assert ceiling_NA is not None
    expected_NA = told_by_other_seeds(ceiling_NA, scores_SNA, 0)
    assert expected_NA is not None
    costs_A = coins.vision_tokens.mean(axis=0)
    line = np.interp(8, costs_A[[0, 2]], scores_SNA[0].mean(axis=0)[[0, 2]])
    gains = []
    for chosen_NA in (scores_SNA[0], expected_NA):
        actions_NP = chosen_at_every_lambda(chosen_NA, coins.vision_tokens.astype(float))
        costs_P, scores_P = (
            np.take_along_axis(values_NA, actions_NP, axis=1).mean(axis=0)
            for values_NA in (coins.vision_tokens, coins.scores)
        )
        order = costs_P.argsort()
        gains.append(np.interp(8, costs_P[order], scores_P[order]) - line)
    assert gains[0] > 0.2
    assert gains[1] < 0.08


def test_a_baseline_that_is_reduced_is_no_reference(evaluated: World) -> None:
    settings, layout = evaluated
    reduced = {"experiments": {"bayes": {"policy": {"reduce": "prune-stride-0.25"}}}}
    found = [
        Comparison(made, layout, ["vovnet", "bayes"]).beside("vovnet", "graded", 0, "bayes_router")
        for made in (settings, validate(merge(settings.model_dump(), reduced), "test"))
    ]
    assert found == ["bayes", None]


def test_sets_of_other_questions_are_drawn_by_themselves(evaluated: World) -> None:
    """Both have 600: drawn alike, a mean over them would vary as if they were one set."""
    settings, layout = evaluated
    graded, again, even = (
        draw_resamples(load_questions(settings, layout, name), settings.eval).counts.astype(float)
        for name in ("graded", "graded", "even")
    )
    assert (graded == again).all() and graded.shape == even.shape
    assert abs(np.corrcoef(graded[1:].ravel(), even[1:].ravel())[0, 1]) < 0.02


def ground(costs_A: tuple[float, ...], accuracies_A: tuple[float, ...]) -> Ground:
    fixed = Points(np.array([costs_A]), np.array([accuracies_A]))
    return Ground(np.zeros(0, dtype=bool), fixed, 2, Curves(*fixed_values(fixed)))


def fixed_values(fixed: Points) -> tuple[Floats, Floats]:
    return fixed.costs, fixed.accuracies


def test_one_action_per_dataset_by_hand() -> None:
    """One set needs FULL, the other no image: all looks go to the first.

    At half of FULL's mean cost the first is shown in full, 0.8, and the second never, 0.6. The same
    mixture on both reaches half of the way from (0.2 + 0.6) / 2 to (0.8 + 0.6) / 2.
    """
    sets = [ground((0, 4, 16), (0.2, 0.35, 0.8)), ground((0, 4, 16), (0.6, 0.6, 0.6))]
    found = _by_dataset(sets).gains[0]
    assert found[1] == pytest.approx(100 * ((0.8 + 0.6) / 2 - (0.4 + 0.7) / 2))
    assert found[0] == pytest.approx(100 * ((0.5 + 0.6) / 2 - (0.4 + 0.25 * 0.3)))
    assert _by_dataset([sets[0], sets[0]]).gains[0] == pytest.approx([0, 0, 0])


def test_files_tell_captured_shares_and_references(evaluated: World) -> None:
    """Shares are the means of those of the seeds; references hold for every set."""
    _, layout = evaluated
    captured = hull_table(layout, "captured").set_index(["dataset", "experiment"])
    metrics = hull_table(layout, "hull_metrics").groupby(["dataset", "experiment"])
    for reference in ("oracle", "bayes"):
        means = metrics[f"hull_to_{reference}_captured"].mean().dropna()
        told = captured[captured["reference"] == reference]["captured"]
        assert told.to_dict() == pytest.approx(means.to_dict())
    assert (captured["captured_lo"] <= captured["captured"]).all()
    assert (captured["captured"] <= captured["captured_hi"]).all()
    assert (captured["num_seeds"] == 2).all()
    found = pd.read_csv(layout.hull / "references.csv", dtype={"at": str})
    half = found[found["at"] == "50"].set_index(["unit", "dataset", "reference"])["gain"]
    for unit in ("tokens", "flops"):
        gains = half[unit]
        for dataset in ("graded", "even"):
            assert gains[dataset, "by_text"] > 5
            assert gains[dataset, "by_text"] < gains[dataset, "expected"] < gains[dataset, "oracle"]
        assert gains.loc[ALL_SETS].index.tolist() == ["dataset"]


def test_a_resample_without_anything_to_capture_is_left_out_and_counted() -> None:
    """Of many such resamples no interval is told: all of them might lie beyond one of its ends."""
    shares_SB = np.random.default_rng(0).normal(0.9, 0.05, (3, 1001))
    shares_SB[1, 5] = np.nan
    few = _captured(shares_SB)
    assert few["undefined"] == pytest.approx(0.001)
    assert few["captured_lo"] < few["captured"] < few["captured_hi"]
    shares_SB[1, :40] = np.nan
    assert _captured(shares_SB)["undefined"] == pytest.approx(0.039)
    shares_SB[1, 0] = 0.9
    assert np.isnan(_captured(shares_SB)["captured_lo"])


def test_a_choice_at_every_lambda_does_not_depend_on_the_unit_of_cost() -> None:
    """FLOPs are billions: the prices at which actions change places are then next to nothing."""
    rng = np.random.default_rng(0)
    worth_NA, costs_NA = rng.random((40, 3)), np.tile([0.0, 4.0, 16.0], (40, 1))
    actions_NP = chosen_at_every_lambda(worth_NA, costs_NA)
    assert (chosen_at_every_lambda(worth_NA, 2.0**40 * costs_NA) == actions_NP).all()
    assert (actions_NP[:, 0] == worth_NA.argmax(axis=1)).all() and (actions_NP[:, -1] == 0).all()
    assert (
        chosen_at_every_lambda(worth_NA, 0 * costs_NA) == worth_NA.argmax(axis=1)[:, None]
    ).all()
