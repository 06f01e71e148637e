"""(d) The time that a reduction saves.

It can shorten only the prefill of the language model: the generation that follows takes the same
number of steps whatever the model was shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from vovnet.commands.bench.measure import Line, interleaved, median
from vovnet.commands.bench.subject import Bench
from vovnet.core.records import Sample
from vovnet.data.sets import load_set
from vovnet.inference.engine import load_images
from vovnet.model.sequences import TokenSequence
from vovnet.policies.experiments import needed_views
from vovnet.views import parse_view, view_budget

BATCH = 32
ROUNDS = 4
"""Prefills in one repeat, since a single one is too short to be timed."""


@torch.inference_mode()
def compare_reductions(bench: Bench) -> tuple[list[Line], dict[str, Any]]:
    """The prefill time of FULL divided by that of each other view, at one batch size."""
    name = bench.first_set
    samples = load_set(bench.settings, bench.layout, name)[:BATCH]
    views = needed_views(bench.settings, bench.run, bench.seed, name)
    if not views:
        return [], {}
    sequences = {view: _sequences(bench, samples, view) for view in ["full", "coarse", *views]}

    def prefill(chosen: Sequence[TokenSequence]) -> None:
        for _ in range(ROUNDS):
            bench.inference.vlm.prefill(chosen)

    ways: dict[str, Callable[[], object]] = {
        view: partial(prefill, chosen) for view, chosen in sequences.items()
    }
    seconds = interleaved(ways, bench.settings.bench.repeats)
    facts = {
        view: {
            "prefill_ms": median(seconds[view]) / ROUNDS * 1000,
            "vision_tokens": _mean([item.num_vision_tokens for item in chosen]),
            "sequence_length": _mean([item.length for item in chosen]),
        }
        for view, chosen in sequences.items()
    }
    full = facts["full"]
    lines = [
        Line(
            "d",
            f"prefill, full / {view}",
            full["prefill_ms"] / item["prefill_ms"],
            note=f"{item['vision_tokens']:.1f} of {full['vision_tokens']:.1f} vision tokens,"
            f" {item['sequence_length']:.1f} of {full['sequence_length']:.1f} in all",
        )
        for view, item in facts.items()
        if view != "full"
    ]
    return lines, {"batch": len(samples), "views": facts}


def _sequences(bench: Bench, samples: Sequence[Sample], view: str) -> list[TokenSequence]:
    inference, settings = bench.inference, bench.settings
    images = [load_images(settings, bench.layout, sample) for sample in samples]
    encoded = inference.encode(images, view_budget(view, settings.vision_budget))
    reductions = parse_view(view).reductions
    return [
        inference.vlm.sequence(prompt, tuple(image.reduced(reductions) for image in shown))
        for prompt, shown in zip(inference.prompts(samples), encoded, strict=True)
    ]


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)
