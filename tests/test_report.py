"""Tables, figures and sanity checks over a fabricated results folder.

The folder holds a small world in which the need for vision is known: 3 datasets, 3 seeds,
every experiment of the main suite. Policies act on noisy cues about that need.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vovnet.config import Settings, validate
from vovnet.core.errors import ConfigError, DataError, VovnetError
from vovnet.core.files import read_json, write_json, write_text
from vovnet.core.layout import Layout
from vovnet.core.records import write_table
from vovnet.evaluation.columns import (
    CURVE_COLUMNS,
    EQUAL_COST_COLUMNS,
    HULL_COLUMNS,
    SAMPLE_RESULT_COLUMNS,
    read_results,
    write_results,
)
from vovnet.evaluation.equal_cost import verdict
from vovnet.pipeline.keys import step_key
from vovnet.report.checks import all_rules, write_sanity
from vovnet.report.discovery import made_by
from vovnet.report.figures import write_figures
from vovnet.report.inputs import load_inputs, over_seeds
from vovnet.report.render import DASH, MINUS, number
from vovnet.report.tables import main_table, write_tables
from vovnet.report.training_logs import load_train_log
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

NEEDS = {
    "synth_mmbench": (0.5, 0.2, 0.3),
    "synth_mmmu": (0.25, 0.3, 0.45),
    "synth_textvqa": (0.1, 0.2, 0.7),
}
SEEDS = (0, 1, 2)
LAMBDAS = (0, 0.01, 0.02, 0.05, 0.1)
ROUTER_LAMBDAS = (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
TOKENS = np.array([0, 4, 16])
N = 300

THRESHOLDS = {
    "entropy_full": ("entropy", "full", (0.3, 0.5, 0.7, 0.9, 1.2)),
    "entropy_coarse": ("entropy", "coarse", (0.3, 0.5, 0.7, 0.9, 1.2)),
    "margin_full": ("margin", "full", (0.2, 0.4, 0.6, 0.8)),
}
FIXED = {"no_vision": 0, "always_coarse": 1, "always_full": 2}

Row = dict[str, Any]


def configuration(root: Path) -> dict[str, Any]:
    """The settings of the fabricated suite."""
    threshold = {
        name: {
            "title": f"{kind.capitalize()} {'>' if kind == 'entropy' else '<'} t ({view.upper()})",
            "policy": {
                "baseline_name": "uncertainty_threshold",
                "baseline_uncertainty": kind,
                "baseline_vision": view,
            },
            "sweep": {"baseline_threshold": list(values)},
        }
        for name, (kind, view, values) in THRESHOLDS.items()
    }
    reference = {
        name: {"title": title, "role": "reference", "policy": {"baseline_name": name}}
        for name, title in {
            "oracle": "Oracle (cheapest correct)",
            "oracle_full_correct": "Oracle, where FULL is correct",
        }.items()
    }
    return {
        "results_dir": str(root),
        "data": {
            "datasets": {
                name: {"format": "mmbench", "root": "raw", "files": {"dev": "dev.tsv"}}
                for name in NEEDS
            },
            "eval_sets": {name: {"dataset": name, "split": "dev"} for name in NEEDS},
        },
        "seeds": list(SEEDS),
        "training": {"save_every": 50},
        "experiments": {
            "pareto_vovnet": {
                "title": "VoVNet",
                "role": "vovnet",
                "sweep": {"lambda_cost": list(LAMBDAS)},
            },
            **{
                name: {
                    "title": name.replace("_", "-").title(),
                    "role": "fixed",
                    "policy": {"baseline_name": name},
                }
                for name in FIXED
            },
            **threshold,
            "random_matched": {
                "title": "Random, matched",
                "role": "random",
                "policy": {"baseline_name": "random_policy_matched"},
                "match": {"experiment": "pareto_vovnet", "lambda_costs": list(LAMBDAS)},
            },
            **reference,
            "bayes_router": {
                "title": "Router fitted on outcomes",
                "role": "reference",
                "policy": {"baseline_name": "bayes_router"},
                "sweep": {"lambda_cost": list(ROUTER_LAMBDAS)},
            },
            "live_vovnet": {
                "title": "VoVNet",
                "role": "vovnet",
                "mode": "live",
                "seeds": [0],
                "max_samples": 20,
            },
        },
    }


class World:
    """One dataset and seed: what each view answers, and the cues that policies see."""

    def __init__(self, dataset: str, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        shares = np.array(NEEDS[dataset])
        self.rng = np.random.default_rng([seed, list(NEEDS).index(dataset)])
        self.need_N = self.rng.choice(3, size=N, p=shares)
        reached_NA = np.arange(3) >= self.need_N[:, None]
        lucky_N1 = self.rng.random((N, 1)) < 0.25
        able_N1 = self.rng.random((N, 1)) < 0.98
        self.correct_NA = ((reached_NA & able_N1) | lucky_N1).astype(float)
        self.score_NA = self.scores(0.6)
        self.router_NA = self.scores(0.45)
        self.entropy_N = np.abs(0.35 + 0.3 * self.need_N + self.rng.normal(0, 0.35, N))
        self.margin_N = np.clip(1.0 - self.entropy_N / 1.5 + self.rng.normal(0, 0.1, N), 0, 1)

    def scores(self, noise: float) -> np.ndarray:
        """Log likelihood of a right answer under each view, from a noisy cue about the need."""
        cue_N1 = (self.need_N + self.rng.normal(0, noise, N))[:, None]
        weight_NA = np.array(NEEDS[self.dataset]) * np.exp(
            -((cue_N1 - np.arange(3)) ** 2) / (2 * noise**2)
        )
        reached_NA = np.cumsum(weight_NA / weight_NA.sum(axis=1, keepdims=True), axis=1)
        return np.log(reached_NA * 0.98 + (1 - reached_NA) * 0.25)

    def decide(self, score_NA: np.ndarray, lambda_cost: float) -> np.ndarray:
        return np.argmax(score_NA - lambda_cost * TOKENS, axis=1)

    def oracle(self) -> np.ndarray:
        best_N1 = self.correct_NA.max(axis=1, keepdims=True)
        return np.argmax(self.correct_NA == best_N1, axis=1)

    def oracle_full_correct(self) -> np.ndarray:
        return np.where(self.correct_NA[:, 2] == 1, self.oracle(), 2)

    def threshold(self, kind: str, view: str, value: float) -> np.ndarray:
        unsure = self.entropy_N > value if kind == "entropy" else self.margin_N < value
        return np.where(unsure, ("no", "coarse", "full").index(view), 0)

    def row(self, experiment: str, actions: np.ndarray, baseline: str = "", **facts: Any) -> Row:
        """A line of results.csv."""
        correct = self.correct_NA[np.arange(len(actions)), actions]
        rates = [float(np.mean(actions == action)) for action in range(3)]
        spread = 1.96 * correct.std() / np.sqrt(len(actions))
        cost = float(TOKENS[actions].mean())
        return {
            "experiment": experiment,
            "dataset": self.dataset,
            "run": "vovnet",
            "seed": self.seed,
            "baseline_name": baseline,
            "num_samples": len(actions),
            "accuracy": float(correct.mean()),
            "accuracy_lo": max(0.0, float(correct.mean() - spread)),
            "accuracy_hi": min(1.0, float(correct.mean() + spread)),
            "avg_cost": cost,
            "avg_vision_tokens": cost,
            "action_rate_no": rates[0],
            "action_rate_coarse": rates[1],
            "action_rate_full": rates[2],
            "action_ratio": json.dumps([round(rate, 6) for rate in rates]),
            "scoring": "official",
            **facts,
        }

    def samples(self, point: int, actions: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "dataset": self.dataset,
                "seed": self.seed,
                "point": point,
                "id": [f"q{index}" for index in range(len(actions))],
                "action": actions,
                "view": np.array(["no", "coarse", "full"])[actions],
                "prediction": [f"answer {index} {action}" for index, action in enumerate(actions)],
                "score": self.correct_NA[np.arange(len(actions)), actions],
                "parse_fallback": False,
                "cost": TOKENS[actions].astype(float),
                "vision_tokens": TOKENS[actions],
                "fallback_triggered": False,
            }
        )


def write_world(root: Path, dtype: str = "float32") -> Settings:
    """Write every file that the report reads."""
    settings = validate(configuration(root) | {"model": {"dtype": dtype}}, "test")
    layout = Layout(root)
    worlds = [World(dataset, seed) for dataset in NEEDS for seed in SEEDS]
    results: dict[str, list[Row]] = {name: [] for name in settings.experiments}
    samples: dict[str, list[pd.DataFrame]] = {"pareto_vovnet": [], "live_vovnet": []}
    for world in worlds:
        for name, action in FIXED.items():
            results[name].append(world.row(name, np.full(N, action), name))
        for point, value in enumerate(LAMBDAS):
            actions = world.decide(world.score_NA, value)
            results["pareto_vovnet"].append(world.row("pareto_vovnet", actions, lambda_cost=value))
            samples["pareto_vovnet"].append(world.samples(point, actions))
            shuffled = world.rng.permutation(actions)
            results["random_matched"].append(
                world.row("random_matched", shuffled, "random_policy_matched", lambda_cost=value)
            )
        for value in ROUTER_LAMBDAS:
            actions = world.decide(world.router_NA, value)
            results["bayes_router"].append(
                world.row("bayes_router", actions, "bayes_router", lambda_cost=value)
            )
        for name, (kind, view, values) in THRESHOLDS.items():
            for value in values:
                actions = world.threshold(kind, view, value)
                row = world.row(name, actions, "uncertainty_threshold", threshold=value)
                results[name].append(row)
        for name in ("oracle", "oracle_full_correct"):
            results[name].append(world.row(name, getattr(world, name)(), name))
        if world.seed == 0:
            actions = world.decide(world.score_NA, 0.02)[:20]
            timed = {"lambda_cost": 0.02, "latency_ms": 9.5, "latency_p50_ms": 9.0}
            results["live_vovnet"].append(world.row("live_vovnet", actions, **timed))
            samples["live_vovnet"].append(world.samples(0, actions))
    for name, rows in results.items():
        write_results(layout.eval(name) / "results.csv", rows, ACTIONS)
    for name, tables in samples.items():
        path = layout.eval(name) / "samples.parquet"
        write_table(path, pd.concat(tables), SAMPLE_RESULT_COLUMNS)
    write_hull(layout, settings, results)
    write_training(layout)
    hits = {kind: {"count": 0, "examples": []} for kind in ("question", "image", "id")}
    for world in worlds:
        folder = layout.observations("vovnet", world.seed, world.dataset)
        selection = {"run": "vovnet", "seed": world.seed, "eval_set": world.dataset}
        key = step_key(settings, "observe", **selection)
        write_json(folder / "manifest.json", {"key": key, "device": "cpu"})
    report = {"fail_on": ["image", "id"], "sets": dict.fromkeys(NEEDS, hits)}
    write_json(layout.leakage_report, report)
    for name in settings.experiments:
        step = "live" if settings.experiments[name].mode == "live" else "evaluate"
        key = step_key(settings, step, experiment=name)
        profile = {"profile": live_profiles(), "device": "cpu"} if step == "live" else {}
        write_json(layout.eval(name) / "summary.json", {"experiment": name, "key": key} | profile)
    return settings


def live_profiles() -> list[Row]:
    """What summary.json says of the live run: 9.5 ms, of which generation takes 6."""
    parts = {"text_pass": 1.5, "decision": 0.1, "image_loading": 0.4, "preprocessing": 0.3}
    parts |= {"vision_encoding": 0.7, "prefill": 0.5, "generation": 6.0}
    compared = {"num_different": 0, "latency_ratio": 0.85}
    compared |= {"latency_ratio_lo": 0.8, "latency_ratio_hi": 0.9}
    facts = {"seed": 0, "point": 0, "num_samples": 20, "tokens_s": 210.5}
    facts |= {"latency_p50_ms": 9.0, "latency_p90_ms": 12.25, "parts_ms": parts}
    facts |= {"time_shares": {part: value / 9.5 for part, value in parts.items()}}
    return [
        {"dataset": dataset} | facts | {"cache_reuse_comparison": compared} for dataset in NEEDS
    ]


def write_hull(layout: Layout, settings: Settings, results: dict[str, list[Row]]) -> None:
    """hull_metrics.csv and curves.csv; intervals are 3 points wide to either side."""
    metrics, curves = [], []
    for dataset in NEEDS:
        for seed in SEEDS:
            rows = {
                name: [row for row in found if (row["dataset"], row["seed"]) == (dataset, seed)]
                for name, found in results.items()
            }
            corners = [(rows[name][0]["avg_cost"], rows[name][0]["accuracy"]) for name in FIXED]
            (x0, y0), (x1, y1), (x2, y2) = corners
            bend = (x1, max(y1, y0 + (y2 - y0) * (x1 - x0) / (x2 - x0)))
            hull = [(x0, y0), bend, (x2, y2)]
            by = {"dataset": dataset, "seed": seed}
            for point, (cost, accuracy) in enumerate(hull):
                curves.append(
                    by
                    | {"experiment": "mixing_hull", "role": "reference", "title": "Mixing hull"}
                    | {"point": point, "avg_cost": cost, "accuracy": accuracy}
                )
            for name, found in rows.items():
                if not found or settings.experiments[name].mode == "live":
                    continue
                item = settings.experiments[name]
                facts = by | {"experiment": name, "role": item.role, "title": item.title}
                points = sorted((row["avg_cost"], row["accuracy"]) for row in found)
                for point, row in enumerate(found):
                    keys = ("avg_cost", "accuracy", "accuracy_lo", "accuracy_hi")
                    curves.append(facts | {"point": point} | {key: row[key] for key in keys})
                gains = {}
                for share in (25, 50, 75):
                    cost = share / 100 * x2
                    curve, base = (
                        np.interp(cost, *zip(*knots, strict=True)) for knots in (points, hull)
                    )
                    gain = 100 * (curve - base)
                    if len(points) > 1:
                        gains |= {f"gain_at_{share}": gain, f"gain_at_{share}_lo": gain - 3}
                        gains |= {f"gain_at_{share}_hi": gain + 3}
                scores = {"hull_to_oracle_captured": 0.4, "hull_to_bayes_captured": 0.8}
                scores |= {"apgr": 0.7, "aiq": 0.81, "mcc": 0.6}
                metrics.append(facts | gains | (scores if len(points) > 1 else {"aiq": 0.6}))
    layout.hull.mkdir(parents=True)
    equal = [row for name in results for row in equal_cost(settings, name)]
    pd.DataFrame(equal, columns=EQUAL_COST_COLUMNS).to_csv(
        layout.hull / "equal_cost.csv", index=False
    )
    pd.DataFrame(metrics, columns=HULL_COLUMNS).to_csv(
        layout.hull / "hull_metrics.csv", index=False
    )
    pd.DataFrame(curves, columns=CURVE_COLUMNS).to_csv(layout.hull / "curves.csv", index=False)


def equal_cost(settings: Settings, name: str) -> list[Row]:
    """Rows of equal_cost.csv: gains of 5 over mixing; over resolution 4, 0 and -4 by dataset."""
    item = settings.experiments[name]
    if item.mode == "live":
        return []
    rows = []
    for place, dataset in enumerate(NEEDS):
        keys = {"dataset": dataset, "experiment": name, "role": item.role, "title": item.title}
        for at in ("25", "50", "75") if item.sweep or item.match else ("own",):
            facts = keys | {"run": item.run, "at": at, "avg_cost": 8.0, "num_seeds": 3}
            facts |= {"reference_run": "vovnet", "within_range": at != "25"}
            for reference, gain in (("mixing_hull", 5.0), ("resolution", 4.0 * (1 - place))):
                ends = {"gain": gain, "gain_sd": 0.5, "gain_lo": gain - 3, "gain_hi": gain + 3}
                told = {"reference": reference, "verdict": verdict(gain - 3, gain + 3)}
                rows.append(facts | ends | told)
    return rows


def write_training(layout: Layout) -> None:
    """Logs of both stages, checkpoints' names and the calibration of each seed."""
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        for stage in (1, 2):
            folder = layout.stage("vovnet", seed, stage)
            lines = []
            for step in range(1, 201):
                part = step / 200
                line: Row = {"step": step, "stage": stage, "learning_rate": 1e-3 * (1 - part)}
                line["loss"] = (2.5 if stage == 1 else 0.9) * np.exp(-3 * part) + 0.3
                line["loss"] += float(rng.normal(0, 0.1))
                if stage == 2:
                    shares = np.array([0.33 + 0.2 * part, 0.33 - 0.1 * part, 0.34 - 0.1 * part])
                    shares = rng.dirichlet(60 * shares)
                    line |= {
                        f"action_share_{name}": float(share)
                        for name, share in zip(("no", "coarse", "full"), shares, strict=True)
                    }
                    line["expected_cost"] = float(shares @ TOKENS)
                lines.append(json.dumps(line))
            torn = '{"step": 201, "sta' if seed == 1 else ""
            write_text(folder / "train_log.jsonl", "\n".join(lines) + "\n" + torn)
            (folder / "checkpoint-150").mkdir()
            (folder / "checkpoint-200").mkdir()
        predicted = np.linspace(-0.5, 2.0, 8)
        bins = [
            {
                "predicted": float(x),
                "measured": float(0.9 * x + rng.normal(0, 0.1)),
                "count": 40 - 4 * i,
            }
            for i, x in enumerate(predicted)
        ]
        pairs = {
            pair: {"ece": 0.08, "slope": 0.93, "bins": bins}
            for pair in ("coarse-no", "full-no", "full-coarse")
        }
        write_json(layout.stage("vovnet", seed, 2) / "calibration.json", {"pairs": pairs})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Layout]:
    """The fabricated results with every report written."""
    root = tmp_path_factory.mktemp("report") / "results"
    settings, layout = write_world(root), Layout(root)
    write_tables(settings, layout)
    write_figures(settings, layout)
    write_sanity(settings, layout)
    return settings, layout


