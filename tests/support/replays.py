"""Generated observations of a model whose need for vision is known, in the files of a real run.

Of each question it is fixed which views answer it. A view that does writes the gold option,
others write a wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vovnet.config import Settings, merge, validate
from vovnet.core.files import read_json, sha256_file, write_json
from vovnet.core.layout import Layout
from vovnet.core.records import (
    OBSERVATION_COLUMNS,
    ImageRef,
    Sample,
    read_table,
    signal_columns,
    write_states,
    write_table,
)
from vovnet.data.samples import write_samples
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.match import write_matched
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

World = tuple[Settings, Layout]

TOKENS = np.array([0, 4, 16])
FURTHER_TOKENS = {"side-64": 4, "side-96": 9, "full+merge-cosine-0.5": 8}
"""What views cost that are no action by default."""

OPTIONS = {"A": "red", "B": "green", "C": "blue", "D": "yellow"}
LAMBDAS = [0.0, 0.005, 0.01, 0.02, 0.05, 0.1]
GRADED = (0.4, 0.3, 0.3)
"""Shares of questions that need NO, COARSE, FULL: looking coarsely is worth its cost."""

EVEN = (0.4, 0.15, 0.45)
"""COARSE costs a quarter of FULL and brings a quarter of its gain: it lies on the NO-FULL line."""

FIXED = ("no_vision", "always_coarse", "always_full")


def configuration(root: Path, sets: list[str], seeds: list[int]) -> dict[str, Any]:
    """A small suite: every kind of replayed policy on `sets`."""
    lambdas = {"lambda_cost": LAMBDAS}
    single = {name: {"title": name, "policy": {"baseline_name": name}} for name in FIXED}
    oracles = ("oracle", "oracle_full_correct")
    references = {name: {"title": name, "policy": {"baseline_name": name}} for name in oracles}
    return {
        "results_dir": str(root),
        "data": {
            "datasets": {
                name: {"format": "mmbench", "root": "raw", "files": {"dev": "dev.tsv"}}
                for name in [*sets, "training"]
            },
            "eval_sets": {name: {"dataset": name, "split": "dev"} for name in sets},
            "router_fit": [{"dataset": "training", "split": "dev"}],
        },
        "seeds": seeds,
        "eval": {"bootstrap_samples": 500},
        "experiments": {
            "vovnet": {"title": "VoVNet", "role": "vovnet", "sweep": lambdas},
            **{name: item | {"role": "fixed"} for name, item in single.items()},
            **{name: item | {"role": "reference"} for name, item in references.items()},
            "entropy": {
                "title": "Entropy",
                "policy": {"baseline_name": "uncertainty_threshold"},
                "sweep": {"baseline_threshold": [0.3, 0.6, 0.9]},
            },
            "random": {
                "title": "Random, matched",
                "role": "random",
                "policy": {"baseline_name": "random_policy_matched"},
                "match": {"experiment": "vovnet", "lambda_costs": LAMBDAS},
            },
            "bayes": {
                "title": "Bayes router",
                "role": "reference",
                "policy": {"baseline_name": "bayes_router"},
                "sweep": {"lambda_cost": [0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]},
            },
        },
    }


def make_samples(name: str, count: int, rng: np.random.Generator) -> list[Sample]:
    """Questions of three categories, which the world's models answer from different views."""
    answers = rng.choice(list(OPTIONS), size=count)
    return [
        Sample(
            id=f"q{index}",
            dataset=name,
            split="dev",
            question_type="multiple-choice",
            question=f"What colour is object {index}?",
            images=[ImageRef(path="images/a.png", width=128, height=128, sha256=f"{index:064x}")],
            choices=OPTIONS,
            answer=str(answer),
            answer_text=OPTIONS[str(answer)],
            category="",
        )
        for index, answer in enumerate(answers)
    ]


def tokens_of(actions: Sequence[str]) -> np.ndarray:
    """The vision tokens of each action, (A,)."""
    tokens = dict(zip(ACTIONS, TOKENS.tolist(), strict=True)) | FURTHER_TOKENS
    return np.array([tokens[action] for action in actions])


def with_needs(
    samples: list[Sample],
    need_N: np.ndarray,
    rng: np.random.Generator,
    actions: Sequence[str] = ACTIONS,
) -> list[Sample]:
    """A category tells the need of four samples in five."""
    tells_N = rng.random(len(samples)) < 0.8
    noise_N = np.where(tells_N, need_N, rng.integers(0, len(actions), len(samples)))
    return [
        sample.model_copy(update={"category": f"needs_{actions[need]}"})
        for sample, need in zip(samples, noise_N, strict=True)
    ]


def in_passes(samples: list[Sample], passes: int) -> list[Sample]:
    """Each question asked several times, as a circular group."""
    return [
        sample.model_copy(
            update={"id": f"{sample.id}-{turn}", "group": sample.id, "pass_index": turn}
        )
        for sample in samples
        for turn in range(passes)
    ]


