"""The specification's sweeps over reduced views, typed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from support.models import make_inference
from support.worlds import settings_of, world_config
from vovnet import cli
from vovnet.config import VisionBudget
from vovnet.core.layout import Layout
from vovnet.core.records import read_table
from vovnet.data.samples import read_samples
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS, read_results
from vovnet.model.vovnet import save_weights
from vovnet.views import num_vision_tokens

# Command -> (its flags as the specification has them with small budgets, column, values, views).
SWEEPS: dict[str, tuple[list[str], str, list[float], list[str]]] = {
    "pruning": (
        ["--ratios", "1.0", "0.75", "0.50", "0.25", "--mode", "stride"],
        "pruning_ratio",
        [1.0, 0.75, 0.5, 0.25],
        [f"full+prune-stride-{ratio}" for ratio in ("1", "0.75", "0.5", "0.25")],
    ),
    "merge": (
        [
            *("--merge_ratio_list", "0.25,0.5,0.75,1.0", "--merge_mode", "cosine"),
            *("--merge_weight", "norm", "--enable_prune", "false"),
        ],
        "merge_ratio",
        [0.25, 0.5, 0.75, 1.0],
        [f"full+merge-cosine-{ratio}" for ratio in ("0.25", "0.5", "0.75", "1")],
    ),
    "resolution": (
        ["--vision_budget_list", "64,96,128", "--budget_mode", "long_side"],
        "long_side",
        [64, 96, 128],
        ["side-64", "side-96", "side-128"],
    ),
    "granularity": (
        ["--pooling_list", "1,2,4"],
        "pool_factor",
        [1, 2, 4],
        ["full+pool-1", "full+pool-2", "full+pool-4"],
    ),
}


@pytest.fixture
def hand(fresh: Layout) -> tuple[Path, list[str]]:
    """A results folder and the flags that every command shares."""
    root, checkpoint = fresh.root, fresh.root / "checkpoint"
    config = root / "config.yaml"
    value = world_config(root) | {"experiments": {}, "targets": {}}
    config.write_text(yaml.safe_dump(value), encoding="utf-8")
    dataset = root / "dataset.yaml"
    one = {"synth_mmbench": {"dataset": "synth_mmbench", "split": "dev", "max_samples": 8}}
    dataset.write_text(yaml.safe_dump({"data": {"eval_sets": one}}), encoding="utf-8")
    checkpoint.mkdir()
    save_weights(make_inference(settings_of(fresh)).model, checkpoint / "model.safetensors")
    shared = ["--config", str(config), "--dataset_config", str(dataset)]
    return root, [*shared, "--checkpoint", str(checkpoint)]


def mean_tokens(root: Path, view: str) -> float:
    """Vision tokens of a view by the sizes of the images of the first eight samples."""
    samples = read_samples(Layout(root).samples("synth_mmbench", "dev"))[:8]
    counts = [
        num_vision_tokens(
            [(image.width, image.height) for image in sample.images], view, VisionBudget()
        )
        for sample in samples
    ]
    return sum(counts) / len(counts)


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps(hand: tuple[Path, list[str]], name: str) -> None:
    root, shared = hand
    flags, column, values, views = SWEEPS[name]
    output = root / "out"
    arguments = [f"pareto_{name}", *shared, *flags, "--output_dir", str(output)]
    assert cli.main(arguments) == 0
    assert {path.name for path in output.iterdir()} == {
        *(f"pareto_{name}.csv", f"pareto_{name}.json", "results.csv", "summary.json"),
        "samples.parquet",
    }
    rows = read_results(output / "results.csv")
    assert rows[column].tolist() == values
    assert rows["num_samples"].tolist() == [8] * len(values)
    assert rows["avg_vision_tokens"].tolist() == [mean_tokens(root, view) for view in views]
    samples = read_table(output / "samples.parquet", SAMPLE_RESULT_COLUMNS)
    assert samples["view"].unique().tolist() == views
    assert set(samples["action"]) == {-1}
    assert rows["action_ratio"].isna().all()
    copied = pd.read_csv(output / f"pareto_{name}.csv")
    assert copied["accuracy"].tolist() == rows["accuracy"].tolist()
    listed = json.loads((output / f"pareto_{name}.json").read_text())
    assert [row[column] for row in listed] == values
    assert [row["lambda_cost"] for row in listed] == [None] * len(values)


def test_one_ratio_of_the_configuration(hand: tuple[Path, list[str]]) -> None:
    """The specification's single-ratio command: the baseline is a layer of the configuration."""
    root, shared = hand
    layer = root / "baseline_pruning_ratio_050.yaml"
    policy = {
        "baseline_name": "vision_token_pruning_proxy",
        "baseline_pruning_ratio": 0.50,
        "baseline_pruning_mode": "stride",
    }
    layer.write_text(yaml.safe_dump({"policy": policy}))
    flags = ["--config", str(layer), "--output_dir", str(root / "out")]
    assert cli.main(["eval", *shared, *flags]) == 0
    rows = read_results(root / "out/results.csv")
    assert rows[["baseline_name", "pruning_ratio"]].values.tolist() == [
        ["vision_token_pruning_proxy", 0.5]
    ]
    assert rows["avg_vision_tokens"].tolist() == [mean_tokens(root, "full+prune-stride-0.5")]
    assert (root / "out/summary.json").exists()