@pytest.fixture
def results(tmp_path: Path) -> tuple[Settings, Layout]:
    """A copy of the fabricated results to be spoiled."""
    root = tmp_path / "results"
    return write_world(root), Layout(root)


def checked(layout: Layout) -> dict[str, dict[str, Any]]:
    """name -> check, of the report that was written."""
    found = read_json(layout.paper / "sanity.json")
    return {check["name"]: check for check in found}


# ---- tables ------------------------------------------------------------------------------


def test_every_table_has_three_forms(finished: tuple[Settings, Layout]) -> None:
    _, layout = finished
    files = made_by("vovnet.report.tables")
    assert len(files) == 3 * 8
    assert all((layout.paper / name).stat().st_size > 0 for name in files)
    tex = (layout.paper / "main_table.tex").read_text()
    assert r"\toprule" in tex
    assert r"\bottomrule" in tex
    assert not set(tex) & set("±λ↑↓→∞"), "TeX symbols are written as commands"


def test_the_main_table_has_a_row_per_dataset_and_method(
    finished: tuple[Settings, Layout],
) -> None:
    settings, layout = finished
    rows = pd.read_csv(layout.paper / "main_table.csv")
    replayed = [name for name, item in settings.experiments.items() if item.mode == "replay"]
    assert len(rows) == len(NEEDS) * len(replayed)
    assert not rows.duplicated(["dataset", "experiment"]).any()
    vovnet = rows[rows["experiment"] == "pareto_vovnet"]
    assert (vovnet["lambda_cost"] == settings.report.target_lambda).all()


