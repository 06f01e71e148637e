"""Heads fitted afterwards: values by hand, graded scores, and experiments over stored states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from support.models import make_inference
from support.policies import blind_look
from support.replays import FIXED, GRADED, World, write_world
from support.worlds import settings_of
from vovnet import cli
from vovnet.config import PolicySettings, merge, policy_points, validate
from vovnet.core.arrays import Floats
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.core.records import read_states, read_table, signal_columns, write_states, write_table
from vovnet.evaluation.columns import read_results
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.evaluation.questions import load_questions
from vovnet.evaluation.replay import expectations, load_observed, load_routers, replay
from vovnet.inference.live import LivePolicy
from vovnet.inference.observe import observe_shard
from vovnet.inference.shards import gather
from vovnet.pipeline.catalogue import POLICIES, STEPS
from vovnet.pipeline.code_digest import code_files, plugin_module
from vovnet.pipeline.keys import step_code, step_digest, step_settings
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies import named_kind
from vovnet.policies.base import Known, Router
from vovnet.policies.decide import decide
from vovnet.policies.experiments import resolve_experiment
from vovnet.policies.heads import VARIANCE
from vovnet.report.inputs import load_inputs, operating_points
from workflow import answer_length

HEADS = ("probe", "bag_of_words", "nearest_neighbours")


def fitted(
    name: str, known: Known, scores_NA: Floats, seed: int = 0, options: dict[str, Any] | None = None
) -> Router:
    kind = named_kind(name).router
    assert kind is not None
    policy = PolicySettings(baseline_name=name, options=options or {})
    return kind.fit(policy, known, scores_NA, np.zeros_like(scores_NA), seed)


def texts(*questions: str) -> Known:
    return np.array(questions, dtype=object)


def seen(name: str, count: int, rng: np.random.Generator) -> Known:
    """What a head is told of `count` questions of two kinds, the first half and the second."""
    kind_N = np.repeat([0, 1], count // 2)
    if name == "bag_of_words":
        return texts(*(["what colour is it", "what is printed"][kind] for kind in kind_N))
    return kind_N[:, None] * [4.0, -4.0, 0.0] + rng.normal(0, 0.1, (count, 3))


# ---- values by hand ----------------------------------------------------------------------


def test_the_probe_is_where_its_loss_is_lowest() -> None:
    """Cross-entropy with graded targets and a prior: both derivatives vanish there."""
    states_N1 = np.array([[0.0], [1.0], [2.0], [3.0]])
    scores_N = np.array([0.3, 0.0, 0.9, 1.0])
    expected_N = fitted("probe", states_N1, scores_N[:, None]).expected(states_N1).correctness[:, 0]
    assert expected_N.mean() == pytest.approx(scores_N.mean(), abs=1e-4)
    standard_N = (states_N1[:, 0] - 1.5) / np.sqrt(1.25)
    logits_N = np.log(expected_N / (1 - expected_N))
    (weight,) = {round(float(slope), 6) for slope in np.diff(logits_N) / np.diff(standard_N)}
    assert weight == pytest.approx(VARIANCE * (standard_N @ (scores_N - expected_N)), abs=1e-2)
    assert weight > 1


def test_words_that_tell_nothing_leave_the_average() -> None:
    graded_NA = np.array([[0.3, 1.0], [0.9, 0.6], [0.0, 0.2], [0.0, 0.6]])
    head = fitted("bag_of_words", texts(*["what is it"] * 4), graded_NA)
    asked = texts("What is it?", "is what it")
    assert head.expected(asked).correctness == pytest.approx(np.tile([0.3, 0.6], (2, 1)), abs=1e-3)


def test_words_tell_what_must_be_looked_at() -> None:
    asked = texts("what colour", "what letter", "Colour!", "letter, what?", "unheard")
    head = fitted("bag_of_words", asked[:2].repeat(50), np.repeat([[1.0], [0.0]], 50, axis=0))
    expected_N = head.expected(asked).correctness[:, 0]
    assert (expected_N[[0, 2]] > 0.8).all() and (expected_N[[1, 3]] < 0.2).all()
    assert expected_N[4] == pytest.approx(0.5, abs=0.01)


def test_neighbours_are_averaged_with_one_of_average_score() -> None:
    states_N1 = np.array([[0.0], [1.0], [10.0], [11.0]])
    scores_NA = np.array([[1.0, 1.0], [0.4, 1.0], [0.0, 1.0], [0.0, 1.0]])
    head = fitted("nearest_neighbours", states_N1, scores_NA, options={"neighbours": 2})
    average_A = (scores_NA.sum(axis=0) + 1) / 6
    wanted_NA = np.array([[1.4, 2], [1.4, 2], [0.0, 2]]) + average_A
    found_NA = head.expected(np.array([[-3.0], [4.0], [8.0]])).correctness
    assert found_NA == pytest.approx(wanted_NA / 3)
    everyone = fitted("nearest_neighbours", states_N1, scores_NA, options={"neighbours": 99})
    assert everyone.expected(states_N1).correctness[:, 0] == pytest.approx((1.4 + 2.4 / 6) / 5)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_action_that_is_always_right_or_never(name: str, value: float) -> None:
    """Nothing is to be told apart: Laplace's rule, and no other action suffers."""
    rng = np.random.default_rng(0)
    known = seen(name, 40, rng)
    scores_NA = np.stack([np.repeat([1.0, 0.0], 20), np.full(40, value)], axis=1)
    expected_NA = fitted(name, known, scores_NA).expected(known).correctness
    # Neighbours are all alike, and the one that is added is by Laplace's rule.
    share = {"nearest_neighbours": (20 * value + (40 * value + 1) / 42) / 21}
    assert expected_NA[:, 1] == pytest.approx(share.get(name, (40 * value + 1) / 42))
    assert (expected_NA[:20, 0] > 0.7).all() and (expected_NA[20:, 0] < 0.3).all()


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("count", [2, 5])
def test_heads_decide_over_any_actions(name: str, count: int) -> None:
    """The first kind of question needs nothing, the second the dearest action."""
    names = ["no", "side-32", "side-64", "side-96", "full"] if count == 5 else ["no", "full"]
    known = seen(name, 60, np.random.default_rng(1))
    scores_NA = np.ones((60, count))
    scores_NA[30:, :-1] = 0
    head = fitted(name, known, scores_NA)
    table = pd.DataFrame({key: np.zeros(60) for key in signal_columns(names)})
    for cost, action in enumerate(names):
        table[f"tokens_{action}"] = 4 * cost
    for value, wanted in ((0.04, [0, count - 1]), (10.0, [0, 0])):
        policy = PolicySettings(baseline_name=name, lambda_cost=value)
        asked = [f"q{row}" for row in range(60)]
        told = {"questions": asked, "expected": head.expected(known)}
        chosen = decide(policy, names, table, blind_look, **told).actions
        assert chosen.reshape(2, 30).tolist() == [[action] * 30 for action in wanted]


