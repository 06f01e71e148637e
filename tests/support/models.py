"""Models of the small world, untrained, and samples whose gold is hidden or false."""

from __future__ import annotations

from typing import Any

import torch

from support.worlds import settings_of
from vovnet.config import Settings
from vovnet.core.cost import ViewBudget
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.images import load_images
from vovnet.data.sets import load_train
from vovnet.inference.engine import Inference
from vovnet.model.vlm import VisionLanguageModel
from vovnet.model.vovnet import VoVNet, save_weights
from vovnet.training.examples import TrainingSet
from vovnet.training.objective import Objective


def make_inference(settings: Settings) -> Inference:
    """The package's model under a head of random weights, so that its scores differ."""
    torch.manual_seed(0)
    model = VoVNet(settings).eval()
    torch.nn.init.normal_(model.head.out.weight)
    return Inference(model, settings)


def save_stage2(settings: Settings, layout: Layout) -> None:
    folder = layout.stage("vovnet", 0, 2)
    folder.mkdir(parents=True)
    save_weights(make_inference(settings).model, folder / "model.safetensors")


def objective_of(layout: Layout, overrides: dict[str, Any] | None = None) -> tuple[Objective, list]:
    settings = settings_of(layout, overrides or {})
    torch.manual_seed(0)
    model = VoVNet(settings)
    samples = load_train(settings, layout)[:16]
    examples = TrainingSet(
        samples,
        lambda sample: load_images(settings, layout, sample),
        model.vlm,
        settings,
        2,
        len(samples),
    )
    return Objective(model, settings, 2), [examples[row] for row in range(len(samples))]


def blank_gold(sample: Sample) -> Sample:
    return sample.model_copy(update={"answer": "", "answer_text": "", "answers": []})


def false_gold(sample: Sample) -> Sample:
    return sample.model_copy(
        update={"answer": "Q", "answer_text": "a zebra", "answers": ["a zebra"] * 10}
    )


def encode_images(
    vlm: VisionLanguageModel, images: Any, budget: ViewBudget | None, *, attention: bool = False
) -> Any:
    """The encoded images of each sample, within a budget."""
    return vlm.encode([vlm.preprocess(shown, budget) for shown in images], attention=attention)