def test_the_main_table_averages_over_seeds(finished: tuple[Settings, Layout]) -> None:
    settings, layout = finished
    table = main_table.table(load_inputs(settings, layout)).numbers
    row = table[(table["dataset"] == "synth_mmmu") & (table["experiment"] == "always_full")]
    results = read_results(layout.eval("always_full") / "results.csv")
    accuracies = results.loc[results["dataset"] == "synth_mmmu", "accuracy"]
    assert row["accuracy_mean"].item() == pytest.approx(accuracies.mean())
    assert row["accuracy_sd"].item() == pytest.approx(accuracies.std(ddof=1))
    assert row["num_seeds"].item() == len(SEEDS)


def test_hull_metrics_has_a_row_per_dataset_policy_and_seed(
    finished: tuple[Settings, Layout],
) -> None:
    settings, layout = finished
    rows = pd.read_csv(layout.paper / "hull_metrics.csv")
    replayed = [name for name, item in settings.experiments.items() if item.mode == "replay"]
    assert len(rows) == len(NEEDS) * len(SEEDS) * len(replayed)
    source = pd.read_csv(layout.hull / "hull_metrics.csv")
    keys = {"dataset": "synth_mmbench", "experiment": "pareto_vovnet", "seed": 1}
    found = [
        frame.loc[(frame[list(keys)] == pd.Series(keys)).all(axis=1)] for frame in (rows, source)
    ]
    assert found[0]["gain_at_50"].item() == pytest.approx(found[1]["gain_at_50"].item())
    assert set(rows.loc[rows["experiment"] == "pareto_vovnet", "policy"]) == {"vovnet"}