# ---- fits --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_fits_repeat_to_the_byte(name: str) -> None:
    known = seen(name, 50, np.random.default_rng(2))
    scores_NA = np.random.default_rng(3).choice([0.0, 0.3, 1.0], (50, 3))
    first, second = (fitted(name, known, scores_NA, 7).expected(known) for _ in range(2))
    assert first.correctness.tobytes() == second.correctness.tobytes()
    assert ((first.correctness > 0) & (first.correctness < 1)).all()
    rows = np.array([3, 41])
    alone = fitted(name, known, scores_NA, 7).expected(known[rows]).correctness
    assert alone == pytest.approx(first.take(rows).correctness, abs=1e-12)


def test_a_hidden_layer_tells_what_no_line_can() -> None:
    """Right where two features agree; the seed draws the first weights."""
    rng = np.random.default_rng(4)
    states_N2 = rng.choice([-1.0, 1.0], (200, 2)) + rng.normal(0, 0.1, (200, 2))
    scores_N1 = (states_N2.prod(axis=1, keepdims=True) > 0).astype(float)
    options = {"hidden_units": 8}
    found = [fitted("probe", states_N2, scores_N1, seed, options) for seed in (0, 0, 1)]
    one, again, other = (head.expected(states_N2).correctness for head in found)
    assert one.tobytes() == again.tobytes() != other.tobytes()
    assert ((one > 0.5) == (scores_N1 > 0.5)).mean() > 0.95
    linear_N1 = fitted("probe", states_N2, scores_N1).expected(states_N2).correctness
    assert np.ptp(linear_N1) < 0.5