def signals_of(
    ids: list[str],
    need_N: np.ndarray,
    rng: np.random.Generator,
    actions: Sequence[str] = ACTIONS,
) -> pd.DataFrame:
    """Signals of a head that estimates the need with some noise."""
    count, tokens_A = len(ids), tokens_of(actions)
    cue_N1 = (need_N + rng.normal(0, 0.5, count))[:, None]
    ranks_A = tokens_A.argsort(kind="stable").argsort()
    reach_NA = 1 / (1 + np.exp(-4 * (ranks_A - cue_N1 + 0.5)))
    entropy_N = np.abs(0.4 + 0.3 * need_N + rng.normal(0, 0.2, count))
    columns: dict[str, Any] = {"id": ids, "entropy": entropy_N, "margin": np.exp(-entropy_N)}
    columns |= {f"score_{view}": np.log(reach_NA[:, a]) for a, view in enumerate(actions)}
    columns |= {"text_tokens": 20}
    columns |= {f"tokens_{view}": tokens_A[a] for a, view in enumerate(actions)}
    columns["flops_text_pass"] = 20_000
    return pd.DataFrame(columns)


def texts_of(samples: list[Sample], correct_NA: np.ndarray) -> np.ndarray:
    """The gold option where a view is right, the next one where it is wrong, (N, A)."""
    letters = list(OPTIONS)
    gold_N = np.array([letters.index(sample.answer) for sample in samples])
    said_NA = (gold_N[:, None] + ~correct_NA) % len(letters)
    return np.array(list(OPTIONS.values()), dtype=object)[said_NA]


def write_set(layout: Layout, name: str, samples: list[Sample]) -> None:
    path = layout.samples(name, "dev")
    write_samples(path, samples)
    write_json(layout.data_manifest(name, "dev"), {"step": "prepare"})


def write_view(folder: Path, view: str, ids: pd.Series, texts_N: np.ndarray, tokens_N: Any) -> Path:
    rows = pd.DataFrame(
        {
            "id": ids,
            "text": texts_N,
            "vision_tokens": tokens_N,
            "prompt_tokens": 24 + tokens_N,
            "generated_tokens": 1,
            "entropy": 0.1,
            "margin": 0.9,
            "log_probability": -0.2,
            "flops_vision_tower": 1000 * tokens_N,
            "flops_language_model": 1000 * (4 + tokens_N),
            "flops_language_model_alone": 1000 * (24 + tokens_N),
        }
    )
    write_table(folder / f"{view}.parquet", rows, OBSERVATION_COLUMNS)
    return folder / f"{view}.parquet"


def write_observation(
    layout: Layout,
    seed: int,
    name: str,
    signals: pd.DataFrame,
    texts_NA: np.ndarray,
    actions: Sequence[str] = ACTIONS,
) -> None:
    folder = layout.observations("vovnet", seed, name)
    write_table(folder / "signals.parquet", signals, signal_columns(actions))
    told = signals[["entropy", *(f"score_{view}" for view in actions)]]
    write_states(folder / "states.parquet", signals["id"].tolist(), told.to_numpy(np.float16))
    for action, view in enumerate(actions):
        write_view(folder, view, signals["id"], texts_NA[:, action], signals[f"tokens_{view}"])
    manifest = {
        "step": "observe",
        "config_hash": f"config of seed {seed}",
        "source_digest": "source",
        "key": {"checkpoint": f"checkpoint of seed {seed}", "samples": f"samples of {name}"},
        "outputs": {"signals": {"sha256": sha256_file(folder / "signals.parquet")}},
    }
    write_json(layout.observation_manifest("vovnet", seed, name, "actions"), manifest)


def write_reduced(
    layout: Layout,
    seed: int,
    name: str,
    views: dict[str, float],
    right: dict[str, float] | None = None,
) -> None:
    """Reduced views of an observed set: each keeps a share of FULL's tokens and right answers.

    The others are answered like without an image. `right` are shares of right answers that are not
    those of the tokens.
    """
    folder = layout.observations("vovnet", seed, name)
    full, no = (pd.read_parquet(folder / f"{view}.parquet") for view in ("full", "no"))
    outputs = {}
    for view, share in views.items():
        keeps_N = np.arange(len(full)) < round((right or {}).get(view, share) * len(full))
        texts_N = np.where(keeps_N, full["text"], no["text"])
        tokens_N = np.round(share * full["vision_tokens"]).astype(int)
        path = write_view(folder, view, full["id"], texts_N, tokens_N)
        outputs[view] = {"path": str(path), "sha256": sha256_file(path)}
    manifest = {"key": {"checkpoint": f"checkpoint of seed {seed}"}, "outputs": outputs}
    write_json(layout.observation_manifest("vovnet", seed, name, "views"), manifest)


