"""What is exported is read again as it was: every form gives the same results."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from support.replays import GRADED, World, write_world
from vovnet.commands.export import FORMS as NAMED
from vovnet.commands.export import export as command
from vovnet.config import Settings, imported_sets, read_yaml, validate, yaml_text
from vovnet.core.errors import ConfigError
from vovnet.data.importing import import_set
from vovnet.evaluation.columns import read_results
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.exporting import FORMS, export
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies.experiments import needed_views
from workflow.plan import Plan

AGAIN = {
    "full": {"baseline_name": "always_full"},
    "oracle": {"baseline_name": "oracle"},
    "cascade": {"baseline_name": "cascade", "options": {"threshold": 0.5}},
}
"""Policies that read no text pass."""

SAME = ["accuracy", "accuracy_lo", "accuracy_hi", "avg_cost", "avg_vision_tokens", "avg_flops"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    own = {name: {"title": name, "policy": policy} for name, policy in AGAIN.items()}
    root = tmp_path_factory.mktemp("world")
    settings, layout = write_world(root, {"toy": GRADED}, [0], 60, {"experiments": own})
    for name in own:
        evaluate_experiment(settings, layout, name)
    return settings, layout


def imported(settings: Settings, layer: Path, change: dict[str, Any]) -> Settings:
    """The same suite with the exported files in place of the run."""
    value = settings.model_dump() | {"experiments": change, "targets": {}, "report": {}}
    again = validate(value | {"runs": read_yaml(layer)["runs"]}, "test")
    Plan(again)
    (run,) = again.runs
    for name in imported_sets(again, run):
        trained = TrainedModel(again, again.layout, run, 0)
        assert import_set(trained, name) == 0
        if further := needed_views(again, run, 0, name):
            import_set(trained, name, further)
    for name in again.experiments:
        evaluate_experiment(again, again.layout, name)
    return again


@pytest.mark.parametrize("form", FORMS)
def test_exported_views_give_the_same_results_again(
    world: World, tmp_path: Path, form: str
) -> None:
    settings, layout = world
    paths = export(settings, layout, tmp_path, form, "vovnet", 0)
    assert all(path.is_file() for path in paths)
    stanzas = {
        f"{name}_again": {"title": name, "run": "vovnet_logs", "policy": policy}
        for name, policy in AGAIN.items()
    }
    imported(settings, tmp_path / "import.yaml", stanzas)
    for name in AGAIN:
        before, after = (
            read_results(layout.eval(item) / "results.csv")[SAME]
            for item in (name, f"{name}_again")
        )
        pd.testing.assert_frame_equal(before, after)
    text = (tmp_path / "README.md").read_text()
    assert "| toy | toy, dev | mmbench (" in text and "| full | 60 |" in text


def test_exported_outcomes_are_views_of_their_own(world: World, tmp_path: Path) -> None:
    """What a policy did, held against the views that it chose from."""
    settings, layout = world
    for part, experiments in (("views", ()), ("done", ("cascade",))):
        export(settings, layout, tmp_path / part, "lmms_eval", "vovnet", 0, experiments)
    layers = [read_yaml(tmp_path / part / "import.yaml") for part in ("views", "done")]
    whole, done = (layer["runs"]["vovnet_logs"]["imported"]["toy"] for layer in layers)
    assert list(done["views"]) == ["log-cascade"] and "actions" not in layers[1]
    whole["views"] |= done["views"]
    (tmp_path / "both.yaml").write_text(yaml_text(layers[0]))
    policy = {"baseline_name": "always_view", "view": "log-cascade"}
    stanza = {"title": "Theirs", "run": "vovnet_logs", "policy": policy}
    imported(settings, tmp_path / "both.yaml", {"theirs": stanza})
    before, after = (
        read_results(layout.eval(name) / "results.csv")[SAME] for name in ("cascade", "theirs")
    )
    pd.testing.assert_frame_equal(before, after)


def test_experiments_of_unlike_questions_or_alike_names_are_not_mixed(
    world: World, tmp_path: Path
) -> None:
    settings, layout = world
    few = {"title": "Few", "max_samples": 7, "policy": {"baseline_name": "always_full"}}
    value = settings.model_dump()
    value["experiments"] |= {"a_b": few, "a-b": few}
    settings = validate(value, "test")
    for name in ("a_b", "a-b"):
        evaluate_experiment(settings, layout, name)
    export(settings, layout, tmp_path, "matrix", "vovnet", 0, ["a_b"])
    assert len((tmp_path / "toy.csv").read_text().splitlines()) == 1 + 7
    for names, message in ((("a_b", "a-b"), "'log-a_b'"), (("a_b", "full"), "of one max_samples")):
        with pytest.raises(ConfigError, match=message):
            export(settings, layout, tmp_path, "matrix", "vovnet", 0, names)


def test_sets_that_no_experiment_has_are_left_out(tmp_path: Path) -> None:
    sets = {"toy": GRADED, "more": GRADED}
    own = {name: {"title": name, "policy": policy} for name, policy in AGAIN.items()}
    own["full"]["datasets"] = ["more"]
    settings, layout = write_world(tmp_path, sets, [0], 20, {"experiments": own})
    evaluate_experiment(settings, layout, "full")
    for form in FORMS:
        export(settings, layout, tmp_path / form, form, "vovnet", 0, ["full"])
        layer = read_yaml(tmp_path / form / "import.yaml")
        assert list(layer["runs"]["vovnet_logs"]["imported"]) == ["more"]
        validate(settings.model_dump() | {"runs": layer["runs"], "experiments": {}}, "test")


def test_each_form_has_the_keys_of_its_program(world: World, tmp_path: Path) -> None:
    settings, layout = world
    for form in FORMS:
        export(settings, layout, tmp_path / form, form, "vovnet", 0)
    first = json.loads((tmp_path / "lmms_eval/full/samples_toy.jsonl").read_text().splitlines()[0])
    assert {"doc_id", "target", "resps", "filtered_resps", "input"} <= first.keys()
    assert first["score"]["id"] == "q0"
    with (tmp_path / "vlmevalkit/full_toy.tsv").open(newline="") as file:
        row = next(csv.DictReader(file, delimiter="\t"))
    assert {"index", "question", "A", "D", "answer", "category", "prediction", "hit"} <= row.keys()
    with (tmp_path / "matrix/toy.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert {"sample_id", "prompt", "eval_name", "full", "full|model_response"} <= row.keys()
    assert row["full|total_cost"] == "16"


def test_the_command_names_what_is_wrong(world: World, tmp_path: Path) -> None:
    settings, _ = world
    path = tmp_path / "suite.yaml"
    path.write_text(yaml_text(settings.model_dump()))
    assert tuple(FORMS) == NAMED
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    given = ["--config", str(path), "--form", "matrix", "--output_dir", str(tmp_path / "out")]
    for further, message in (
        (["--run", "nobody"], "--run: expected one of"),
        (["--experiments", "nothing"], "--experiments: expected some of"),
        (
            ["--experiments", "full", "--seed", "9"],
            r"--seed: expected one of \[0\], .*'full', got 9",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            command.run(parser.parse_args([*given, *further]))
    command.run(parser.parse_args(given))
    assert (tmp_path / "out/toy.csv").is_file()
    nothing = validate({"results_dir": str(tmp_path)}, "none")
    with pytest.raises(ConfigError, match=r"data\.eval_sets: expected a set to export"):
        export(nothing, nothing.layout, tmp_path / "none", "matrix", "vovnet", 0)
