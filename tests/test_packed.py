"""What large models need: packed sequences, compiled layers, equal work, and a bench of cards."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.models import make_inference, objective_of
from support.worlds import settings_of
from vovnet import cli
from vovnet.commands.bench_gpu.subject import bench_settings, write_model, write_photos
from vovnet.config import Settings, load
from vovnet.core.layout import Layout
from vovnet.data.sets import load_set, load_train
from vovnet.inference.engine import Inference
from vovnet.inference.observe import batches, observe_samples
from vovnet.model.vovnet import VoVNet
from vovnet.training.examples import balanced

PACKED = {"attn_implementation": "varlen"}
VIEWS = ["no", "coarse", "full", "full+merge-cosine-0.5"]
TOLERANCE = 1e-4
"""Of signals and losses in float32 between two ways of computing the same."""


def answers(settings: Settings, layout: Layout) -> tuple[list[Any], torch.Tensor]:
    """The tokens of each view, and the numbers of the text pass."""
    inference = make_inference(settings)
    samples = load_set(settings, layout, "synth_mmmu")
    found = observe_samples(inference, layout, samples, VIEWS)
    tokens = [[row.answers[view].token_ids for view in VIEWS] for row in found.rows]
    return tokens, torch.tensor(found.signals.drop(columns="id").to_numpy(dtype=float))


@pytest.mark.parametrize("reuse", [True, False])
def test_packed_sequences_are_observed_as_padded_ones(fresh: Layout, reuse: bool) -> None:
    """Also in batches cut by tokens, with images that worker processes load."""
    evaluation: dict[str, Any] = {"cache_reuse": reuse, "max_new_tokens": 6}
    padded = answers(settings_of(fresh, {"eval": evaluation}), fresh)
    evaluation |= {"batch_tokens": 1600, "num_workers": 2}
    packed = answers(settings_of(fresh, {"model": PACKED, "eval": evaluation}), fresh)
    assert packed[0] == padded[0]
    torch.testing.assert_close(packed[1], padded[1], atol=TOLERANCE, rtol=1e-5)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are traced as for compilation, and run as they are: no compiler is needed."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.mark.usefixtures("traced")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's tracing asks for it
def test_compiled_layers_train_and_answer_alike(fresh: Layout) -> None:
    found = []
    for compiled in (False, True):
        overrides = {"model": PACKED | {"compile": compiled}, "eval": {"max_new_tokens": 3}}
        objective, examples = objective_of(fresh, overrides)
        result = objective(examples)
        result.loss.backward()
        weight = objective.model.vlm.model.get_decoder().layers[0].self_attn.q_proj.weight
        found.append((result.losses_B, weight.grad, answers(settings_of(fresh, overrides), fresh)))
    (losses_B, gradient, answered), (other_B, other, again) = found
    torch.testing.assert_close(other_B, losses_B, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(other, gradient, atol=TOLERANCE, rtol=1e-3)
    assert again[0] == answered[0]


def test_packed_training_has_the_losses_and_gradients_of_padded_training(fresh: Layout) -> None:
    found = []
    for model in ({}, PACKED):
        objective, examples = objective_of(fresh, {"model": model})
        result = objective(examples)
        result.loss.backward()
        gradients = [value.grad for value in objective.parameters() if value.grad is not None]
        found.append((result, torch.cat([gradient.flatten() for gradient in gradients])))
    (padded, gradient), (packed, other) = found
    torch.testing.assert_close(packed.losses_B, padded.losses_B, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(other, gradient, atol=2e-3, rtol=1e-3)
    assert packed.work.flops == padded.work.flops


@given(st.dictionaries(st.integers(0, 200), st.integers(1, 1000), min_size=8), st.integers(1, 8))
def test_work_is_divided_evenly(work: dict[int, int], count: int) -> None:
    """Every key once; the fullest part exceeds the emptiest by at most one key's work."""
    parts = balanced(work, count)
    assert sorted(key for part in parts for key in part) == sorted(work)
    assert all(part == sorted(part) and part for part in parts)
    loads = [sum(work[key] for key in part) for part in parts]
    assert max(loads) - min(loads) <= max(work.values())