def test_questions_without_words_are_an_error() -> None:
    with pytest.raises(DataError, match=r"^no question has a word"):
        fitted("bag_of_words", texts("?", ""), np.array([[0.0], [1.0]]))


# ---- experiments over stored states ------------------------------------------------------

SWEEP = {"lambda_cost": [0.0, 0.01, 0.02, 0.05]}
EXPERIMENTS = {
    name: {"title": name, "policy": {"baseline_name": name}, "sweep": SWEEP} for name in HEADS
}
EXPERIMENTS["correctness"] = {
    "title": "VoVNet, by correctness",
    "role": "vovnet",
    "policy": {"objective": "correctness"},
    "sweep": SWEEP,
}


@pytest.fixture
def replayed(tmp_path: Path) -> World:
    return write_world(tmp_path, {"graded": GRADED}, [0, 1], 200, {"experiments": {**EXPERIMENTS}})


def test_experiments_follow_the_states(replayed: World) -> None:
    """The states tell the need, the questions' words do not."""
    settings, layout = replayed
    costs, right = {}, {}
    for name in HEADS:
        evaluate_experiment(settings, layout, name)
        rows = read_results(layout.eval(name) / "results.csv")
        assert (rows["avg_cost"].diff()[rows["lambda_cost"] > 0] <= 0).all()
        at = rows[rows["lambda_cost"] == 0.02]
        costs[name], right[name] = at["avg_cost"].mean(), at["accuracy"].mean()
    for name in ("probe", "nearest_neighbours"):
        assert right[name] > 0.75 and costs[name] < 10
    assert right["bag_of_words"] < right["probe"] - 0.1


def test_vovnet_by_correctness_is_the_probe_within_its_action_space(replayed: World) -> None:
    """It follows no trained score, and keeps the keys of the learned policy."""
    settings, layout = replayed
    value = settings.model_dump()
    value["experiments"]["binary"] = merge(
        value["experiments"]["correctness"], {"policy": {"action_space": "binary"}}
    )
    settings = validate(value, "test")
    for name in ("probe", "correctness", "binary"):
        evaluate_experiment(settings, layout, name)
    probe, own, binary = (
        read_results(layout.eval(name) / "results.csv")
        for name in ("probe", "correctness", "binary")
    )
    assert set(own["objective"]) == {"correctness"} and "objective" not in probe
    named = ["experiment", "baseline_name", "objective"]
    pd.testing.assert_frame_equal(own.drop(columns=named), probe.drop(columns=named[:2]))
    assert (probe["action_rate_coarse"] > 0).any() and (binary["action_rate_coarse"] == 0).all()
    assert step_code(settings, "evaluate", experiment="correctness") != step_code(
        settings, "evaluate", experiment="vovnet"
    ), "an edit of the head's module is seen"
    trained = validate(merge(value, {"policy": {"objective": "correctness"}}), "test")
    for step in (
        {"step": "train", "stage": 2},
        {"step": "observe", "eval_set": next(iter(settings.data.eval_sets))},
    ):
        digests = {step_digest(item, run="vovnet", seed=0, **step) for item in (settings, trained)}
        assert len(digests) == 1, "what is trained and observed does not depend on it"


