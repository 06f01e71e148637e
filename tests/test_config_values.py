"""Values of the configuration that cannot be used: one line that names the key, before any job."""

from __future__ import annotations

import re
import shlex
import string
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.utils import format as quoted

from support.projects import plan
from support.properties import given, st
from support.repository import ROOT, TINY_MODEL
from vovnet import cli
from vovnet.config import PromptTemplates, load, read_yaml, validate
from vovnet.config.data import TEMPLATE_FIELDS
from vovnet.core.errors import ConfigError
from vovnet.core.layout import TAKEN
from vovnet.data.prompts import filled
from workflow.plan import Plan, check_target, make_plan
from workflow.plan.jobs import Jobs

DATASET = {"format": "mmbench", "root": "raw", "files": {"dev": "dev.tsv"}}
DIGITS = "0" * 32


def template(text: str) -> dict[str, Any]:
    return {"data": {"prompt_template": {"vqa": text}}}


def dataset(**keys: Any) -> dict[str, Any]:
    return {"data": {"datasets": {"toy": DATASET | keys}}}


def experiment(**keys: Any) -> dict[str, Any]:
    return {"experiments": {"a": {"title": "A"} | keys}}


def matches(*sources: str) -> dict[str, Any]:
    """The experiments a, b and c, of which the first ones copy the ratios of `sources`."""
    stanzas: dict[str, Any] = {name: {"title": name} for name in "abc"}
    for name, source in zip("abc", sources, strict=False):
        stanzas[name]["match"] = {"experiment": source, "lambda_costs": [0.02]}
    return {"experiments": stanzas}