def test_what_was_not_measured_is_empty_never_zero(finished: tuple[Settings, Layout]) -> None:
    _, layout = finished
    rows = pd.read_csv(layout.paper / "pareto.csv")
    assert rows.loc[rows["mode"] == "replay", "latency_p50_ms_mean"].isna().all()
    assert rows.loc[rows["mode"] == "live", "latency_p50_ms_mean"].notna().all()
    lines = (layout.paper / "pareto.md").read_text().splitlines()
    assert DASH in next(line for line in lines if "Always-Full" in line)


def test_equal_results_give_equal_tables_and_figures(
    finished: tuple[Settings, Layout], results: tuple[Settings, Layout]
) -> None:
    settings, layout = results
    write_tables(settings, layout)
    write_figures(settings, layout)
    first = finished[1].paper
    names = [path for path in layout.paper.rglob("*") if path.suffix not in {".json", ""}]
    assert len(names) > 15
    for path in names:
        assert path.read_bytes() == (first / path.relative_to(layout.paper)).read_bytes(), path


def test_over_seeds_by_hand() -> None:
    frame = pd.DataFrame({"seed": [0, 1, 0], "name": ["a", "a", "b"], "value": [1.0, 3.0, 5.0]})
    found = over_seeds(frame, ["name"], ["value"])
    assert found["value_mean"].tolist() == [2.0, 5.0]
    assert found["value_sd"].iloc[0] == pytest.approx(2**0.5)
    assert np.isnan(found["value_sd"].iloc[1]), "one seed has no deviation"