def test_tables_show_lambdas_of_other_units_at_like_cost(tmp_path: Path) -> None:
    """They are no common measure, in objective or price: VoVNet's stands where the report says."""
    fallback = {
        "title": "VoVNet, falls back to COARSE",
        "role": "vovnet",
        "policy": {"fallback_mode": "coarse", "fallback_entropy_threshold": 0.5},
        "sweep": SWEEP,
    }
    share = {
        "title": "VoVNet, by the share of FULL",
        "role": "vovnet",
        "policy": {"lambda_unit": "share_of_full"},
        "sweep": SWEEP,
    }
    change = {
        "experiments": EXPERIMENTS | {"fallback": fallback, "share": share},
        "eval": {"bootstrap_samples": 20},
    }
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], 100, change)
    value = settings.model_dump()
    shown = ("vovnet", "correctness", "fallback", "share", *FIXED)
    value["experiments"] = {name: value["experiments"][name] for name in shown}
    settings = validate(value, "test")
    for name in shown:
        evaluate_experiment(settings, layout, name)
    hull_metrics(settings, layout)
    rows = operating_points(load_inputs(settings, layout)).set_index("experiment")
    assert rows.loc["vovnet", "lambda_cost"] == settings.report.target_lambda
    target = SWEEP["lambda_cost"].index(settings.report.target_lambda)
    for name in ("correctness", "share"):
        costs = read_results(layout.eval(name) / "results.csv")["avg_cost"]
        apart = (costs - rows.loc["vovnet", "avg_cost_mean"]).abs()
        assert rows.loc[name, "avg_cost_mean"] == costs[apart.idxmin()]
        assert costs[target] != costs[apart.idxmin()]


def test_correctness_does_not_depend_on_the_length_of_answers(replayed: World) -> None:
    """Losses of answers ten times as long, and scores that are trained on them, change nothing."""
    settings, layout = replayed
    found = {}
    for length in (1, 10):
        path = layout.observations("vovnet", 0, "graded") / "signals.parquet"
        columns = signal_columns(settings.actions)
        signals, noise = read_table(path, columns), np.random.default_rng(0)
        for name in (f"score_{action}" for action in settings.actions):
            signals[name] = length * signals[name] + noise.normal(0, length - 1, len(signals))
        write_table(path, signals, columns)
        for name in ("vovnet", "correctness"):
            evaluate_experiment(settings, layout, name)
            rows = read_results(layout.eval(name) / "results.csv")
            found[name, length] = rows[["accuracy", "avg_cost"]].to_numpy()
    assert (found["correctness", 1] == found["correctness", 10]).all()
    assert (found["vovnet", 1] != found["vovnet", 10]).any(), "the scores were changed"
    sample = load_questions(settings, layout, "graded").samples[0]
    for factor in answer_length.FACTORS:
        longer = answer_length.lengthened(sample, factor).answer_text
        assert len(longer.split()) == factor * len(sample.answer_text.split())
        assert answer_length.shortened(longer, factor) == sample.answer_text, "scored as before"


@pytest.mark.parametrize(
    "actions", [["no", "full"], ["no", "side-64", "side-96", "full+merge-cosine-0.5", "full"]]
)
def test_experiments_over_any_actions(tmp_path: Path, actions: list[str]) -> None:
    change = {"actions": actions, "experiments": {"probe": EXPERIMENTS["probe"]}}
    shares = tuple(1 / len(actions) for _ in actions)
    settings, layout = write_world(tmp_path, {"even": shares}, [0], 200, change)
    evaluate_experiment(settings, layout, "probe")
    rows = read_results(layout.eval("probe") / "results.csv")
    taken = rows[[f"action_rate_{name}" for name in actions]].max()
    assert (taken > 0.05).all(), "each has questions that need it"
    told = read_json(layout.eval("probe") / "summary.json")["calibration"]
    assert [item["action"] for item in told] == actions
    assert all(item["brier"] < item["brier_of_mean"] for item in told[:-1])


def test_evaluations_repeat_to_the_byte(replayed: World) -> None:
    settings, layout = replayed
    files = [layout.eval("probe") / name for name in ("results.csv", "summary.json")]
    found = []
    for _ in range(2):
        evaluate_experiment(settings, layout, "probe")
        found.append([path.read_bytes() for path in files])
    assert found[0] == found[1]