WRONG: list[tuple[dict[str, Any], str]] = [
    (template('{"answer": "..."} {question}'), 'data.prompt_template.vqa: unknown field {"answer"'),
    (template("{question"), "data.prompt_template.vqa: expected '}' before end of string"),
    (template("{question} {image}"), "data.prompt_template.vqa: unknown field {image}"),
    (template("{question.x}"), "data.prompt_template.vqa: unknown field {question.x}"),
    (template("{question!r}"), "data.prompt_template.vqa: unknown field {question!r}"),
    (template("What is it?"), "data.prompt_template.vqa: expected {question} in it"),
    ({"seeds": [-1]}, "seeds.0: Input should be greater than or equal to 0, got -1"),
    ({"seeds": [2**32]}, "seeds.0: Input should be less than 4294967296"),
    ({"seeds": [0, 1, 0]}, "seeds: expected each value once, got 0 twice"),
    (experiment(seeds=[2, 2]), "experiments.a.seeds: expected each value once, got 2 twice"),
    (experiment(datasets=["x", "x"]), "experiments.a.datasets: expected each value once"),
    (
        experiment(sweep={"lambda_cost": [0.02, 0.1, "2e-2"]}),
        "experiments.a.sweep.lambda_cost: expected each value once, got 0.02 twice",
    ),
    (
        {
            "experiments": {
                "a": {"title": "A", "match": {"experiment": "b", "thresholds": [1, 1.0]}},
                "b": {"title": "B", "sweep": {"baseline_threshold": [1]}},
            }
        },
        "experiments.a.match: expected each value once, got 1.0 twice",
    ),
    (dataset(checksums={"dev": f"md4:{DIGITS}"}), "data.datasets.toy.checksums.dev: expected md5:"),
    (dataset(checksums={"dev": "md5:12"}), "data.datasets.toy.checksums.dev: expected md5:"),
    (
        dataset(checksums={"val": f"md5:{DIGITS}"}),
        "there is no split 'val', expected one of ['dev']",
    ),
    (
        dataset(root="~nobody-of-this-name/x"),
        "data.datasets.toy.root: there is no such home folder",
    ),
    (
        dataset(root="a{b}", source="synthetic"),
        "data.datasets.toy: root and files: expected no '{' or '}'",
    ),
    ({"results_dir": "a{b}"}, "results_dir: expected a folder of this machine"),
    ({"results_dir": "s3://bucket/x"}, "results_dir: expected a folder of this machine"),
    ({"results_dir": "-rf"}, "results_dir: expected a folder of this machine"),
    ({"results_dir": "a\nb"}, "results_dir: expected a path without control characters"),
    ({"quick": True}, "quick: Input should be a number, got True"),
    ({"seeds": [True]}, "seeds: Input should be a number, got True"),
    ({"policy": {"lambda_cost": False}}, "policy.lambda_cost: Input should be a number, got False"),
    ({"training": {"adam_betas": [False, 0.9]}}, "training.adam_betas: Input should be a number"),
    (
        experiment(sweep={"lambda_cost": [True, 2]}),
        "experiments.a.policy.lambda_cost: Input should be a number, got True",
    ),
    (
        {"training": {"gradient_accumulation_steps": 4}},
        "training.gradient_accumulation_steps: unknown key, training.micro_batch_tokens has taken",
    ),
    (
        {"runs": {"vovnet": {"training": {"gradient_accumulation_steps": 4}}}},
        "training.gradient_accumulation_steps: unknown key, training.micro_batch_tokens has taken",
    ),
    (
        {"runs": {"vovnet": {"data": {"router_fit_held_out": True}}}},
        "runs.vovnet.data.router_fit_held_out: no run may override leakage, router_fit, ",
    ),
    (
        {"runs": {"vovnet": {"data": {"leakage": {"on_hit": "drop"}}}}},
        "runs.vovnet.data.leakage: no run may override",
    ),
    (
        {"runs": {"vovnet": {"data": {"router_fit": []}}}},
        "runs.vovnet.data.router_fit: no run may override",
    ),
    *(
        ({"runs": {"x": {"data": {key: value}}}}, f"runs.x.data.{key}: no run may override")
        for key, value in [
            ("eval_sets", {}),
            ("datasets", {"mine": DATASET}),
            ("synthetic", {"seed": 1}),
            ("mmbench_train_fraction", 0.5),
            ("mmbench_train_seed", 1),
        ]
    ),
    (matches("a"), "experiments.a.match: expected an experiment that does not copy this one in"),
    (matches("b", "c", "b"), "experiments.b.match: expected an experiment that does not copy this"),
    (matches("b", "c", "a"), "in turn, got the circle a -> b -> c -> a"),
    (
        experiment(match={"experiment": "b", "lambda_costs": [0.02], "buckets": 10**9}),
        "experiments.a.match.buckets: Input should be less than or equal to 1000, got 1000000000",
    ),
    (
        {"runs": {"vovnet": {"policy": {"objective": "correctness"}}}},
        "runs.vovnet.policy.objective: it changes no training, so that no run may override it",
    ),
    ({"runs": {"vovnet": {"eval": 3}}}, "runs.vovnet.eval: expected a mapping of overrides, got 3"),
    ({"runs": {"vovnet": {"eval": {1: 2, "a": 3}}}}, "runs.vovnet.eval.1: a run may override"),
    ({"runs": {"vovnet": {"model": 3}}}, "runs.vovnet.model: expected a mapping of overrides"),
    ({"runs": {"vovnet": {"data": None}}}, "runs.vovnet.data: expected a mapping of overrides"),
    ({"runs": {"vovnet": {"last_stage": True}}}, "runs.vovnet.last_stage: expected 1 or 2, got T"),
]


@pytest.mark.parametrize(("value", "message"), WRONG)
def test_a_wrong_value_names_its_key(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(value, "a.yaml")
    assert str(caught.value).startswith("a.yaml: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.lists(
        st.one_of(
            st.sampled_from([f"{{{field}}}" for field in TEMPLATE_FIELDS]),
            st.sampled_from(["{{", "}}", "{", "}", "{}", "{0}", "!r", ":", "{choices[A]}"]),
            st.text(string.printable, max_size=5),
        )
    )
)
def test_a_template_is_refused_or_shows_the_question_as_it_is(parts: list[str]) -> None:
    text = "".join(parts)
    try:
        templates = PromptTemplates(vqa=text)
    except ValueError as error:
        assert "vqa" in str(error)
        return
    asked = "{question} of {0} braces"
    shown = filled(templates.vqa, asked, {"A": "{hint}"}, "hint")
    assert asked in shown


# ---- files -----------------------------------------------------------------------------