def test_numbers_for_people() -> None:
    assert number(-1.25) == f"{MINUS}1.2"
    assert number(-0.01) == "0.0"
    assert number(float("nan")) == DASH


# ---- figures -----------------------------------------------------------------------------


def test_every_figure_is_a_pdf_and_a_png(finished: tuple[Settings, Layout]) -> None:
    figures = finished[1].paper / "figures"
    stems = {path.stem for path in figures.glob("*.png")}
    assert {"accuracy_cost", "action_ratio", "resolution_test", "profiling"} <= stems
    assert stems == {path.stem for path in figures.glob("*.pdf")}
    for path in figures.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_torn_last_line_of_a_log_is_dropped(finished: tuple[Settings, Layout]) -> None:
    settings, layout = finished
    log = load_train_log(settings, layout, "vovnet", list(SEEDS))
    assert log.groupby(["seed", "folder_stage"]).size().tolist() == [200] * 6


# ---- sanity ------------------------------------------------------------------------------


def test_every_check_is_reported_with_its_numbers(finished: tuple[Settings, Layout]) -> None:
    _, layout = finished
    found = checked(layout)
    assert len(found) == len(all_rules())
    text = (layout.paper / "sanity.md").read_text()
    for name, check in found.items():
        assert name in text
        assert check["numbers"]
        if check["kind"] == "invariant":
            assert check["passed"] is not False, check
    assert found["Always-Full takes FULL for every question"]["passed"]
    assert found["avg_cost decreases as lambda_cost increases"]["passed"]


