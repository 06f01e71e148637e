"""(c) The latency that cache reuse saves, and the latency that the text pass adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vovnet.commands.bench.batching import Tokens, plain_answers
from vovnet.commands.bench.measure import Line, median
from vovnet.commands.bench.subject import Bench
from vovnet.config import PolicySettings
from vovnet.core.records import Sample
from vovnet.core.stats import bootstrap_counts
from vovnet.data.sets import load_set
from vovnet.evaluation.live_run import paired_ratio
from vovnet.inference.live import WARM_UP, LivePolicy, answer_both_ways
from vovnet.inference.timing import Timing

NO_REQUIRED, REUSE_REQUIRED = 1.1, 1.0

ALWAYS_LOOK = PolicySettings(baseline_name="uncertainty_threshold", baseline_threshold=-np.inf)
NEVER_LOOK = PolicySettings(baseline_name="uncertainty_threshold", baseline_threshold=np.inf)
"""Both read the question first, as VoVNet does. One then always shows FULL, the other nothing."""

BLIND = PolicySettings(baseline_name="no_vision")


def compare_reuse(bench: Bench) -> tuple[list[Line], dict[str, Any]]:
    """One question at a time: FULL with and without cache reuse, and NO against plain text."""
    samples = list(load_set(bench.settings, bench.layout, bench.first_set))
    full, full_different = _full_both_ways(bench, samples)
    blind, blind_different = _no_and_plain(bench, samples)
    lines = [
        Line(
            "c",
            "latency, FULL with cache reuse / without",
            full["latency_ratio"],
            at_most=REUSE_REQUIRED,
            note=_interval(full),
        ),
        Line(
            "c",
            "latency, NO / plain text-only generate",
            blind["plain"]["latency_ratio"],
            at_most=NO_REQUIRED,
            note=_interval(blind["plain"]),
        ),
        Line(
            "c",
            "latency, NO / the same loop without signals and decision",
            blind["no_vision"]["latency_ratio"],
            note=_interval(blind["no_vision"]),
        ),
        Line("c", "answers whose tokens differ", full_different + blind_different, at_most=0),
    ]
    return lines, {"full": full, "no": blind, "num_samples": len(samples)}


def _full_both_ways(bench: Bench, samples: Sequence[Sample]) -> tuple[dict[str, Any], int]:
    """The paired latency ratio, with reuse over without, and how many answers differ."""
    reuse, anew, different = [], [], 0
    live = LivePolicy(bench.inference, bench.layout, ALWAYS_LOOK)
    for _ in range(bench.settings.bench.repeats):
        first, second = answer_both_ways(live, samples, lambda: None)
        pairs = zip(first, second, strict=True)
        different = sum(a.answer.token_ids != b.answer.token_ids for a, b in pairs)
        reuse += [item.timing for item in first]
        anew += [item.timing for item in second]
    return _paired(bench, reuse, anew, len(samples)), different


def _no_and_plain(bench: Bench, samples: Sequence[Sample]) -> tuple[dict[str, Any], int]:
    """NO after the text pass, over plain `generate` and over `no_vision`, which reads nothing."""
    deciding = LivePolicy(bench.inference, bench.layout, NEVER_LOOK)
    blind = LivePolicy(bench.inference, bench.layout, BLIND)
    for live in (deciding, blind):
        live.warm_up(samples[:WARM_UP])
    timings: dict[str, list[Timing]] = {"no": [], "plain": [], "no_vision": []}
    found: dict[str, Tokens] = {}

    def answer(way: str, sample: Sample) -> None:
        if way != "plain":
            answered = (deciding if way == "no" else blind)(sample)
            found[way] = answered.answer.token_ids
            timings[way].append(answered.timing)
            return
        timing = Timing(bench.inference.vlm.device)
        with timing.clock("generation"):
            (found[way],) = plain_answers(bench, sample, ["no"])
        timings[way].append(timing)

    different = 0
    for repeat in range(bench.settings.bench.repeats):
        for row, sample in enumerate(samples):
            turn = (row + repeat) % len(timings)
            for way in [*timings][turn:] + [*timings][:turn]:
                answer(way, sample)
            different += repeat == 0 and len(set(found.values())) > 1
    others = ("plain", "no_vision")
    ratios = {way: _paired(bench, timings["no"], timings[way], len(samples)) for way in others}
    return ratios, different


def _paired(
    bench: Bench, first: Sequence[Timing], second: Sequence[Timing], num_samples: int
) -> dict[str, Any]:
    """How long `first` takes in terms of `second`; an interval over questions."""
    evaluation = bench.settings.eval
    counts_BU = bootstrap_counts(num_samples, evaluation.bootstrap_samples, evaluation.seed)
    units_N = np.arange(len(first)) % num_samples
    own, other = ([timing.latency_ms for timing in timings] for timings in (first, second))
    ratio = paired_ratio(np.array(own), np.array(other), units_N, counts_BU)
    return ratio | {"median_ms": median(own), "other_median_ms": median(other)}


def _interval(ratio: dict[str, Any]) -> str:
    return (
        f"95% {ratio['latency_ratio_lo']:.3f} to {ratio['latency_ratio_hi']:.3f},"
        f" {ratio['median_ms']:.2f} ms / {ratio['other_median_ms']:.2f} ms"
    )
