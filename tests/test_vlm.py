"""A tiny model of each family against transformers' own code; what never changes an answer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from support.families import FAMILIES, model_of
from support.models import encode_images
from support.repository import TINY_MODEL
from support.samples import make_sample
from vovnet.config import ModelSettings, Settings, VisionBudget
from vovnet.data.prompts import question_text
from vovnet.data.world import questions as world
from vovnet.data.world.stream import WorldStream
from vovnet.inference.engine import Inference
from vovnet.model.loading import base_model_digest, load_vlm
from vovnet.model.qwen_vl import QwenVL
from vovnet.model.sequences import pad_left
from vovnet.model.vovnet import VoVNet
from vovnet.views import num_vision_tokens, parse_view, view_budget

BUDGETS = VisionBudget()
TOLERANCE = 2e-5
"""Of logits in float32 between two ways of computing the same; measured below 1e-5."""


CLASSES = {
    "qwen3_vl": Qwen3VLForConditionalGeneration,
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
}


@pytest.fixture(scope="module", params=FAMILIES)
def padded_vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> QwenVL:
    model = model_of(request.param, tmp_path_factory.mktemp("model"))
    return load_vlm(ModelSettings(**model), BUDGETS).eval()


@pytest.fixture(scope="module", params=itertools.product(FAMILIES, ["sdpa", "varlen"]))
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> QwenVL:
    """With padded batches, and with packed ones."""
    family, attention = request.param
    model = model_of(family, tmp_path_factory.mktemp("model"))
    settings = ModelSettings(**model, attn_implementation=attention)
    return load_vlm(settings, BUDGETS).eval()


def questions(count: int) -> list[tuple[str, list[Image.Image]]]:
    """Prompt text and images of questions of the world's evaluation part."""
    found = []
    for index in range(count):
        rng = np.random.default_rng((7, index))
        template = world.pick_template(rng, dict.fromkeys(world.TEMPLATES, 1.0))
        item = world.make_item(rng, "eval", template)
        sample = make_sample(str(index), question=item.question)
        text = question_text(sample, Settings().data.prompt_template)
        found.append((text, list(item.images)))
    return found


@torch.inference_mode()
def last_logits(vlm: QwenVL, items: Sequence[tuple[str, list[Image.Image]]], view: str):
    """Logits (B, V) at the answer's first position, for a batch of whole prompts."""
    budget = view_budget(view, BUDGETS)
    features = encode_images(vlm, [images for _, images in items], budget) if budget else None
    sequences = [
        vlm.sequence(vlm.prompt(text), features[row] if features else ())
        for row, (text, _) in enumerate(items)
    ]
    hidden_BTD, _, _ = vlm.prefill(sequences)
    return vlm.logits(hidden_BTD[:, -1])


@pytest.mark.parametrize("image_first", [False, True])
def test_logits_are_those_of_transformers(vlm: QwenVL, image_first: bool) -> None:
    """The same ids and pixels through the class's own forward, one sample at a time."""
    assert type(vlm.model) is CLASSES[vlm.model.config.model_type]
    two_images = ("Which?", [picture((128, 96)), picture((64, 128))])
    for text, images in [*questions(6), two_images]:
        (features,) = encode_images(vlm, [images], view_budget("full", BUDGETS))
        sequence = vlm.sequence(vlm.prompt(text, image_first=image_first), features)
        inputs = vlm.image_processor(images=images, do_resize=False, return_tensors="pt")
        with torch.inference_mode():
            theirs_TV = vlm.model(
                input_ids=sequence.ids_T[None],
                attention_mask=torch.ones_like(sequence.ids_T)[None],
                mm_token_type_ids=sequence.image_mask_T[None].int(),
                **inputs,
            ).logits[0]
            hidden_BTD, _, _ = vlm.prefill([sequence])
            ours_TV = vlm.logits(hidden_BTD[0])
        torch.testing.assert_close(ours_TV, theirs_TV, atol=TOLERANCE, rtol=0)
        blind_V = last_logits(vlm, [(text, images)], "no")[0]
        assert (ours_TV[-1] - blind_V).abs().max() > 0.1, "the image counts"


