"""The time of answers: (b) in batches, (c) with cache reuse, (d) of reduced images.

A reduction shortens the prefill of the language model: the generation that follows takes the same
number of steps whatever the model was shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median
from typing import Any, Self

import numpy as np
import torch

from vovnet.commands.bench.subject import Bench, Line, interleaved, turn
from vovnet.config import PolicySettings
from vovnet.core.records import Sample
from vovnet.core.resampling import Resamples
from vovnet.data.images import load_images
from vovnet.evaluation.live_run import paired_ratio
from vovnet.inference.engine import Encoded, Inference
from vovnet.inference.live import WARM_UP, LivePolicy, Timing, answer_both_ways
from vovnet.inference.observe import observe_samples
from vovnet.model.sequences import Pixels, Prompt, TokenSequence
from vovnet.policies.experiments import needed_views
from vovnet.views import parse_view, view_budget

BATCHING_REQUIRED, NO_REQUIRED, REUSE_REQUIRED = 4.0, 1.1, 1.0

ALWAYS_LOOK = PolicySettings(baseline_name="uncertainty_threshold", baseline_threshold=-np.inf)
NEVER_LOOK = PolicySettings(baseline_name="uncertainty_threshold", baseline_threshold=np.inf)
"""Both read the question first, as VoVNet does. One then always shows FULL, the other nothing."""

BLIND = PolicySettings(baseline_name="no_vision")

PREFILL_BATCH = 32
PREFILL_ROUNDS = 4
"""Prefills in one repeat, since a single one is too short to be timed."""

Tokens = tuple[int, ...]


def compare_batching(bench: Bench) -> tuple[list[Line], dict[str, Any]]:
    """Every view of the same samples: observed in batches, and by `generate` one by one."""
    samples, actions = bench.samples, bench.settings.actions
    tokens: dict[str, list[Tokens]] = {}

    def observed() -> None:
        rows = observe_samples(bench.inference, bench.layout, samples, actions).rows
        tokens["observed"] = [row.answers[view].token_ids for row in rows for view in actions]

    def plain() -> None:
        each = (_plain_answers(bench, sample, actions) for sample in samples)
        tokens["plain"] = [answer for answers in each for answer in answers]

    seconds = interleaved({"observed": observed, "plain": plain}, bench.settings.bench.repeats)
    fast, slow = median(seconds["observed"]), median(seconds["plain"])
    different = sum(a != b for a, b in zip(tokens["observed"], tokens["plain"], strict=True))
    answers = f"{len(tokens['plain'])} answers"
    what, note = "plain generate / batched observation", f"{slow:.2f} s / {fast:.2f} s, {answers}"
    lines = [
        Line("b", f"wall time, {what}", slow / fast, at_least=BATCHING_REQUIRED, note=note),
        Line("b", "answers whose tokens differ", different, at_most=0, note=answers),
    ]
    return lines, {"seconds": seconds, "num_samples": len(samples), "num_different": different}


def _plain_answers(bench: Bench, sample: Sample, views: Sequence[str]) -> list[Tokens]:
    """The tokens that transformers' `generate` gives for the whole prompt of each view."""
    settings, vlm = bench.settings, bench.inference.vlm
    (prompt,) = bench.inference.prompts([sample])
    shown = any(view != "no" for view in views)
    images = load_images(settings, bench.layout, sample) if shown else []
    count = settings.eval.max_new_tokens
    return [
        tuple(vlm.generate_plain([prompt], [images], budget, count)[0])
        for budget in (view_budget(view, settings.vision_budget) for view in views)
    ]


def compare_reuse(bench: Bench) -> tuple[list[Line], dict[str, Any]]:
    """One question at a time: FULL with and without cache reuse, and NO against plain text."""
    full, full_different = _full_both_ways(bench)
    blind, blind_different = _no_and_plain(bench)
    named = {
        "FULL with cache reuse / without": (full, REUSE_REQUIRED),
        "NO / plain text-only generate": (blind["plain"], NO_REQUIRED),
        "NO / the same loop without signals and decision": (blind["no_vision"], None),
    }
    lines = [
        Line("c", f"latency, {what}", ratio["latency_ratio"], at_most=most, note=_interval(ratio))
        for what, (ratio, most) in named.items()
    ]
    different = full_different + blind_different
    lines.append(Line("c", "answers whose tokens differ", different, at_most=0))
    return lines, {"full": full, "no": blind, "num_samples": len(bench.samples)}


def _full_both_ways(bench: Bench) -> tuple[dict[str, Any], int]:
    """The paired latency ratio, with reuse over without, and how many answers differ."""
    reuse, anew, different = [], [], 0
    live = LivePolicy(bench.inference, bench.layout, ALWAYS_LOOK)
    for _ in range(bench.settings.bench.repeats):
        first, second = answer_both_ways(live, bench.samples, lambda: None)
        pairs = zip(first, second, strict=True)
        different = sum(a.answer.token_ids != b.answer.token_ids for a, b in pairs)
        reuse += [item.timing for item in first]
        anew += [item.timing for item in second]
    return _paired(bench, reuse, anew), different