def test_states_of_other_questions_are_an_error(replayed: World) -> None:
    settings, layout = replayed
    path = layout.observations("vovnet", 0, "router_fit") / "states.parquet"
    ids, states_NF = read_states(path)
    write_states(path, ids[::-1], states_NF)
    with pytest.raises(DataError, match=rf"{path}: the observed samples are not those of set"):
        evaluate_experiment(settings, layout, "probe")
    path.unlink()
    with pytest.raises(DataError, match=rf"{path}: file not found"):
        evaluate_experiment(settings, layout, "nearest_neighbours")
    evaluate_experiment(settings, layout, "bag_of_words")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"data": {"router_fit": []}},
            "is fitted on data.router_fit, which is empty, expected at least one part",
        ),
        (
            {"experiments": {"probe": {"policy": {"options": {"neighbours": 3}}}}},
            r"experiments\.probe\.policy\.options\.neighbours: unknown key",
        ),
        (
            {"experiments": {"probe": {"policy": {"options": {"hidden_units": -1}}}}},
            r"experiments\.probe\.policy\.options\.hidden_units: ",
        ),
        (
            {
                "policy": {"objective": "correctness", "feature_mode": "hidden_entropy"},
                "experiments": {"probe": {"policy": {"baseline_name": None}}},
            },
            r"experiments\.probe\.policy\.objective: .* expected policy\.feature_mode 'hidden'",
        ),
    ],
)
def test_faults_are_one_line(
    replayed: World, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    settings, layout = replayed
    value = merge(settings.model_dump(), change)
    with pytest.raises(ConfigError, match=message):
        resolve_experiment(validate(value, "test"), "probe")
    path = layout.root / "faulty.yaml"
    path.write_text(yaml.safe_dump(value))
    assert cli.main(["evaluate", "--config", str(path), "--experiment", "probe"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_edit_of_heads_touches_what_follows_them(replayed: World) -> None:
    """Their module is a plug-in of the steps that decide, and of no other policy."""
    settings, _ = replayed

    def files(name: str) -> set[str]:
        points = policy_points(settings, name)
        modules = {plugin_module(POLICIES, point.baseline_name) for point in points}
        found = code_files(STEPS["evaluate"].computed_by, sorted(filter(None, modules)))
        return {path.name for path in found}

    assert "heads.py" in files("probe") and "heads.py" not in files("bayes") | files("vovnet")
    assert {"router.py", "replay.py", "records.py"} <= files("probe")
    value = step_settings(settings, "evaluate", experiment="probe")
    assert value["data"]["router_fit"] == [
        {"dataset": "training", "split": "dev", "max_samples": None}
    ]
    assert step_settings(settings, "evaluate", experiment="vovnet")["data"]["router_fit"] == []


def test_live_runs_equal_replays(observed: Layout) -> None:
    """A state that is read alone decides as one that was stored."""
    settings = settings_of(observed, {"experiments": EXPERIMENTS, "eval": {"num_shards": 1}})
    trained = TrainedModel(settings, observed, "vovnet", 0)
    observe_shard(trained, "router_fit", 0, 1)
    gather(trained, "router_fit")
    inference = make_inference(settings)
    questions = load_questions(settings, observed, "synth_mmbench", max_questions=8)
    for name in EXPERIMENTS:
        policies = policy_points(settings, name)
        routers = load_routers(trained, policies)
        stored = load_observed(trained, questions, policies=policies)
        expected = expectations(routers, policies, questions, stored)
        ((key, router),) = routers.items()
        for policy in (policies[0], policies[-1]):
            live = LivePolicy(inference, observed, policy, router)
            found = [live(sample).row for sample in questions.samples]
            rows = replay(policy, questions, stored, expected).rows
            for column, own in (("action", "action"), ("text", "prediction"), ("flops", "flops")):
                assert [row[column] for row in found] == rows[own].tolist(), (name, column)
        assert np.ptp(expected[key].correctness, axis=0).max() > 0.1, "the questions differ"