@pytest.mark.parametrize("image_first", [False, True])
def test_positions_are_those_of_transformers(vlm: QwenVL, image_first: bool) -> None:
    """Of a text alone, and of one image and several, on grids of odd sides and of one row."""
    images = [picture(size) for size in SIZES]
    budget = view_budget("full", BUDGETS)
    for count in (0, 1, len(images)):
        shown = images[:count]
        (features,) = encode_images(vlm, [shown], budget)
        sequence = vlm.sequence(vlm.prompt("Which?", image_first=image_first), features)
        pixels = vlm.preprocess(shown, budget)
        theirs_31T, deltas_11 = vlm.model.model.get_rope_index(
            sequence.ids_T[None],
            mm_token_type_ids=sequence.image_mask_T[None].int(),
            image_grid_thw=None if pixels is None else pixels.grids_N3,
        )
        assert torch.equal(sequence.positions_3T, theirs_31T[:, 0])
        assert sequence.next_position == sequence.length + int(deltas_11)


def test_a_saved_base_is_the_same_model(padded_vlm: QwenVL, tmp_path: Path) -> None:
    padded_vlm.save_base(tmp_path)
    settings = ModelSettings(
        base_model_name=str(tmp_path), family=padded_vlm.model.config.model_type
    )
    again, items = load_vlm(settings, BUDGETS).eval(), questions(4)
    assert torch.equal(last_logits(again, items, "full"), last_logits(padded_vlm, items, "full"))


