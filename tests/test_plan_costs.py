"""What `vovnet plan` expects jobs to take: counted work, throughput, and what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.repository import ROOT
from support.samples import make_sample
from support.worlds import settings_of
from vovnet import cli
from vovnet.commands.plan.costs import basis, stage_rows, subset_rows
from vovnet.commands.plan.estimates import Estimate, Estimator
from vovnet.commands.plan.sizes import Part, Probe, Sizes, UnknownSizeError
from vovnet.commands.plan.tasks import Suite, Task, expected_times
from vovnet.commands.plan.work import TERA, Work
from vovnet.config import ModelSettings, Settings, SplitRef, merge
from vovnet.core.errors import CheckpointError, ConfigError, DataError
from vovnet.core.files import write_text
from vovnet.core.layout import Layout
from vovnet.data.left_out import LeftOut, write_left_out
from vovnet.model.architectures import COUNTED, PUBLIC, model_flops
from vovnet.model.families import FAMILIES
from vovnet.model.flops import LanguageModel, ModelFlops, VisionTower
from vovnet.model.throughput import PACKAGED, load_throughput

# prefill(T) = 2 (7 T + 2 T^2 + 1), and a tower takes 2 for each vision token.
SMALL = ModelFlops(LanguageModel(1, 1, 1, 1, 1, 1, 1), VisionTower(0, 1, 1, 1, 1, 1, 0))
PROBE = Probe(images=((32, 32),), prompt_tokens=5, answer_tokens=2)
LORA = {"model": {"lora": {"r": 4}}}


def prefill(tokens: int) -> int:
    return 2 * (7 * tokens + 2 * tokens**2 + 1)


def small_work(folder: Path, overrides: dict[str, Any]) -> Work:
    once = {"training": {"stage1_epochs": 1, "stage2_epochs": 1}}
    work = Work(settings_of(Layout(folder), merge(once, overrides)))
    work.model = SMALL
    return work


def measurement(folder: Path, **changes: Any) -> Path:
    path = folder / "bench_gpu.json"
    path.write_text(json.dumps(json.loads(PACKAGED.read_text()) | changes))
    return path


# ---- counted work ----------------------------------------------------------------------


def test_training_work_is_what_a_person_counts(tmp_path: Path) -> None:
    """One token of 32 x 32 pixels and its two marks; one further logit of the answer."""
    text, looked = prefill(7) + 2, prefill(10) + 2
    parts = [Part(3, (PROBE,))]
    lora = small_work(tmp_path, LORA)
    assert lora.stage1(parts) * TERA == pytest.approx(3 * (2 * looked + 2))
    no_vision = small_work(tmp_path, LORA | {"training": {"stage1_baseline_name": "no_vision"}})
    assert no_vision.stage1(parts) * TERA == pytest.approx(3 * 2 * text)
    drawn = {"training": {"stage1_baseline_name": "random_policy_matched"}}
    evenly = 2 * (text + 2 * looked) + 2 * 2
    assert small_work(tmp_path, LORA | drawn).stage1(parts) * TERA == pytest.approx(evenly)
    whole = small_work(tmp_path, {})
    assert whole.stage1(parts) * TERA == pytest.approx(3 * 3 * (looked + 2))
    # COARSE and FULL show the same, each with a gradient for a third of the samples.
    third = 2 * text + 2 * (looked * (1 + 1 / 3) + 2)
    assert lora.stage2(parts) * TERA == pytest.approx(3 * third)
    soft = small_work(tmp_path, LORA | {"policy": {"use_straight_through": False}})
    everything = 2 * text + 2 * (2 * looked + 2)
    assert soft.stage2(parts) > lora.stage2(parts)
    assert soft.stage2(parts) * TERA == pytest.approx(3 * everything)


def test_observing_encodes_an_image_once_for_the_views_of_a_budget(tmp_path: Path) -> None:
    work = small_work(tmp_path, {"eval": {"max_new_tokens": 1}})
    one = work.observing([Part(1, (PROBE,))], ["full"], text_pass=False) * TERA
    after = 2 * (7 * 6 + 2 * 6 * 8 + 1)  # six tokens after the two that the text pass left
    decoded = 2 * (7 + 2 * 9 + 1)
    assert one == pytest.approx(2 + after + decoded)
    views = ["full", "full+prune-stride-1"]
    assert work.observing([Part(1, (PROBE,))], views, text_pass=True) * TERA == pytest.approx(
        prefill(5) + 2 + 2 * (after + decoded)
    )


def test_models_are_counted_from_their_folder_or_by_their_public_sizes(tmp_path: Path) -> None:
    named = ModelSettings(base_model_name="Qwen/Qwen3-VL-8B-Instruct")
    assert model_flops(named) == COUNTED["qwen3_vl"](PUBLIC["Qwen3-VL-8B"])
    tiny = model_flops(settings_of(Layout(tmp_path)).model)
    assert tiny.language_model.num_hidden_layers == 4
    assert COUNTED.keys() == FAMILIES.keys()
    with pytest.raises(CheckpointError, match="sizes of 'nobody/knows' are not known"):
        model_flops(ModelSettings(base_model_name="nobody/knows"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"config\.json: not the sizes of a qwen3_vl"):
        model_flops(ModelSettings(base_model_name=str(tmp_path)))


# ---- samples ---------------------------------------------------------------------------


def test_caps_count_questions_and_circular_passes_are_samples(tmp_path: Path) -> None:
    sets = {"synth_mmbench": {"passes": "all"}}
    size = {"synth_mmbench": {"dev": {"samples": 12, "questions": 3}}}
    layers = {"data": {"eval_sets": sets}, "plan": {"sizes": size}}
    sizes = Sizes(settings_of(Layout(tmp_path), layers))
    assert [part.samples for part in sizes.observed("synth_mmbench")] == [12]
    assert [part.samples for part in sizes.observed("synth_mmbench", 2)] == [8]
    assert [part.samples for part in sizes.observed("synth_mmmu")] == [15]
    assert sizes.assumed == {"synth_mmbench dev", "synth_mmmu validation"}


def test_prepared_samples_say_what_they_look_like(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = {"path": "a.png", "width": 40, "height": 30, "sha256": "0"}
    samples = [
        make_sample(str(number), images=[image], group="g", pass_index=number, answer_text="yes!")
        for number in range(4)
    ]
    lines = "".join(sample.model_dump_json() + "\n" for sample in samples)
    write_text(layout.samples("synth_mmbench", "dev"), lines)
    sizes = Sizes(settings_of(layout, {"data": {"prompt_template": {"vqa": "{question} now"}}}))
    (part,) = sizes.observed("synth_mmbench")
    assert part.samples == 1, "one question in four passes, of which the first counts"
    assert part.probes[0] == Probe(((40, 30),), 2 + 8, 2), "nine characters are two tokens"


def test_what_the_gate_leaves_out_is_not_counted(tmp_path: Path) -> None:
    size = {"synth_mmbench": {"train": {"samples": 10}}}
    data = {"leakage": {"on_hit": "drop"}}
    settings = settings_of(Layout(tmp_path), {"plan": {"sizes": size}, "data": data})
    made = replace(suite(tmp_path, [], None), settings=settings)
    assert any("leakage gate has not run" in line for line in basis(made))
    told = {"mix": "train", "dataset": "synth_mmbench", "split": "train", "set": "synth_mmbench"}
    rows = [LeftOut(**told, row=row, id="a", kind="id", shared_with="b") for row in (1, 3, 9)]
    write_left_out(made.settings.layout.left_out, rows)
    assert not any("leakage gate" in line for line in basis(made))
    sizes, part = Sizes(made.settings), SplitRef(dataset="synth_mmbench", split="train")
    few, drawn = ({"max_samples": 5} | seed for seed in ({}, {"draw_seed": 0}))
    parts = [part, part.model_copy(update=few), part.model_copy(update=drawn)]
    for mix, counts in (("train", [7, 3, 2]), ("router_fit", [10, 5, 5]), (None, [10, 5, 5])):
        assert [found.samples for found in sizes.mix(parts, mix)] == pytest.approx(counts)


# ---- run times -------------------------------------------------------------------------


def estimator(folder: Path, overrides: dict[str, Any], **changes: Any) -> Estimator:
    path = measurement(folder, **changes)
    return Estimator(settings_of(Layout(folder), overrides), load_throughput(path))


def test_a_trainings_time_is_its_work_at_the_measured_throughput(tmp_path: Path) -> None:
    training = {"stage1_tflops": 2e-3, "stage2_tflops": 1.0}
    layers = LORA | {"plan": {"start_s": 5}, "training": {"stage1_epochs": 2}}
    counted = estimator(tmp_path, layers, training=training)
    counted.throughput.scaling.update({2: 0.5})
    found = counted("train_stage1", {"run": "vovnet", "seed": "0"}, 3)
    parts = counted.sizes.mix(counted.settings.data.train)
    assert found.samples == 2 * sum(part.samples for part in parts) > 0
    assert found.tflop == pytest.approx(Work(counted.settings).stage1(parts))
    # Three cards keep what two of them were measured to keep.
    assert found.seconds == pytest.approx(5 + found.tflop / (2e-3 * 0.5 * 3))
    assert found.rate == "0.002 TFLOP/s x 0.5 on 3"
    on_cpu = counted("train_stage1", {"run": "vovnet", "seed": "0"}, 0)
    assert on_cpu == Estimate("train_stage1", found.samples, found.tflop)


def test_the_shards_of_an_observation_share_its_questions(tmp_path: Path) -> None:
    counted = estimator(tmp_path, {})
    job = {"run": "vovnet", "seed": "0", "eval_set": "synth_mmmu", "group": "actions"}
    whole, half = (counted("observe", job | {"part": "0", "parts": n}, 1) for n in ("1", "2"))
    assert (whole.samples, half.samples) == (15, 7.5)
    assert half.tflop == pytest.approx(whole.tflop / 2)
    views = counted("observe", job | {"group": "views", "part": "0", "parts": "1"}, 1)
    assert views.stage == "further_views"


def test_a_live_run_answers_one_question_after_the_other(tmp_path: Path) -> None:
    live = {"text_pass_ms": 100, "token_ms": 10, "prefill_full_ms": 40}
    counted = estimator(tmp_path, {"plan": {"answer_tokens": 6, "start_s": 0}}, live=live)
    capped = [min(15, counted.settings.experiments["profile_vovnet"].max_samples or 15)] * 3
    found = counted("live", {"experiment": "profile_vovnet"}, 1)
    assert found.samples == sum(capped)
    assert found.seconds == pytest.approx(sum(capped) * 0.2)
    full = counted("live", {"experiment": "profile_always_full"}, 1)
    assert full.seconds == pytest.approx(sum(capped) * 0.1), "it reads no text pass"


def test_a_split_of_unknown_size_is_named(tmp_path: Path) -> None:
    datasets = {"synth_mmmu": {"source": "local"}}
    counted = estimator(tmp_path, {"data": {"datasets": datasets}})
    with pytest.raises(UnknownSizeError, match="no synth_mmmu validation, which is not prepared"):
        counted.sizes.observed("synth_mmmu")
    job = {"run": "vovnet", "seed": "0", "eval_set": "synth_mmmu", "group": "actions"}
    assert counted("observe", job | {"part": "0", "parts": "1"}, 1) == Estimate("observe")
    assert len(counted.unknown) == 1


def test_what_was_measured_corrects_the_estimates_of_its_kind() -> None:
    class Job:
        is_norun = False

        def __init__(self, rule: str) -> None:
            self.rule = SimpleNamespace(name=rule)

    ran, waits, short, other, bench = *(Job("observe") for _ in range(3)), Job("live"), Job("bench")
    estimates = {
        ran: Estimate("observe", seconds=10.0),
        waits: Estimate("observe", seconds=20.0),
        short: Estimate("observe", seconds=5.0),
        other: Estimate("live", seconds=7.0),
        bench: Estimate("bench"),
    }
    assert expected_times(list(estimates), {ran: 30.0}, estimates) == {
        ran: (30.0, "measured"),
        waits: (60.0, "estimated"),
        short: (15.0, "estimated"),
        other: (7.0, "estimated"),
    }


# ---- what is printed -------------------------------------------------------------------


def suite(folder: Path, tasks: list[Task], price: float | None) -> Suite:
    settings = settings_of(Layout(folder), {"plan": {"price_per_gpu_hour": price}})
    return Suite(settings, load_throughput(PACKAGED), PACKAGED, tasks, [], [])


def test_hours_and_money_add_up(tmp_path: Path) -> None:
    train = Task("t", "train_stage1", "t", 2, 1, 1800, (), "estimated", Estimate("train_stage1"))
    half = Estimate("observe", samples=7, tflop=0.5, rate="9 TFLOP/s", start_s=36)
    shards = [Task(f"o{n}", "observe", "o", 1, 1, 900, (), "estimated", half) for n in "01"]
    made = suite(tmp_path, [*shards, train], 2.0)
    rows = {str(row["stage"]): row for row in stage_rows(made)}
    assert list(rows) == ["train_stage1", "observe"]
    assert (rows["train_stage1"]["gpu_hours"], rows["train_stage1"]["cost"]) == (1.0, 2.0)
    observed = rows["observe"]
    assert (observed["jobs"], observed["samples"], observed["tflop"]) == (2, 14, 1.0)
    assert (observed["gpu_hours"], observed["start_gpu_hours"]) == (0.5, 0.02)
    assert [row["gpu_hours"] for row in subset_rows(made, 0)] == [1.5, 0.5]
    assert "cost" not in stage_rows(suite(tmp_path, [train], None))[0]


def test_a_missing_measurement_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    path, layer = tmp_path / "bench_gpu.json", tmp_path / "layer.yaml"
    layer.write_text(f"plan: {{throughput: {path}}}\n")
    arguments = ["mvp", "--configfile", "config/test.yaml", "--configfile", str(layer)]
    assert cli.main(["plan", *arguments, "--gpus", "1", "--output", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err
    assert errors == f"vovnet: error: plan.throughput: {path}: file not found\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("sizes", "error"),
    [
        ({"nowhere": {"dev": {"samples": 1}}}, "plan.sizes: 'nowhere' is not in data.datasets"),
        ({"synth_mmmu": {"x": {"samples": 1}}}, "plan.sizes.synth_mmmu: 'x' is not in data.dat"),
    ],
)
def test_sizes_are_those_of_splits(tmp_path: Path, sizes: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        settings_of(Layout(tmp_path), {"plan": {"sizes": sizes}})


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"matmul_tflops": 0}, "matmul_tflops: Input should be greater than 0, got 0"),
        ({"matmul_tflops": True}, "matmul_tflops: Input should be a valid number, got True"),
        ({"matmul_tflops": "378"}, "matmul_tflops: Input should be a valid number, got '378'"),
        ({"scaling": {"8": 1.2}}, "scaling.8: Input should be less than or equal to 1, got 1.2"),
        ({"scaling": {"1": 1.0}}, "scaling.1"),
        ({"training": None}, "training: Input should be an object"),
    ],
)
def test_a_wrong_measurement_names_its_setting_and_file(
    tmp_path: Path, changes: dict[str, Any], error: str
) -> None:
    path = measurement(tmp_path, **changes)
    with pytest.raises(DataError) as caught:
        load_throughput(path)
    assert str(caught.value).startswith(f"plan.throughput: {path}: {error}")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match=rf"^plan.throughput: {tmp_path}/broken.json: not valid"):
        load_throughput(tmp_path / "broken.json")


def test_no_measurement_need_be_named() -> None:
    assert Settings().plan.throughput is None
    assert load_throughput(PACKAGED).device