def spoil_results(experiment: str, **values: float) -> Callable[[Layout], None]:
    def spoil(layout: Layout) -> None:
        path = layout.eval(experiment) / "results.csv"
        rows = read_results(path).assign(**values)
        write_results(path, rows.to_dict("records"), ACTIONS)

    return spoil


def spoil_live(layout: Layout) -> None:
    path = layout.eval("live_vovnet") / "samples.parquet"
    rows = pd.read_parquet(path)
    write_table(path, rows.assign(prediction="other"), SAMPLE_RESULT_COLUMNS)


def spoil_leakage(layout: Layout) -> None:
    report = read_json(layout.leakage_report)
    report["sets"]["synth_mmmu"]["image"]["count"] = 2
    write_json(layout.leakage_report, report)


def spoil_key(layout: Layout) -> None:
    path = layout.eval("oracle") / "summary.json"
    write_json(path, {"key": read_json(path)["key"] | {"config": "of before"}})


def spoil_reuse(layout: Layout, different: int = 1, device: str = "cpu") -> None:
    path = layout.eval("live_vovnet") / "summary.json"
    summary = read_json(path) | {"device": device}
    for item in summary["profile"]:
        item["cache_reuse_comparison"]["num_different"] = different
        item["num_samples"] = 100
    write_json(path, summary)


