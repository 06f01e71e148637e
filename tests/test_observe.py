"""Observation: what may never change a signal or a prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from support.models import blank_gold, encode_images, false_gold, make_inference, save_stage2
from support.worlds import SETS, settings_of
from vovnet.config import Settings, merge
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.core.records import OBSERVATION_COLUMNS, Sample, read_states, read_table
from vovnet.data.images import load_images
from vovnet.data.sets import load_set
from vovnet.inference.engine import Inference, TextPass
from vovnet.inference.observe import Observation, _as_fits, observe_samples, observe_shard
from vovnet.inference.shards import gather, shard_blocks
from vovnet.model.vovnet import save_weights
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.views import DEFAULT_ACTIONS as ACTIONS
from vovnet.views import parse_view, view_budget


def observed(layout: Layout, overrides: dict[str, Any], name: str = "synth_mmmu") -> Observation:
    settings = settings_of(layout, overrides)
    samples = load_set(settings, layout, name)
    return observe_samples(make_inference(settings), layout, samples, ACTIONS)


def predictions(found: Observation) -> list[list[str]]:
    return [[row.answers[view].text for view in ACTIONS] for row in found.rows]


def tables(found: Observation) -> dict[str, pd.DataFrame]:
    """Signals and views, timings left out."""
    views = {view: found.view(view).drop(columns="latency_ms") for view in found.rows[0].answers}
    return {"signals": found.signals, **views}


def trained_model(settings: Settings, layout: Layout) -> TrainedModel:
    return TrainedModel(settings, layout, "vovnet", 0)


@pytest.mark.parametrize("name", SETS)
def test_gold_never_reaches_the_model(fresh: Layout, name: str) -> None:
    """Contract 1: prompts, signals and predictions are those of samples without an answer."""
    settings = settings_of(fresh)
    inference = make_inference(settings)
    samples = load_set(settings, fresh, name)
    truth = tables(observe_samples(inference, fresh, samples, ACTIONS))
    for change in (blank_gold, false_gold):
        changed = [change(sample) for sample in samples]
        assert inference.prompts(changed) == inference.prompts(samples)
        found = tables(observe_samples(inference, fresh, changed, ACTIONS))
        for table, rows in truth.items():
            pd.testing.assert_frame_equal(found[table], rows)


def test_signals_are_read_where_the_answer_begins(fresh: Layout) -> None:
    """Contract 2: batched and padded, entropy is that of each question alone, without an image."""
    settings = settings_of(fresh)
    inference = make_inference(settings)
    samples = load_set(settings, fresh, "synth_mmbench")[:12]
    batch = inference.text_pass(samples)
    assert len({row["text_tokens"] for row in batch.signals}) > 1
    for sample, row in zip(samples, batch.signals, strict=True):
        (prompt,) = inference.prompts([sample])
        ids_1T = torch.tensor([prompt.text_ids])
        with torch.inference_mode():
            logits_V = inference.vlm.model(input_ids=ids_1T).logits[0, -1]
        probs_V = torch.softmax(logits_V.double(), dim=-1)
        entropy = float(-(probs_V * probs_V.log()).sum())
        top_2 = probs_V.topk(2).values
        assert row["text_tokens"] == ids_1T.shape[1]
        assert row["entropy"] == pytest.approx(entropy, abs=1e-4)
        assert row["margin"] == pytest.approx(float(top_2[0] - top_2[1]), abs=1e-4)


@pytest.mark.parametrize("name", SETS)
def test_cache_reuse_changes_no_token(fresh: Layout, name: str) -> None:
    """Contract 4."""
    reused = observed(fresh, {}, name)
    anew = observed(fresh, {"eval": {"cache_reuse": False}}, name)
    assert predictions(reused) == predictions(anew)
    assert len({text for row in predictions(reused) for text in row}) > 4


def test_tokens_are_the_counted_ones(fresh: Layout) -> None:
    """Contract 6, and several images: each costs its own tokens."""
    found = observed(fresh, {})
    signals = found.signals
    for view in ACTIONS:
        table = found.view(view)
        assert table["vision_tokens"].tolist() == signals[f"tokens_{view}"].tolist()
        assert (table["prompt_tokens"] - signals["text_tokens"] >= table["vision_tokens"]).all()
    assert (signals["tokens_no"] == 0).all()
    assert signals["tokens_full"].max() >= 32


def test_an_image_of_another_size_is_refused(fresh: Layout) -> None:
    settings = settings_of(fresh)
    sample = load_set(settings, fresh, "synth_mmmu")[0]
    images = [image.model_copy(update={"width": 640}) for image in sample.images]
    with pytest.raises(DataError, match=r"sample .* says 640x"):
        load_images(settings, fresh, sample.model_copy(update={"images": images}))


def test_images_first_leave_no_prefix_to_reuse(fresh: Layout) -> None:
    first = {"data": {"prompt_order": "image_first"}}
    with pytest.raises(ConfigError, match=r"eval\.cache_reuse: must be false"):
        observed(fresh, first)
    found = observed(fresh, merge(first, {"eval": {"cache_reuse": False}}))
    assert len(found.rows) == 15


def test_sampling_does_not_depend_on_batching(fresh: Layout) -> None:
    drawn = {"do_sample": True, "temperature": 3.0}
    large = observed(fresh, {"eval": drawn | {"batch_size": 12}})
    small = observed(fresh, {"eval": drawn | {"batch_size": 1}})
    other = observed(fresh, {"eval": drawn | {"seed": 1}})
    assert predictions(large) == predictions(small)
    assert predictions(large) != predictions(other)


def test_beams(fresh: Layout) -> None:
    one = observed(fresh, {})
    two = observed(fresh, {"eval": {"num_beams": 2}})
    agreeing = [a == b for a, b in zip(predictions(one), predictions(two), strict=True)]
    assert sum(agreeing) >= len(agreeing) // 2
    full = two.view("full")
    assert (full["vision_tokens"] == two.signals["tokens_full"]).all()
    assert full["flops_language_model"].isna().all()  # a search is not counted
    # The first token's confidence is that of a greedy answer.
    for column in ("entropy", "margin"):
        assert full[column].to_numpy() == pytest.approx(one.view("full")[column], abs=1e-4)
    same = [a[2] == b[2] for a, b in zip(predictions(one), predictions(two), strict=True)]
    greedy = one.view("full")["log_probability"][same]
    assert full["log_probability"][same].to_numpy() == pytest.approx(greedy, abs=1e-4)


# ---- shards and resuming -----------------------------------------------------------------


def observe(layout: Layout, num_shards: int) -> dict[str, bytes]:
    """File name -> bytes of an observation made in `num_shards` shards, timings left out."""
    settings = settings_of(layout, {"eval": {"num_shards": num_shards, "shard_rows": 4}})
    trained = trained_model(settings, layout)
    for shard in range(num_shards):
        observe_shard(trained, "synth_textvqa", shard, num_shards)
    gather(trained, "synth_textvqa")
    folder = trained.observations("synth_textvqa")
    names = [f"{name}.parquet" for name in ("signals", "states", *ACTIONS)]
    return {name: (folder / name).read_bytes() for name in names}


def test_any_number_of_shards_gives_the_same_bytes(fresh: Layout) -> None:
    save_stage2(settings_of(fresh), fresh)
    whole = observe(fresh, 1)
    assert observe(fresh, 2) == whole
    assert observe(fresh, 5) == whole  # more shards than blocks: some are empty


def test_blocks_cover_every_row_once() -> None:
    for num_rows, block_rows, num_shards in [(0, 4, 2), (1, 4, 2), (10, 3, 4), (12, 4, 3)]:
        parts = [shard_blocks(num_rows, block_rows, i, num_shards) for i in range(num_shards)]
        blocks = sorted(block for part in parts for block in part)
        assert [row for _, rows in blocks for row in rows] == list(range(num_rows))
        assert [index for index, _ in blocks] == list(range(len(blocks)))


def test_a_killed_observation_goes_on(fresh: Layout) -> None:
    """Of a block, only the tables that are missing are made."""
    settings = settings_of(fresh, {"eval": {"shard_rows": 4}})
    save_stage2(settings, fresh)
    whole = observe(fresh, 1)
    trained = trained_model(settings, fresh)
    folder = trained.shard("synth_textvqa", "actions", 0, 1)
    (folder / "manifest.json").unlink()
    (folder / "block-000001.full.parquet").unlink()
    (folder / "block-000002.states.parquet").unlink()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("block-*")}
    done: list[tuple[int, int]] = []
    observe_shard(trained, "synth_textvqa", 0, 1, on_block=lambda *step: done.append(step))
    assert done == [(1, 2), (2, 2)]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert observe(fresh, 1) == whole


def test_damaged_blocks_are_observed_again(
    fresh: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    """In values, in states, or in the list of keys."""
    settings = settings_of(fresh, {"eval": {"num_shards": 1, "shard_rows": 4}})
    save_stage2(settings, fresh)
    whole = observe(fresh, 1)
    trained = trained_model(settings, fresh)
    folder = trained.shard("synth_textvqa", "actions", 0, 1)
    for name, start in (("full", 500), ("states", 2000), ("signals", 400)):
        path = folder / f"block-000001.{name}.parquet"
        content = bytearray(path.read_bytes())
        content[start : start + 32] = bytes(32)
        path.write_bytes(content)
        with pytest.raises(DataError, match="block 1 is gone or damaged: call again"):
            gather(trained, "synth_textvqa")
        assert f"{path}: not a readable parquet file" in capsys.readouterr().err
        assert not (folder / "manifest.json").exists(), "so that the next call observes"
        observe_shard(trained, "synth_textvqa", 0, 1)
        assert observe(fresh, 1) == whole
    (folder / "keys.json").write_bytes(bytes(20))
    assert observe(fresh, 1) == whole


def test_blocks_of_another_model_are_not_taken_over(fresh: Layout) -> None:
    settings = settings_of(fresh, {"eval": {"shard_rows": 4}})
    save_stage2(settings, fresh)
    whole = observe(fresh, 1)
    inference = make_inference(settings)
    torch.nn.init.normal_(inference.model.head.out.bias, mean=3.0)
    path = fresh.stage("vovnet", 0, 2) / "model.safetensors"
    path.unlink()
    save_weights(inference.model, path)
    other = observe(fresh, 1)
    assert other["signals.parquet"] != whole["signals.parquet"]
    assert other["full.parquet"] == whole["full.parquet"]  # the head does not answer


def test_shards_of_different_models_are_not_joined(fresh: Layout, tmp_path: Path) -> None:
    settings = settings_of(fresh, {"eval": {"num_shards": 2, "shard_rows": 4}})
    save_stage2(settings, fresh)
    trained = trained_model(settings, fresh)
    observe_shard(trained, "synth_textvqa", 0, 2)
    inference = make_inference(settings)
    torch.nn.init.normal_(inference.model.head.out.bias)
    path = fresh.stage("vovnet", 0, 2) / "model.safetensors"
    path.unlink()
    save_weights(inference.model, path)
    observe_shard(trained, "synth_textvqa", 1, 2)
    with pytest.raises(DataError, match="observed from other inputs"):
        gather(trained, "synth_textvqa")


def test_states_are_what_the_head_reads(fresh: Layout) -> None:
    """The pooled states of each question alone, in 16 bits."""
    settings = settings_of(fresh, {"eval": {"shard_rows": 4}})
    save_stage2(settings, fresh)
    observe(fresh, 1)
    samples = load_set(settings, fresh, "synth_textvqa")
    folder = fresh.observations("vovnet", 0, "synth_textvqa")
    ids, states_NF = read_states(folder / "states.parquet")
    assert ids == [sample.id for sample in samples]
    assert states_NF.dtype == np.float16
    inference = make_inference(settings)
    for sample, state_F in zip(samples, states_NF, strict=True):
        alone_F = inference.text_pass([sample]).reading.states_BF[0].numpy()
        # Half precision rounds to 1 part in 2048.
        np.testing.assert_allclose(state_F, alone_F, rtol=1e-3, atol=1e-4)


def test_a_number_that_is_not_finite_ends_the_job(fresh: Layout, tmp_path: Path) -> None:
    """Contract 9: it is never read as a result."""
    found = observed(fresh, {})
    state_F = found.rows[3].state
    assert state_F is not None
    state_F[0] = math.inf  # as a number beyond 65504 is in 16 bits
    with pytest.raises(DataError, match=r"sample '.*', states: a state is not a finite number"):
        found.write("states", tmp_path / "states.parquet")
    found.rows[3].answers["full"] = replace(found.rows[3].answers["full"], entropy=math.nan)
    with pytest.raises(DataError, match=r"sample '.*', full: entropy is not a finite number"):
        found.write("full", tmp_path / "full.parquet")
    assert not list(tmp_path.glob("*.parquet"))


def test_confidence_is_that_of_the_generated_answer(fresh: Layout) -> None:
    """Against one forward pass over prompt and answer, question by question."""
    settings = settings_of(fresh)
    inference = make_inference(settings)
    vlm, limit = inference.vlm, settings.eval.max_new_tokens
    samples = load_set(settings, fresh, "synth_mmmu")
    found = observe_samples(inference, fresh, samples, ["coarse", "full+pool-2"])
    for view in ("coarse", "full+pool-2"):
        budget = view_budget(view, settings.vision_budget)
        for sample, row in zip(samples, found.rows, strict=True):
            answer = row.answers[view]
            ended = answer.generated_tokens < limit
            said = [*answer.token_ids, vlm.end_id] if ended else list(answer.token_ids)
            with torch.inference_mode():
                (images,) = encode_images(vlm, [load_images(settings, fresh, sample)], budget)
                shown = tuple(image.reduced(parse_view(view).reductions) for image in images)
                (prompt,) = inference.prompts([sample])
                hidden_BTD, _, _ = vlm.prefill([vlm.sequence(prompt, shown, said)])
                logits_NV = vlm.logits(hidden_BTD[0, answer.prompt_tokens - 1 : -1]).double()
            log_probs_NV = torch.log_softmax(logits_NV, dim=-1)
            total = float(log_probs_NV[torch.arange(len(said)), said].sum())
            assert answer.log_probability == pytest.approx(total, abs=1e-4)
            probs_V = log_probs_NV[0].exp()
            top_2 = probs_V.topk(2).values
            entropy = float(-(probs_V * log_probs_NV[0]).sum())
            assert answer.entropy == pytest.approx(entropy, abs=1e-4)
            assert answer.margin == pytest.approx(float(top_2[0] - top_2[1]), abs=1e-4)


# ---- reduced views -----------------------------------------------------------------------

VIEWS = (
    "coarse+prune-stride-0.5",
    "full+merge-cosine-0.25",
    "full+pool-2",
    "full+prune-stride-0.5",
    "full+prune-stride-1",
    "side-96",
)


def observe_reduced(
    layout: Layout, views: Sequence[str], num_shards: int = 1, name: str = "synth_mmmu"
) -> dict[str, bytes]:
    """View -> bytes of its table, observed in `num_shards` shards."""
    settings = settings_of(layout, {"eval": {"num_shards": num_shards, "shard_rows": 4}})
    trained = trained_model(settings, layout)
    for shard in range(num_shards):
        observe_shard(trained, name, shard, num_shards, views)
    gather(trained, name, views)
    folder = trained.observations(name)
    return {view: (folder / f"{view}.parquet").read_bytes() for view in views}


def test_reduced_views_are_the_same_for_any_number_of_shards(fresh: Layout) -> None:
    save_stage2(settings_of(fresh), fresh)
    whole = observe_reduced(fresh, VIEWS)
    assert observe_reduced(fresh, VIEWS, num_shards=2) == whole
    assert observe_reduced(fresh, list(reversed(VIEWS)), num_shards=3) == whole


def test_reduced_views_and_actions_do_not_touch_each_other(fresh: Layout) -> None:
    save_stage2(settings_of(fresh), fresh)
    before = observe(fresh, 1)
    reduced = observe_reduced(fresh, VIEWS, name="synth_textvqa")
    assert observe(fresh, 1) == before
    # Unreduced, a view says what FULL says.
    folder = fresh.observations("vovnet", 0, "synth_textvqa")
    full = read_table(folder / "full.parquet", OBSERVATION_COLUMNS)
    pd.testing.assert_frame_equal(
        read_table(folder / "full+prune-stride-1.parquet", OBSERVATION_COLUMNS), full
    )
    assert reduced["full+prune-stride-0.5"] != before["full.parquet"]


def test_a_view_costs_the_tokens_of_its_images(fresh: Layout) -> None:
    """Contract 6: several images of several sizes, each reduced by itself."""
    settings = settings_of(fresh)
    inference = make_inference(settings)
    samples = load_set(settings, fresh, "synth_mmmu")
    found = observe_samples(inference, fresh, samples, ["coarse", "full", *VIEWS])
    full = found.view("full")
    for view in VIEWS:
        table = found.view(view)
        assert table["id"].tolist() == full["id"].tolist()
        expected = [inference.view_tokens(sample, view) for sample in samples]
        assert table["vision_tokens"].tolist() == expected
        shorter = full["vision_tokens"] - table["vision_tokens"]
        assert (full["prompt_tokens"] - table["prompt_tokens"]).tolist() == shorter.tolist()
        assert (shorter > 0).all() == (view != "full+prune-stride-1")
    pooled = found.view("full+pool-2")["vision_tokens"]
    assert pooled.tolist() == found.view("coarse")["vision_tokens"].tolist()


def test_images_are_encoded_once_for_a_budget(
    fresh: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(fresh)
    inference = make_inference(settings)
    samples = load_set(settings, fresh, "synth_mmbench")[:4]
    tower, passes = inference.vlm.encode, []

    def run(pixels: Any, *, attention: bool) -> Any:
        passes.append((len(pixels), attention))
        return tower(pixels, attention=attention)

    monkeypatch.setattr(inference.vlm, "encode", run)
    attending = ["full+visionzip-0.5", "full+visionzip-0.25"]
    observe_samples(inference, fresh, samples, [*VIEWS, *attending])
    budgets = {view_budget(view, settings.vision_budget) for view in VIEWS}
    once_more = [(len(samples), True)]
    assert sorted(passes) == [(len(samples), False)] * len(budgets) + once_more


def test_only_new_views_are_run(fresh: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    save_stage2(settings_of(fresh), fresh)
    first = observe_reduced(fresh, ["full+pool-2", "side-96"])
    asked: list[str] = []
    answer = Inference.answer

    def noted(self: Inference, samples: Any, view: str, *rest: Any) -> Any:
        asked.append(view)
        return answer(self, samples, view, *rest)

    monkeypatch.setattr(Inference, "answer", noted)
    more = observe_reduced(fresh, ["full+pool-2", "full+pool-4", "side-96"])
    assert set(asked) == {"full+pool-4"}
    assert {view: more[view] for view in first} == first


def test_reuse_changes_no_token_of_a_reduced_view(fresh: Layout) -> None:
    """Contract 4."""
    found = []
    for reuse in (True, False):
        settings = settings_of(fresh, {"eval": {"cache_reuse": reuse}})
        samples = load_set(settings, fresh, "synth_mmmu")
        found.append(observe_samples(make_inference(settings), fresh, samples, VIEWS))
    for view in VIEWS:
        reused, anew = (part.view(view) for part in found)
        assert (reused["flops_language_model"] < anew["flops_language_model"]).all()
        passing = ["latency_ms", "flops_language_model"]
        pd.testing.assert_frame_equal(
            reused.drop(columns=passing), anew.drop(columns=passing), rtol=0, atol=1e-4
        )


def test_reduced_views_have_no_beams(fresh: Layout) -> None:
    settings = settings_of(fresh, {"eval": {"num_beams": 2}})
    samples = load_set(settings, fresh, "synth_mmbench")[:2]
    with pytest.raises(ConfigError, match=r"eval\.num_beams: must be 1 for the reduced view"):
        observe_samples(make_inference(settings), fresh, samples, ["full+pool-2"])


def test_unknown_views_are_refused(fresh: Layout) -> None:
    save_stage2(settings_of(fresh), fresh)
    with pytest.raises(ConfigError, match="view 'pool-x' is unknown"):
        observe_reduced(fresh, ["pool-x"])
    assert not fresh.observation_manifest("vovnet", 0, "synth_mmmu", "views").exists()


def test_a_batch_that_does_not_fit_the_memory_is_halved(capsys: pytest.CaptureFixture[str]) -> None:
    tried = []

    def observe(batch: Sequence[str]) -> list[str]:
        tried.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [item.upper() for item in batch]

    halved: list[None] = []
    assert _as_fits(list("abcde"), observe, lambda: halved.append(None)) == list("ABCDE")
    assert len(halved) == 2
    assert tried == [5, 2, 3, 1, 2]
    assert "out of memory with 5 questions at once: 2 now" in capsys.readouterr().err


def test_halved_batches_are_told_in_the_manifest(
    fresh: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of actions and of reduced views; a shard whose batches fit says nothing of them."""
    settings = settings_of(fresh, {"eval": {"batch_size": 8, "shard_rows": 64}})
    save_stage2(settings, fresh)
    text_pass = Inference.text_pass

    def small_memory(inference: Inference, samples: Sequence[Sample]) -> TextPass:
        if len(samples) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return text_pass(inference, samples)

    trained = trained_model(settings, fresh)

    def manifest(name: str, group: str = "actions", views: Sequence[str] = ()) -> dict[str, Any]:
        observe_shard(trained, name, 0, 1, views)
        return read_json(trained.shard(name, group, 0, 1) / "manifest.json")

    assert "halved_batches_of_last_call" not in manifest("synth_mmmu")
    monkeypatch.setattr(Inference, "text_pass", small_memory)
    assert manifest("synth_textvqa")["halved_batches_of_last_call"] == 2  # 15 questions: 8 and 7
    views = manifest("synth_mmmu", "views", ["full+pool-2"])
    assert views["halved_batches_of_last_call"] == 2


def test_one_question_that_does_not_fit_is_an_error() -> None:
    def observe(batch: Sequence[str]) -> list[str]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        _as_fits(["a"], observe, lambda: None)