@pytest.mark.parametrize("view", ["no", "coarse", "full"])
def test_padding_changes_nothing(vlm: QwenVL, view: str) -> None:
    items = questions(8)
    together_BV = last_logits(vlm, items, view)
    for row, item in enumerate(items):
        alone_V = last_logits(vlm, [item], view)[0]
        torch.testing.assert_close(together_BV[row], alone_V, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("view", ["coarse", "full"])
def test_extended_prefix_gives_the_logits_of_the_whole_prompt(vlm: QwenVL, view: str) -> None:
    """Contract 4: crop the text pass back to the question, then go on with the image."""
    items = questions(8)
    prompts = [vlm.prompt(text) for text, _ in items]
    budget = view_budget(view, BUDGETS)
    assert budget is not None
    with torch.inference_mode():
        features = encode_images(vlm, [images for _, images in items], budget)
        _, _, prefix = vlm.prefill([vlm.sequence(prompt) for prompt in prompts])
        rest = [
            vlm.sequence(prompt, shown).take(prompt.num_shared)
            for prompt, shown in zip(prompts, features, strict=True)
        ]
        hidden_BTD, _, _ = vlm.prefill(rest, prefix.copy(drop=len(prompts[0].tail)))
        cached_BV = vlm.logits(hidden_BTD[:, -1])
    torch.testing.assert_close(cached_BV, last_logits(vlm, items, view), atol=TOLERANCE, rtol=0)


def test_greedy_generation_is_that_of_transformers(vlm: QwenVL) -> None:
    for text, images in questions(6):
        prompt, budget = vlm.prompt(text), view_budget("full", BUDGETS)
        assert budget is not None
        with torch.inference_mode():
            (features,) = encode_images(vlm, [images], budget)
            sequence = vlm.sequence(prompt, features)
            hidden_BTD, _, prefix = vlm.prefill([sequence])
            positions_B = torch.tensor([sequence.next_position])
            (ours,) = vlm.generate(vlm.logits(hidden_BTD[:, -1]), positions_B, prefix, 6)
            (theirs,) = vlm.generate_plain([prompt], [images], budget, max_new_tokens=6)
        assert list(ours.token_ids) == theirs


def test_plain_generation_is_the_same_in_batches(padded_vlm: QwenVL) -> None:
    items, budget = questions(5), view_budget("full", BUDGETS)
    prompts, images = [padded_vlm.prompt(text) for text, _ in items], [shown for _, shown in items]
    with torch.inference_mode():
        together = padded_vlm.generate_plain(prompts, images, budget, 4)
        for prompt, shown, answer in zip(prompts, images, together, strict=True):
            assert padded_vlm.generate_plain([prompt], [shown], budget, 4) == [answer]


@pytest.mark.parametrize("size", [(128, 128), (128, 64), (200, 90), (31, 500), (40, 40)])
@pytest.mark.parametrize("view", ["coarse", "full"])
def test_counted_tokens_are_the_predicted_cost(
    vlm: QwenVL, size: tuple[int, int], view: str
) -> None:
    """Contract 6: what enters the language model is what the policy was told."""
    budget = view_budget(view, BUDGETS)
    assert budget is not None
    image = Image.new("RGB", size, (90, 120, 30))
    with torch.inference_mode():
        (features,) = encode_images(vlm, [[image]], budget)
    sequence = vlm.sequence(vlm.prompt("What?"), features)
    expected = num_vision_tokens([size], view, BUDGETS)
    assert sequence.num_vision_tokens == features[0].embeddings_KD.shape[0] == expected
    assert int((sequence.ids_T == vlm.image_token_id).sum()) == expected


def test_coarse_costs_a_quarter_of_full() -> None:
    """Trap: a processor that scales small images up again made COARSE cost 61% of FULL."""
    full = num_vision_tokens([(128, 128)], "full", BUDGETS)
    coarse = num_vision_tokens([(128, 128)], "coarse", BUDGETS)
    assert (coarse, full) == (4, 16)


def test_text_pass_holds_text_alone(vlm: QwenVL) -> None:
    """Contract 2: no image token, no padding to an image's length."""
    prompt = vlm.prompt("Which shape did Bim draw?")
    sequence = vlm.sequence(prompt)
    assert sequence.ids_T.tolist() == prompt.text_ids
    special = {vlm.image_token_id, vlm.vision_start_id, vlm.vision_end_id, vlm.pad_id}
    assert not special & set(prompt.text_ids)


def test_special_tokens_in_a_question_are_text(vlm: QwenVL) -> None:
    hostile = "<|im_end|><|image_pad|><|vision_start|>"
    ids = set(vlm.prompt(hostile).question)
    assert not ids & {vlm.end_id, vlm.image_token_id, vlm.vision_start_id}


def test_a_local_base_model_is_known_by_its_content(tmp_path: Path) -> None:
    """By its files, wherever they lie; a model of the hub, by its commit, is in test_pretrained."""
    for name in ("here", "there", "changed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(str(name == "changed"), encoding="utf-8")
    here, there, changed = (
        base_model_digest(ModelSettings(base_model_name=str(tmp_path / name)))
        for name in ("here", "there", "changed")
    )
    assert here == there != changed


def test_only_a_whole_answer_ends(vlm: QwenVL) -> None:
    whole = vlm.answer_ids("red circle left of the blue square", 32)
    assert whole[-1] == vlm.end_id
    assert len(whole) > 3
    assert vlm.answer_ids("red circle left of the blue square", len(whole)) == whole
    for limit in (len(whole) - 1, 2, 1):
        assert vlm.answer_ids("red circle left of the blue square", limit) == whole[:limit]


def test_sampling_depends_on_the_seed_of_each_sample_alone(vlm: QwenVL) -> None:
    logits_BV = last_logits(vlm, questions(4), "no")

    def draw(rows: list[int]) -> list[tuple[int, ...]]:
        items = [questions(4)[row] for row in rows]
        with torch.inference_mode():
            sequences = [vlm.sequence(vlm.prompt(text)) for text, _ in items]
            hidden_BTD, _, prefix = vlm.prefill(sequences)
            positions_B = torch.tensor([sequence.next_position for sequence in sequences])
            logits_BV, seeds = vlm.logits(hidden_BTD[:, -1]), [100 + row for row in rows]
            drawn = vlm.generate(logits_BV, positions_B, prefix, 4, 5.0, seeds)
            return [item.token_ids for item in drawn]

    assert logits_BV.shape[0] == 4
    together = draw([0, 1, 2, 3])
    assert [draw([row])[0] for row in range(4)] == together
    assert len(set(together)) > 1


def test_the_packaged_model_has_learned_what_each_view_shows() -> None:
    """Sums from the text, shapes at COARSE, fine patterns the better the larger they are shown."""
    settings = Settings().model_copy(
        update={"model": ModelSettings(base_model_name=str(TINY_MODEL))}
    )
    inference = Inference(VoVNet(settings).eval(), settings)
    accuracy: dict[tuple[str, str], float] = {}
    for template in ("sum", "recall", "shape", "colour", "pattern_fine", "sign_fine"):
        stream = WorldStream(99, 32, {template: 1.0})
        samples = [stream[index] for index in range(32)]
        images = [stream.load_images(sample) for sample in samples]
        for view in ("no", "coarse", "side-96", "full"):
            answers = inference.answer(samples, view, images)
            pairs = zip(samples, answers, strict=True)
            right = sum(sample.answer_text == found.text for sample, found in pairs)
            accuracy[template, view] = right / 32
    assert accuracy["sum", "no"] > 0.9
    assert accuracy["recall", "no"] > 0.9
    for template in ("shape", "colour"):
        assert accuracy[template, "no"] < 0.5
        assert accuracy[template, "coarse"] > 0.8
    for template in ("pattern_fine", "sign_fine"):
        by_side = [accuracy[template, view] for view in ("no", "coarse", "side-96", "full")]
        assert by_side == sorted(by_side)
        assert by_side[1] < by_side[2] - 0.1 < by_side[3] - 0.2
        assert by_side[3] > 0.75
    assert accuracy["pattern_fine", "full"] > 0.9


# ---- reduced views -----------------------------------------------------------------------

REDUCED = (
    "full+prune-stride-0.5",
    "full+prune-topk_norm-0.25",
    "full+prune-random-0.25",
    "full+prune-divprune-0.5",
    "full+visionzip-0.5",
    "full+merge-cosine-0.5",
    "full+merge-l2-uniform-0.125",
    "full+merge-cosine-uniform-0.5+prune-topk_norm-0.5",
    "full+pool-2",
    "full+pool-4",
    "side-96",
    "pixels-6000",
    "coarse+prune-stride-0.5",
)
UNREDUCED = (
    "full+prune-stride-1",
    "full+prune-topk_norm-1",
    "full+prune-random-1",
    "full+prune-divprune-1",
    "full+visionzip-1",
    "full+merge-cosine-1",
    "full+merge-l2-uniform-1",
    "full+pool-1",
    "side-128",
)
SIZES = [(128, 128), (128, 96), (90, 128), (40, 128), (33, 60), (31, 500)]
"""Of images in pixels: grids of 4 x 4, 3 x 4, 4 x 3, 4 x 1, 2 x 1 and 4 x 1 tokens at FULL."""


def reduced_sequence(vlm: QwenVL, text: str, images: list[Image.Image], view: str):
    shown = parse_view(view)
    (features,) = encode_images(
        vlm, [images], view_budget(view, BUDGETS), attention=shown.needs_attention
    )
    reductions = shown.reductions
    return vlm.sequence(vlm.prompt(text), tuple(image.reduced(reductions) for image in features))


@torch.inference_mode()
def view_logits(vlm: QwenVL, items: Sequence[tuple[str, list[Image.Image]]], view: str):
    sequences = [reduced_sequence(vlm, text, images, view) for text, images in items]
    hidden_BTD, _, _ = vlm.prefill(sequences)
    return vlm.logits(hidden_BTD[:, -1])


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("view", [*REDUCED, *UNREDUCED, "full"])
def test_the_language_model_processes_the_counted_tokens(
    padded_vlm: QwenVL, view: str, request: pytest.FixtureRequest
) -> None:
    """Contract 5: read from the tensors that enter the real layers, with two images a sample."""
    entered: list[dict[str, Any]] = []

    def spy(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        entered.append({**named, "hidden_states": arguments[0]})

    layers = padded_vlm.model.get_decoder().layers
    for layer in layers:
        request.addfinalizer(layer.register_forward_pre_hook(spy, with_kwargs=True).remove)
    for first, second in zip(SIZES, reversed(SIZES), strict=True):
        images = [picture(first, 1), picture(second, 2)]
        entered.clear()
        view_logits(padded_vlm, [("What?", images)], view)
        counted = num_vision_tokens([first, second], view, BUDGETS)
        around = 2 * len(images)  # an image stands between two marks
        length = len(padded_vlm.prompt("What?").text_ids) + around + counted
        assert len(entered) == len(layers)
        for layer, inputs in enumerate(entered):
            assert inputs["hidden_states"].shape[1] == length
            assert inputs["position_embeddings"][0].shape[1] == length
            mask = inputs["attention_mask"]
            assert mask is None or mask.shape[-2:] == (length, length)
            assert inputs["past_key_values"].get_seq_length(layer) == length
        with torch.inference_mode():
            sequence = reduced_sequence(padded_vlm, "What?", images, view)
        assert sequence.num_vision_tokens == counted
        for level in padded_vlm.deepstack_levels(sequence.images):
            assert len(level) == counted


@pytest.mark.parametrize("view", REDUCED)
def test_a_reduced_view_is_shorter(vlm: QwenVL, view: str) -> None:
    with torch.inference_mode():
        lengths = {
            name: reduced_sequence(vlm, "What?", [picture((128, 128))], name).length
            for name in (view, "full")
        }
    assert lengths[view] < lengths["full"]


@pytest.mark.parametrize("view", UNREDUCED)
def test_nothing_reduced_gives_the_logits_of_full(vlm: QwenVL, view: str) -> None:
    items = [*questions(6), ("Which?", [picture((90, 128)), picture((33, 60))])]
    logits_BV = view_logits(vlm, items, view)
    assert torch.equal(logits_BV, view_logits(vlm, items, "full"))
    # Images that are encoded together may differ in the last bit on some processors.
    torch.testing.assert_close(logits_BV, last_logits(vlm, items, "full"), atol=1e-4, rtol=0)


@pytest.mark.parametrize("view", UNREDUCED)
def test_nothing_reduced_gives_every_logit_of_full(vlm: QwenVL, view: str) -> None:
    """At every position, with two images on grids of odd sides in the prompt."""
    images = [picture((128, 96)), picture((90, 128))]
    with torch.inference_mode():
        found = [
            vlm.logits(vlm.prefill([reduced_sequence(vlm, "Which?", images, name)])[0])
            for name in (view, "full")
        ]
    assert found[0].shape[1] > 24  # the tokens of both images, the words and the marks
    assert torch.equal(*found)


@pytest.mark.parametrize(
    "view", ["full+prune-stride-0.5", "full+merge-cosine-0.25", "full+pool-2", "full+visionzip-0.5"]
)
def test_padding_changes_nothing_of_a_reduced_view(vlm: QwenVL, view: str) -> None:
    items = [*questions(5), ("Which?", [picture((90, 128)), picture((33, 60))])]
    together_BV = view_logits(vlm, items, view)
    for row, item in enumerate(items):
        alone_V = view_logits(vlm, [item], view)[0]
        torch.testing.assert_close(together_BV[row], alone_V, atol=TOLERANCE, rtol=0)


def test_deepstack_and_positions_follow_the_kept_tokens(padded_vlm: QwenVL) -> None:
    """Pruning is the same as masking the dropped tokens out of FULL: nothing else moves."""
    text, image, view = "Which shape?", picture((128, 96)), "full+prune-stride-0.5"
    with torch.inference_mode():
        full = reduced_sequence(padded_vlm, text, [image], "full")
        pruned = reduced_sequence(padded_vlm, text, [image], view)
        batch = pad_left([full], padded_vlm.pad_id, padded_vlm.device)
        mask_BT = batch.mask_BT.clone()
        mask_BT[0, batch.image_places_K[1::2]] = 0
        masked_BV = padded_vlm.logits(padded_vlm(batch, None, mask_BT)[:, -1])
        hidden_BTD, _, _ = padded_vlm.prefill([pruned])
        pruned_BV = padded_vlm.logits(hidden_BTD[:, -1])
    assert torch.equal(pruned.positions_3T, full.positions_3T[:, mask_BT[0].bool()])
    torch.testing.assert_close(pruned_BV, masked_BV, atol=TOLERANCE, rtol=0)


def test_reduced_features_keep_their_grid(vlm: QwenVL) -> None:
    with torch.inference_mode():
        ((image,),) = encode_images(vlm, [[picture((128, 96))]], view_budget("full", BUDGETS))
    pooled = image.reduced(parse_view("full+pool-2").reductions)
    assert (image.grid, pooled.grid) == ((3, 4), (3, 4))
    assert pooled.positions_2K.tolist() == [[0, 0, 2, 2], [0, 2, 0, 2]]
    for level, before in zip(pooled.deepstack, image.deepstack, strict=True):
        torch.testing.assert_close(level[2], before[8:10].mean(dim=0))
        torch.testing.assert_close(level[0], before[[0, 1, 4, 5]].mean(dim=0))


def test_the_processors_own_limits_do_not_count(
    vlm: QwenVL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contract 6: a processor that would enlarge small images leaves a view's budget alone."""
    limits = {"shortest_edge": 512 * 512, "longest_edge": 1024 * 1024}
    enlarging = Qwen2VLImageProcessorPil(patch_size=16, merge_size=2, size=limits)
    monkeypatch.setattr(vlm, "image_processor", enlarging)
    for view in ("coarse", "full"):
        budget = view_budget(view, BUDGETS)
        ((features,),) = encode_images(vlm, [[picture((128, 96))]], budget)
        assert features.num_tokens == num_vision_tokens([(128, 96)], view, BUDGETS)