BROKEN = {
    "every result was made from the present configuration": spoil_key,
    "Always-Full takes FULL": spoil_results("always_full", action_rate_full=0.9),
    "No-Vision costs 0": spoil_results("no_vision", avg_cost=0.5),
    "the oracle is at least as accurate": spoil_results("oracle", accuracy=0.1),
    "live equals replay": spoil_live,
    "with and without cache reuse the generated tokens": spoil_reuse,
    "the leakage gate finds nothing": spoil_leakage,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_invariant_fails_the_command(results: tuple[Settings, Layout], name: str) -> None:
    settings, layout = results
    write_sanity(settings, layout)
    BROKEN[name](layout)
    with pytest.raises(VovnetError, match=name):
        write_sanity(settings, layout)
    assert not (layout.paper / "sanity.md").exists()
    assert "**FAIL**" in (layout.paper / "sanity.failed.md").read_text()


@pytest.mark.parametrize(
    ("different", "dtype", "device", "passed"),
    [(1, "float32", "H100", True), (2, "float32", "H100", False), (1, "bfloat16", "cpu", True)],
)
def test_elsewhere_a_few_answers_may_differ(
    tmp_path: Path, different: int, dtype: str, device: str, passed: bool
) -> None:
    settings, layout = write_world(tmp_path, dtype), Layout(tmp_path)
    spoil_live(layout)
    spoil_reuse(layout, different, device)
    write_sanity(settings, layout)
    found = checked(layout)
    for name, held in (
        ("live equals replay, sample by sample", False),
        ("with and without cache reuse the generated tokens are the same", passed),
    ):
        assert found[f"{name} (float32 on the CPU)"]["passed"] is None
        assert found[f"{name}, 99.0% or more (elsewhere)"]["passed"] is held


def test_observed_elsewhere_is_not_replayed_exactly(results: tuple[Settings, Layout]) -> None:
    settings, layout = results
    spoil_live(layout)
    for path in layout.observations("vovnet", 0, "synth_mmmu").parent.glob("*/manifest.json"):
        write_json(path, read_json(path) | {"device": "H100"})
    write_sanity(settings, layout)
    found = checked(layout)
    assert found["live equals replay, sample by sample (float32 on the CPU)"]["passed"] is None


def test_a_missed_expectation_is_only_reported(results: tuple[Settings, Layout]) -> None:
    settings, layout = results
    spoil_results("always_full", accuracy=0.5)(layout)
    write_sanity(settings, layout)
    check = checked(layout)["FULL answers 85% or more"]
    assert check["passed"] is False
    assert "50.0%" in check["numbers"]


def test_missing_or_wrong_results_are_one_clear_error(results: tuple[Settings, Layout]) -> None:
    settings, layout = results
    path = layout.eval("oracle") / "results.csv"
    write_text(path, "experiment,dataset\n")
    with pytest.raises(DataError, match=r"oracle/results.csv: column 'run' is missing"):
        write_tables(settings, layout)
    path.unlink()
    with pytest.raises(DataError, match=r"oracle/results.csv: file not found"):
        write_tables(settings, layout)


def test_a_target_lambda_outside_the_sweep_is_an_error(results: tuple[Settings, Layout]) -> None:
    settings, layout = results
    report = settings.report.model_copy(update={"target_lambda": 0.3})
    with pytest.raises(ConfigError, match=r"report.target_lambda: 0.3 is not a point"):
        write_tables(settings.model_copy(update={"report": report}), layout)


def test_the_report_needs_no_torch() -> None:
    names = ("tables", "figures", "checks", "reliability", "ablations")
    code = "import sys\nfrom vovnet.report.discovery import load\n"
    code += "".join(f"load('vovnet.report.{name}')\n" for name in names)
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