def write_world(
    root: Path,
    sets: dict[str, tuple[float, ...]],
    seeds: list[int],
    count: int = 300,
    overrides: dict[str, Any] | None = None,
    passes: int = 1,
) -> tuple[Settings, Layout]:
    """Write samples and observations; `sets` maps a name to the shares of needs.

    A need is the rank of the cheapest action that answers a question. Each of the `count` questions
    has circular `passes`, whose need is the question's.
    """
    layout, actions = Layout(root), (overrides or {}).get("actions", ACTIONS)
    ranks_A = tokens_of(actions).argsort(kind="stable").argsort()
    training = (0.4, *[0.6 / (len(actions) - 1)] * (len(actions) - 1))
    for index, (name, shares) in enumerate({**sets, "training": training}.items()):
        rng = np.random.default_rng(index)
        need_N = rng.choice(len(actions), size=count, p=shares)
        samples = with_needs(make_samples(name, count, rng), need_N, rng, actions)
        turns = 1 if name == "training" else passes
        if turns > 1:
            samples, need_N = in_passes(samples, turns), np.repeat(need_N, turns)
        write_set(layout, name, samples)
        for seed in seeds:
            rng = np.random.default_rng([index, seed])
            able_NA = ranks_A >= need_N[:, None]
            lucky_N = np.repeat(rng.random(count) < 0.95, turns)
            correct_NA = able_NA & lucky_N[:, None]
            if name == "training":
                ids = [f"training/dev/{sample.id}" for sample in samples]
            else:
                ids = [sample.id for sample in samples]
            signals = signals_of(ids, need_N, rng, actions)
            observed = name if name != "training" else "router_fit"
            texts_NA = texts_of(samples, correct_NA)
            write_observation(layout, seed, observed, signals, texts_NA, actions)
    value = configuration(root, list(sets), seeds)
    if "coarse" not in actions:
        del value["experiments"]["always_coarse"]
    value = merge(value, overrides or {})
    if passes > 1:
        for chosen in value["data"]["eval_sets"].values():
            chosen["passes"] = "all"
    return validate(value, "test settings"), layout


def circular(layout: Layout, passes: str) -> Settings:
    """Three questions of 2 passes; always_full is right in (2, 1, 0) of them, FULL costs 8.

    The second passes name a category of their own, which must not count.
    """
    samples = [
        sample.model_copy(
            update={"id": f"q{q}-{p}", "group": f"g{q}", "pass_index": p, "category": "cd"[p]}
        )
        for q, sample in enumerate(make_samples("ring", 3, np.random.default_rng(0)))
        for p in range(2)
    ]
    write_set(layout, "ring", samples)
    kept = samples if passes == "all" else samples[::2]
    right_N = np.array([True, True, True, False, False, False])
    right_N = right_N if passes == "all" else right_N[::2]
    right_NA = np.repeat(right_N[:, None], 3, axis=1)
    rng = np.random.default_rng(0)
    signals = signals_of([sample.id for sample in kept], np.zeros(len(kept), int), rng)
    signals["tokens_full"] = 16 * np.arange(1, len(kept) + 1)
    write_observation(layout, 0, "ring", signals, texts_of(kept, right_NA))
    value = {
        "results_dir": str(layout.root),
        "data": {
            "datasets": {"ring": {"format": "mmbench", "root": "raw", "files": {"dev": "d.tsv"}}},
            "eval_sets": {"ring": {"dataset": "ring", "split": "dev", "passes": passes}},
        },
        "seeds": [0],
        "experiments": {
            "full": {"title": "full", "policy": {"baseline_name": "always_full"}},
            "one": {"title": "1", "policy": {"baseline_name": "always_full"}, "max_samples": 2},
        },
    }
    return validate(value, "ring")


def evaluate_all(settings: Settings, layout: Layout) -> None:
    """Evaluate every experiment. Those that copy action ratios stand after the copied one."""
    for name, item in settings.experiments.items():
        if item.match:
            write_matched(settings, layout, name)
        evaluate_experiment(settings, layout, name)


def forget_outputs(manifest: Path) -> None:
    """Let a manifest tell nothing of files that a test changes."""
    write_json(manifest, read_json(manifest) | {"outputs": {}})


def samples_of(layout: Layout, name: str) -> pd.DataFrame:
    return read_table(layout.eval(name) / "samples.parquet", SAMPLE_RESULT_COLUMNS)


def hull_table(layout: Layout, name: str, unit: str = "tokens") -> pd.DataFrame:
    """A table of the comparison with the mixing hull, in one unit of cost."""
    rows = pd.read_csv(layout.hull / f"{name}.csv")
    return rows[rows["unit"] == unit].reset_index(drop=True)


def hull_rows(
    layout: Layout, name: str, dataset: str | None = None, unit: str = "tokens"
) -> pd.DataFrame:
    rows = hull_table(layout, "hull_metrics", unit)
    rows = rows[rows["experiment"] == name]
    return rows if dataset is None else rows[rows["dataset"] == dataset]


def curve_rows(
    layout: Layout, name: str, dataset: str, seed: int, unit: str = "tokens"
) -> pd.DataFrame:
    rows = hull_table(layout, "curves", unit)
    keys = zip(rows["experiment"], rows["dataset"], rows["seed"], strict=True)
    return rows[[key == (name, dataset, seed) for key in keys]]
