"""(b) Batched observation against transformers' own `generate`, one prompt after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vovnet.commands.bench.measure import Line, interleaved, median
from vovnet.commands.bench.subject import Bench
from vovnet.core.records import Sample
from vovnet.data.sets import load_set
from vovnet.inference.engine import load_images
from vovnet.inference.observe import observe_samples
from vovnet.views import view_budget

BATCHING_REQUIRED = 4.0

Tokens = tuple[int, ...]


def compare_batching(bench: Bench) -> tuple[list[Line], dict[str, Any]]:
    """Every view of the same samples: observed in batches, and by `generate` one by one."""
    samples = list(load_set(bench.settings, bench.layout, bench.first_set))
    actions = bench.settings.actions
    tokens: dict[str, list[Tokens]] = {}

    def observed() -> None:
        rows = observe_samples(bench.inference, bench.layout, samples, actions).rows
        tokens["observed"] = [row.answers[view].token_ids for row in rows for view in actions]

    def plain() -> None:
        each = (plain_answers(bench, sample, actions) for sample in samples)
        tokens["plain"] = [answer for answers in each for answer in answers]

    seconds = interleaved({"observed": observed, "plain": plain}, bench.settings.bench.repeats)
    fast, slow = median(seconds["observed"]), median(seconds["plain"])
    different = sum(a != b for a, b in zip(tokens["observed"], tokens["plain"], strict=True))
    answers = f"{len(tokens['plain'])} answers"
    lines = [
        Line(
            "b",
            "wall time, plain generate / batched observation",
            slow / fast,
            at_least=BATCHING_REQUIRED,
            note=f"{slow:.2f} s / {fast:.2f} s, {answers}",
        ),
        Line("b", "answers whose tokens differ", different, at_most=0, note=answers),
    ]
    return lines, {"seconds": seconds, "num_samples": len(samples), "num_different": different}


def plain_answers(bench: Bench, sample: Sample, views: Sequence[str]) -> list[Tokens]:
    """The tokens that transformers' `generate` gives for the whole prompt of each view."""
    settings, vlm = bench.settings, bench.inference.vlm
    (prompt,) = bench.inference.prompts([sample])
    shown = any(view != "no" for view in views)
    images = load_images(settings, bench.layout, sample) if shown else []
    count = settings.eval.max_new_tokens
    return [
        tuple(vlm.generate_plain(prompt, images, view_budget(view, settings.vision_budget), count))
        for view in views
    ]
