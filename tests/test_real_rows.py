"""The layer by which the sample rows of all four real layouts go through the pipeline."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.projects import copy_project, planned
from support.repository import ROOT, shared
from vovnet import cli
from vovnet.config import Settings, load, validate
from vovnet.core.files import read_json, sha256_file
from vovnet.core.layout import Layout
from vovnet.data.sets import image_paths, load_set, load_train

LAYERS = [ROOT / "config/test.yaml", ROOT / "config/real_rows.yaml"]
REAL = ("real_mmbench", "real_mmmu", "real_textvqa", "real_llava")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, world: Path) -> tuple[Settings, Layout]:
    """The layer's settings, with every split prepared by the commands and checked for leakage."""
    samples = shared("samples")
    folder = tmp_path_factory.mktemp("real")
    value = load(LAYERS).model_dump(mode="json")
    value["results_dir"] = str(folder)
    for name, dataset in value["data"]["datasets"].items():
        raw = dataset["root"].removeprefix("../shared/samples/")
        dataset["root"] = str(samples / raw if name in REAL else world / "raw" / name)
        dataset["source"] = "local"
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(value))
    for name, dataset in value["data"]["datasets"].items():
        for split in dataset["files"]:
            arguments = ["--config", str(config), "--dataset", name, "--split", split]
            assert cli.main(["prepare", *arguments]) == 0
    assert cli.main(["leakage", "--config", str(config)]) == 0
    return validate(value, "real rows"), Layout(folder)


def test_the_dag_takes_real_and_synthetic_rows(tmp_path: Path) -> None:
    copy_project(tmp_path)
    layers = ["--configfile", "config/test.yaml", "config/real_rows.yaml"]
    jobs = planned(tmp_path, "all", *layers)
    settings = load(LAYERS)
    parts = [*settings.data.train, *settings.data.router_fit, *settings.data.eval_sets.values()]
    assert jobs["prepare"] == len({(part.dataset, part.split) for part in parts}) == 12
    # Every recipe is observed on every set; the default on the routers' set too, and on every
    # set under further views.
    observed = (len(settings.runs) + 1) * len(settings.data.eval_sets) + 1
    assert jobs["gather"] == len(settings.seeds) * observed


def test_every_layout_is_trained_on_or_evaluated(real: tuple[Settings, Layout]) -> None:
    settings, layout = real
    trained = {sample.dataset for sample in load_train(settings, layout)}
    assert {"real_mmbench", "real_textvqa", "real_llava"} < trained
    evaluated = {name: load_set(settings, layout, name) for name in settings.data.eval_sets}
    assert {name: len(samples) for name, samples in evaluated.items() if name in REAL} == {
        "real_mmbench": 28,  # rows of seven of the ten groups
        "real_mmmu": 3,
        "real_textvqa": 5,
    }


def test_images_are_the_bytes_of_their_source(real: tuple[Settings, Layout]) -> None:
    settings, layout = real
    for name in settings.data.eval_sets:
        for sample in load_set(settings, layout, name):
            for ref, path in zip(sample.images, image_paths(settings, layout, sample), strict=True):
                assert sha256_file(path) == ref.sha256
    folder = shared("samples/textvqa/dummy_data/train_images")
    published = {sha256_file(path) for path in folder.iterdir()}
    stored = {path.stem for path in (layout.data("real_textvqa") / "images").iterdir()}
    assert stored <= published


def test_real_rows_do_not_leak(real: tuple[Settings, Layout]) -> None:
    _, layout = real
    report = read_json(layout.leakage_report)
    for name in ("real_mmbench", "real_mmmu", "real_textvqa"):
        counts = {kind: report["sets"][name][kind]["count"] for kind in ("image", "near_image")}
        assert counts == {"image": 0, "near_image": 0}


def test_the_benchmark_of_preparation_measures(tmp_path: Path) -> None:
    script = ROOT / "workflow/bench_prepare.py"
    for case in ("mmbench", "llava"):
        result = subprocess.run(
            [sys.executable, str(script), case, "40"], capture_output=True, text=True, check=True
        )
        assert result.stdout.startswith(f"{case:8}rows      40"), result.stdout
        assert "MiB" in result.stdout