def test_the_results_table_takes_a_name(hand: tuple[Path, list[str]]) -> None:
    root, shared = hand
    flags = ["--pooling_list", "4", "--output_dir", str(root / "out"), "--output_prefix", "pooled"]
    assert cli.main(["pareto_granularity", *shared, *flags]) == 0
    assert (root / "out/pooled.csv").exists()
    assert not (root / "out/results.csv").exists()


def test_merging_may_prune_as_configured(hand: tuple[Path, list[str]]) -> None:
    root, shared = hand
    pruning = root / "pruning.yaml"
    pruning.write_text("policy: {baseline_pruning_ratio: 0.5}\n")
    flags = ["--merge_ratio_list", "0.5", "--enable_prune", "true", "--output_dir"]
    arguments = ["pareto_merge", *shared, *flags, str(root / "out")]
    assert cli.main([*arguments, "--config", str(pruning)]) == 0
    rows = read_results(root / "out/results.csv")
    tokens = mean_tokens(root, "full+merge-cosine-0.5+prune-stride-0.5")
    assert tokens < mean_tokens(root, "full+merge-cosine-0.5") / 1.9
    assert rows[["merge_ratio", "pruning_ratio", "avg_vision_tokens"]].values.tolist() == [
        [0.5, 0.5, tokens]
    ]


@pytest.mark.parametrize(
    ("command", "flags", "message"),
    [
        ("pareto_pruning", ["--ratios", "0"], "expected numbers above 0 and up to 1, got '0'"),
        ("pareto_pruning", ["--ratios", "half"], "above 0 and up to 1, got 'half'"),
        ("pareto_pruning", ["--ratios", "0.5", "--mode", "largest"], "'largest'"),
        ("pareto_merge", ["--merge_ratio_list", "0.5,2"], "above 0 and up to 1, got '2'"),
        ("pareto_merge", ["--merge_ratio_list", "0.5", "--enable_prune", "no"], "true or false"),
        ("pareto_resolution", ["--vision_budget_list", "224,x"], "whole numbers from 1, got 'x'"),
        ("pareto_granularity", ["--pooling_list", "0"], "whole numbers from 1, got '0'"),
        ("pareto_granularity", ["--pooling_list", "1,"], "whole numbers from 1, got ''"),
        ("pareto_granularity", [], "--pooling_list"),
    ],
)
def test_wrong_flags(
    command: str, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--config", "c.yaml", "--checkpoint", "c.pt", "--output_dir", "out"]
    with pytest.raises(SystemExit) as exit_info:
        cli.main([command, *shared, *flags])
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_merging_and_pruning_nothing_is_refused(
    hand: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, shared = hand
    flags = ["--merge_ratio_list", "0.5", "--enable_prune", "true"]
    arguments = ["pareto_merge", *shared, *flags, "--output_dir", str(root / "out")]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert "baseline_enable_prune: needs a baseline_pruning_ratio below 1" in error
    assert not (root / "out").exists()