TIMES_NINE = [
    "a0: &a0 [1]",
    *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)),
]
BOMB = "\n".join(TIMES_NINE)
"""Nine times nine and so on, by aliases."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: [1]\nseeds: [2]\n", ", line 2: the key 'seeds' stands in line 1 already"),
        ("data:\n  train: []\n  train: []\n", ", line 3: the key 'train' stands in line 2 already"),
        ("a: {b: 1, 'b': 2}\n", ", line 1: the key 'b' stands in line 1 already"),
        ("a: [1\n", ", line 2: not valid YAML"),
        ("a: 2024-13-45\n", ": not valid YAML (month must be in 1..12)"),
        ("a: !!python/name:os.system\n", ", line 1: not valid YAML"),
        ("- 1\n", ": expected a mapping of keys, got list"),
        ("a: &a {b: [*a]}\n", ": an alias stands inside of what it stands for"),
        (BOMB, ": expected at most 1,000,000 values, aliases counted"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_merged_mappings_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(path)["b"] == {"x": 3, "y": 2}


@given(st.text(st.sampled_from(list("ab:{}[]-,#&*!|>'\"%@` \n\t\ufeff\x00é0.~=<")), max_size=40))
def test_any_text_is_a_mapping_or_one_line(text: str) -> None:
    path = Path("/dev/shm") / "vovnet-any.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        assert isinstance(read_yaml(path), dict)
    except ConfigError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    finally:
        path.unlink()


def test_two_suites_of_their_own_do_not_go_together(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.yaml", "b.yaml", "layer.yaml")]
    for path in paths:
        alone = "false" if path.stem == "layer" else "true"
        path.write_text(f"{{standalone: {alone}, results_dir: results/{path.stem}}}")
    assert load([paths[0], paths[2]]).standalone is False
    with pytest.raises(ConfigError, match=rf"^{paths[1]}: standalone: {paths[0]} is a suite"):
        load(paths[:2])


# ---- before any job --------------------------------------------------------------------

LATE = {"baseline_name": "always_view", "view": "full+fastv-layer4-0.5"}
TWICE = {"baseline_name": "cascade", "options": {"views": ["full", "full"], "threshold": 0.1}}
DRAWN = {"baseline_name": "random_policy_matched"}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": {"family": "qwen9"}}, "model.family: expected one of ['qwen2_5_vl', 'qwen3_vl']"),
    ({"model": {"family": "qwen2_5_vl"}}, "is of type 'qwen3_vl', expected 'qwen2_5_vl'"),
    ({"runs": {"vovnet": {"model": {"base_model_name": "./gone"}}}}, "there is no folder './gone'"),
    (
        {"runs": {"vovnet": {"training": {"stage2_action_floor": 0.4}}}},
        "runs.vovnet: training.stage2_action_floor: expected at most 0.333333 for 3 actions",
    ),
    (
        {"runs": {"vovnet": {"model": {"dtype": "float16"}}}},
        "runs.vovnet: model.dtype: expected float32 or bfloat16 for weights that are trained",
    ),
    ({"data": {"train": []}}, "data.train: the run is trained, expected at least one part"),
    ({"runs": {"x" * 101: {}}}, "must be at most 100 letters, digits"),
    (
        {"data": {"datasets": {"leakage.json": DATASET}}},
        "data.datasets: the name 'leakage.json' is taken by the leakage gate",
    ),
    (
        {"experiments": {"late": {"title": "Late", "policy": LATE}}},
        "experiments.late: fastv-layer4-0.5: expected a layer before the last",
    ),
    (
        {
            "experiments": {
                "drawn": {
                    "title": "Drawn",
                    "policy": DRAWN,
                    "match": {"experiment": "twice", "thresholds": [0.1]},
                },
                "twice": {"title": "Twice", "policy": TWICE},
            }
        },
        "experiments.twice.policy.options: views must be at least two different ones",
    ),
]


@pytest.mark.parametrize(("value", "message"), REFUSED)
def test_what_a_job_would_be_told_late_is_told_before(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(value)
    assert message in str(caught.value) and "runs.vovnet: experiments.twice" not in str(
        caught.value
    )


def test_a_bench_needs_a_replayed_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    empty = Plan(validate({"results_dir": str(tmp_path)}, "none"))
    with pytest.raises(SystemExit, match=r"^vovnet: error: experiments: bench needs one of mode"):
        empty.bench_inputs({})


@pytest.mark.parametrize("place", ["file", "file/below/it"])
def test_results_below_a_file_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as caught:
        make_plan({"results_dir": str(tmp_path / place)})
    message = f"vovnet: error: results_dir: {tmp_path}/file is a file, expected a folder"
    assert caught.value.code == message


@pytest.mark.parametrize("name", TAKEN)
def test_a_file_in_the_place_of_a_folder_of_results_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(SystemExit) as caught:
        make_plan({"results_dir": str(tmp_path)})
    message = f"vovnet: error: results_dir: {tmp_path}/{name} is a file, expected a folder"
    assert caught.value.code == message


def test_a_report_needs_a_replayed_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    empty = Plan(validate({"results_dir": str(tmp_path)}, "none"))
    with pytest.raises(SystemExit, match=r"^vovnet: error: experiments: report 'paper' needs one"):
        empty.hull_inputs(SimpleNamespace(report="paper"))


def test_a_misspelt_target_names_those_alike(tmp_path: Path) -> None:
    check_target("results/some/file.csv", {"mvp"})
    with pytest.raises(SystemExit) as caught:
        check_target("mpv", {"mvp", "all"})
    assert caught.value.code == "vovnet: error: mpv: there is no such target, did you mean mvp?"


REPEATED = [
    ("eval", "--pareto", ["0.02", "0.02"]),
    ("eval", "--pareto", ["1", "0", "1.0"]),
    ("pareto_threshold", "--thresholds", ["inf", "inf"]),
    ("pareto_pruning", "--ratios", ["0.5", ".5"]),
    ("pareto_merge", "--merge_ratio_list", ["0.5,0.50"]),
    ("pareto_resolution", "--vision_budget_list", ["64,64"]),
    ("pareto_granularity", "--pooling_list", ["2,2"]),
]


@pytest.mark.parametrize(("command", "flag", "values"), REPEATED)
def test_a_sweep_by_hand_has_each_value_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    flag: str,
    values: list[str],
) -> None:
    shared = ["--config", "a.yaml", "--checkpoint", "x", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, *shared, flag, *values])
    errors = capsys.readouterr().err
    assert stopped.value.code == 2 and errors.count("\n") == 1
    assert f"argument {flag}: expected each value once, got " in errors


@given(st.text(st.sampled_from(list("aZ09_.-/ ~'$\nö数~:")), min_size=1, max_size=6))
def test_a_name_is_refused_or_is_one_part_of_a_path_and_one_word(name: str) -> None:
    named = {"runs": {name: {"model": {"base_model_name": str(TINY_MODEL)}}}}
    try:
        Plan(validate(named | {"results_dir": "results/no-such-suite"}, "a.yaml"))
    except ConfigError as error:
        assert f"runs: {name!r} must be" in str(error)
        return
    assert Path(f"results/{name}").parts == ("results", name)
    assert re.fullmatch(r"[\w.-]+", name) and not name.startswith(("-", "."))


# ---- paths -----------------------------------------------------------------------------

COMMANDS = {"params.launcher", "params.views", "params.command"}
"""What a rule's shell command takes as it is: parts of a command, whose paths are quoted."""