def _no_and_plain(bench: Bench) -> tuple[dict[str, Any], int]:
    """NO after the text pass, over plain `generate` and over `no_vision`, which reads nothing."""

    def plain(sample: Sample) -> tuple[Tokens, Timing]:
        timing = Timing(bench.inference.vlm.device)
        with timing.clock("generation"):
            (tokens,) = _plain_answers(bench, sample, ["no"])
        return tokens, timing

    def live(policy: PolicySettings) -> Callable[[Sample], tuple[Tokens, Timing]]:
        steered = LivePolicy(bench.inference, bench.layout, policy)
        steered.warm_up(bench.samples[:WARM_UP])

        def answer(sample: Sample) -> tuple[Tokens, Timing]:
            answered = steered(sample)
            return answered.answer.token_ids, answered.timing

        return answer

    ways = {"no": live(NEVER_LOOK), "plain": plain, "no_vision": live(BLIND)}
    timings: dict[str, list[Timing]] = {way: [] for way in ways}
    different = 0
    for repeat in range(bench.settings.bench.repeats):
        for row, sample in enumerate(bench.samples):
            found = set()
            for way, answer in turn(ways, row + repeat):
                tokens, timing = answer(sample)
                found.add(tokens)
                timings[way].append(timing)
            different += repeat == 0 and len(found) > 1
    no = timings.pop("no")
    return {way: _paired(bench, no, others) for way, others in timings.items()}, different


def _paired(bench: Bench, first: Sequence[Timing], second: Sequence[Timing]) -> dict[str, Any]:
    """How long `first` takes in terms of `second`; an interval over questions."""
    evaluation, count = bench.settings.eval, len(bench.samples)
    resamples = Resamples.draw(np.arange(count), evaluation.bootstrap_samples, evaluation.seed)
    own, other = ([timing.latency_ms for timing in timings] for timings in (first, second))
    units_N = np.arange(len(own)) % count
    ratio = paired_ratio(np.array(own), np.array(other), units_N, resamples)
    return ratio | {"median_ms": median(own), "other_median_ms": median(other)}


def _interval(ratio: dict[str, Any]) -> str:
    return (
        f"95% {ratio['latency_ratio_lo']:.3f} to {ratio['latency_ratio_hi']:.3f},"
        f" {ratio['median_ms']:.2f} ms / {ratio['other_median_ms']:.2f} ms"
    )


@torch.inference_mode()
def compare_reductions(bench: Bench) -> tuple[list[Line], dict[str, Any]]:
    """The prefill time of FULL divided by that of each other view, at one batch size.

    Beside it stands the same of encoding, reducing and prefill together, and of their FLOPs.
    """
    views = needed_views(bench.settings, bench.run, bench.seed, bench.first_set)
    if not views:
        return [], {}
    looks = {view: _Look.of(bench, view) for view in ["full", "coarse", *views]}
    prefills = {view: look.prefill for view, look in looks.items()}
    seconds = interleaved(prefills, bench.settings.bench.repeats)
    whole = interleaved(looks, bench.settings.bench.repeats)
    facts = {
        view: {
            "prefill_ms": median(seconds[view]) / PREFILL_ROUNDS * 1000,
            "look_ms": median(whole[view]) * 1000,
        }
        | look.facts
        for view, look in looks.items()
    }
    full = facts["full"]
    lines = []
    for view in ["coarse", *views]:
        item = facts[view]
        saved = {key: full[key] / item[key] for key in ("prefill_ms", "look_ms", "flops")}
        note = (
            f"{item['vision_tokens']:.1f} of {full['vision_tokens']:.1f} vision tokens,"
            f" {item['sequence_length']:.1f} of {full['sequence_length']:.1f} in all;"
            f" with encoding and reducing {saved['look_ms']:.2f}, in FLOPs {saved['flops']:.2f}"
        )
        lines.append(Line("d", f"prefill, full / {view}", saved["prefill_ms"], note=note))
    return lines, {"batch": PREFILL_BATCH, "views": facts}


@dataclass(frozen=True)
class _Look:
    """The same questions under a view: called, it encodes, reduces and runs the prefill."""

    inference: Inference
    view: str
    prompts: Sequence[Prompt]
    pixels: Sequence[Pixels | None]

    @classmethod
    def of(cls, bench: Bench, view: str) -> Self:
        samples, inference = bench.samples[:PREFILL_BATCH], bench.inference
        budget = view_budget(view, bench.settings.vision_budget)
        images = [load_images(bench.settings, bench.layout, sample) for sample in samples]
        pixels = [inference.vlm.preprocess(shown, budget) for shown in images]
        return cls(inference, view, inference.prompts(samples), pixels)

    def _encoded(self) -> Encoded:
        attention = parse_view(self.view).needs_attention
        return self.inference.encode_pixels(self.pixels, attention=attention)

    @cached_property
    def sequences(self) -> list[TokenSequence]:
        return self.inference.sequences(self.prompts, self._encoded(), self.view)

    def __call__(self) -> None:
        sequences = self.inference.sequences(self.prompts, self._encoded(), self.view)
        self.inference.vlm.prefill(sequences)

    def prefill(self) -> None:
        """The prefill alone, several times."""
        for _ in range(PREFILL_ROUNDS):
            self.inference.vlm.prefill(self.sequences)

    @property
    def facts(self) -> dict[str, float]:
        """Means over the questions."""
        flops, attention = self.inference.vlm.flops, parse_view(self.view).needs_attention
        layers = flops.language_model.num_hidden_layers
        counted = [
            flops.answer(
                [image.grid for image in item.images],
                item.length,
                0,
                attention=attention,
                dropped=item.dropped,
            )
            for item in self.sequences
        ]
        return {
            "vision_tokens": fmean(item.mean_vision_tokens(layers) for item in self.sequences),
            "sequence_length": fmean(item.length for item in self.sequences),
            "flops": fmean(item.vision_tower + item.language_model_alone for item in counted),
        }