def test_what_is_sampled_is_shared_out_as_well() -> None:
    """A step's views that get a gradient fall evenly on the devices, whatever the policy is."""
    rng = np.random.default_rng(0)
    work = {key: int(tokens) for key, tokens in enumerate(rng.integers(100, 900, 128))}
    noise = dict(enumerate(rng.gumbel(size=(128, 2)).tolist()))
    parts = balanced(work, 4, {key: full - no for key, (no, full) in noise.items()})
    assert sorted(key for part in parts for key in part) == sorted(work)
    loads = [sum(work[key] for key in part) for part in parts]
    assert max(loads) - min(loads) <= max(work.values())
    for advantage in (-3.0, -1.0, 0.0, 1.0, 3.0):
        looked = [sum(noise[key][1] + advantage > noise[key][0] for key in part) for part in parts]
        assert max(looked) - min(looked) <= 1
    parts = balanced(dict.fromkeys(range(6), 1), 4, {key: float(key) for key in range(6)})
    assert {key for part in parts for key in part if key < 2} == {0, 1}
    assert all(sum(key >= 2 for key in part) == 1 for part in parts), "the likeliest are apart"


def test_batches_hold_no_more_tokens_than_asked(fresh: Layout) -> None:
    settings = settings_of(fresh, {"eval": {"batch_tokens": 1600}})
    inference = make_inference(settings)
    samples = load_set(settings, fresh, "synth_mmbench")
    lengths = [len(prompt.text_ids) for prompt in inference.prompts(samples)]
    parts = batches(inference, samples, ["full"])
    assert sorted(row for part in parts for row in part) == list(range(len(samples)))
    for part in parts:
        shown = [inference.view_tokens(samples[row], "full") for row in part]
        tokens = sum(shown) + sum(lengths[row] for row in part)
        assert len(part) == 1 or tokens + len(part) * settings.eval.max_new_tokens <= 1600


def test_the_bench_of_a_card_needs_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "own.yaml").write_text("{}")
    assert cli.main(["bench_gpu", "--config", str(tmp_path / "own.yaml")]) == 2
    assert "this machine has no GPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    "names", [["config"], ["paper"], ["paper", "qwen2_5_vl"], ["single_gpu"], ["base_8b"]]
)
def test_every_suite_can_be_benched(names: list[str], tmp_path: Path) -> None:
    """Whatever its data are: the bench has its own. Images are cut as the model asks."""
    configured = load([Path(f"config/{name}.yaml") for name in names])
    settings = bench_settings(configured, tmp_path, 1)
    write_model(configured, tmp_path / "model")
    config, processor = (
        json.loads((tmp_path / "model" / name).read_text())
        for name in ("config.json", "preprocessor_config.json")
    )
    cut = (config["vision_config"]["patch_size"], config["vision_config"]["spatial_merge_size"])
    budget = settings.vision_budget
    assert cut == (processor["patch_size"], processor["merge_size"])
    assert cut == (budget.patch_size, budget.spatial_merge_size)
    write_photos(settings, settings.layout, {"train": 2, "val": 1})
    assert len(load_train(settings, settings.layout)) == 2


def test_what_the_bench_measures_is_the_configured_model_on_photos(tmp_path: Path) -> None:
    """Here the tiny model's sizes, with random weights that are the same at every call."""
    write_model(Settings(), tmp_path / "model")
    settings = bench_settings(load([]), tmp_path, 1)
    assert settings.model.random_weights
    layout = settings.layout
    write_photos(settings, layout, {"train": 2, "val": 3})
    assert len(load_train(settings, layout)) == 2
    samples = load_set(settings, layout, "photos")
    models = [VoVNet(settings).eval() for _ in range(2)]
    found = [
        observe_samples(Inference(model, settings), layout, samples, ["no", "full"]).rows
        for model in models
    ]
    first, second = ([row.answers["full"].token_ids for row in rows] for rows in found)
    assert first == second
    assert all(row.answers["full"].vision_tokens > 0 for row in found[0])