def test_every_path_reaches_the_shell_quoted() -> None:
    fields = {
        field
        for path in ROOT.glob("rules/*.smk")
        for field in re.findall(r"\{((?:params|input|output|log)[^{}]*)\}", path.read_text())
    }
    assert {"params.config:q", "log:q"} <= fields
    assert {field for field in fields if not field.endswith(":q")} <= COMMANDS


@given(
    st.text(st.sampled_from(list("ab ~'\"$()&;|<>*?[]#!%\\\t{}-.,/é数")), min_size=1, max_size=12)
)
def test_a_results_folder_is_refused_or_reaches_commands_as_it_is(name: str) -> None:
    try:
        jobs = Jobs(validate({"results_dir": name}, "a.yaml"))
    except ConfigError as error:
        assert str(error).startswith("a.yaml: results_dir: ")
        return
    record = str(Path(name).expanduser() / "benchmarks/observe/all.gpu.json")
    words = shlex.split(jobs.leased("observe")({}, {"gpu": 2}))
    assert words[words.index("--record") + 1] == record
    assert shlex.split(quoted("{path:q}", path=Path(record))) == [record]


def test_a_precision_of_no_may_stand_without_quotes(tmp_path: Path) -> None:
    """YAML reads a bare `no` as false."""
    path = tmp_path / "config.yaml"
    path.write_text("training: {mixed_precision: no}")
    assert load([ROOT / "config/test.yaml", path]).training.mixed_precision == "no"
    with pytest.raises(ConfigError, match=r"training.mixed_precision: .* got True"):
        load([ROOT / "config/test.yaml"], ["training.mixed_precision=yes"])
