"""The measurements of `vovnet bench_gpu`, each of one process on one card.

FLOPs are counted from the model's sizes (`vovnet.model.flops`), never from kernels, so that work
that is done twice to save memory does not count.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch._dynamo.utils import counters
from torch.profiler import ProfilerActivity, profile

from vovnet.config import PolicySettings, Settings
from vovnet.core.errors import VovnetError
from vovnet.core.files import read_jsonl
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.images import load_images
from vovnet.data.sets import load_train
from vovnet.inference.engine import Inference
from vovnet.inference.live import LivePolicy
from vovnet.inference.observe import Block, Observation, observe_blocks, observe_samples
from vovnet.inference.shards import SIGNALS, STATES
from vovnet.model.product import measured_s
from vovnet.training.loop import LOG_NAME, Trainer
from vovnet.views import view_budget

Numbers = dict[str, Any]

WARM_STEPS = 4
"""Steps of training that are not timed: layers are compiled in them."""

PROFILED_STEPS = 2
KINDS = {
    "attention": ("flash", "attention", "fmha"),
    "matrix products": ("gemm", "nvjet", "cutlass", "cublas"),
    "other cards": ("nccl",),
}
"""Kinds of kernels, by parts of their names. Cards wait for each other in those of NCCL."""


@contextmanager
def kernels() -> Iterator[Numbers]:
    """Seconds in which the card runs kernels of each kind, filled at the end.

    Recording slows the host down, so that idle time is to be found without it.
    """
    seconds: Numbers = dict.fromkeys([*KINDS, "other kernels"], 0.0)
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        yield seconds
        torch.cuda.synchronize()
    end = 0.0
    events = [event for event in recorded.events() if event.device_type.name == "CUDA"]
    for event in sorted(events, key=lambda event: event.time_range.start):
        start = max(event.time_range.start, end)
        end = max(end, event.time_range.end)
        name = event.name.lower()
        kinds = (kind for kind, parts in KINDS.items() if any(part in name for part in parts))
        seconds[next(kinds, "other kernels")] += max(0.0, event.time_range.end - start) / 1e6


def shares(seconds: Numbers, elapsed_s: float) -> Numbers:
    """Of the time that as much work takes without being recorded; the rest is `idle`."""
    found = {kind: value / elapsed_s for kind, value in seconds.items()}
    return found | {"idle": max(0.0, 1 - sum(found.values()))}


def train(settings: Settings, layout: Layout, folder: Path, stage: int, num_steps: int) -> Numbers:
    """Samples/s of all devices and TFLOP/s of each, on average, in a stage, and its losses.

    Left out are the first steps, later ones in which a device compiled a layer for another kind of
    pass, with the ones after them, in which the others still wait for it, and the last ones, which
    are recorded. Nothing waits for the device between the others.
    """
    samples = load_train(settings, layout)[: num_steps * settings.training.batch_size]
    trainer = Trainer(settings, stage, folder, samples, partial(load_images, settings, layout))
    torch.cuda.reset_peak_memory_stats()
    seconds, flops, compiled = [], [], []
    recording, kinds = ExitStack(), Numbers()

    def on_step(done: int, total: int) -> None:
        if done in (WARM_STEPS, total - PROFILED_STEPS):
            torch.cuda.synchronize()
        seconds.append(time.perf_counter())
        flops.append(trainer.asked_for.flops)
        compiled.append(counters["stats"]["unique_graphs"])
        if done == total - PROFILED_STEPS:
            kinds.update(kernels=recording.enter_context(kernels()))

    with recording:
        trainer.run(on_step)
    ends = range(WARM_STEPS, num_steps - PROFILED_STEPS)
    compiling = {
        step
        for counts in gather_object([compiled])
        for end in ends
        if counts[end] != counts[end - 1]
        for step in (end, end + 1)
    }
    timed = [end for end in ends if end not in compiling]
    if not timed:
        raise VovnetError(
            f"bench_gpu: layers were compiled in all of the {len(ends)} steps to be timed;"
            " raise --steps"
        )
    elapsed_s = sum(seconds[end] - seconds[end - 1] for end in timed)
    own = sum(flops[end] - flops[end - 1] for end in timed)
    asked_for = fmean(gather_object([own]))
    return {
        "samples_per_s": settings.training.batch_size * len(timed) / elapsed_s,
        "tflops": asked_for / elapsed_s / 1e12,
        "timed_steps": len(timed),
        "peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30,
        "kernels": shares(kinds["kernels"], (flops[-1] - flops[ends.stop - 1]) * elapsed_s / own),
        "losses": [line["loss"] for _, line in read_jsonl(folder / LOG_NAME)],
    }


def observe(inference: Inference, layout: Layout, samples: Sequence[Sample]) -> Numbers:
    """Questions/s of all actions, from files on disk to tables, and how busy the card is."""
    settings, tables = inference.settings, [SIGNALS, STATES, *inference.settings.actions]

    def blocks(rows: Sequence[Sample]) -> list[Block]:
        size = settings.eval.shard_rows
        return [Block(rows[start : start + size], tables) for start in range(0, len(rows), size)]

    list(observe_blocks(inference, layout, blocks(samples[: settings.eval.batch_size])))
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    began = time.perf_counter()
    found = list(observe_blocks(inference, layout, blocks(samples)))
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    flops = sum(_flops(observation) for observation in found)
    memory = torch.cuda.max_memory_allocated() / 2**30
    with kernels() as busy:
        list(observe_blocks(inference, layout, blocks(samples)))
    return {
        "questions": len(samples),
        "questions_per_s": len(samples) / seconds,
        "tflops": flops / seconds / 1e12,
        "peak_memory_gib": memory,
        "halved_batches": inference.halved_batches,
        "kernels": shares(busy, seconds),
    }


def _flops(observation: Observation) -> float:
    total = 0.0
    for row in observation.rows:
        assert row.signals is not None
        total += float(row.signals["flops_text_pass"])
        total += sum(answer.executed_flops(after_text=True) for answer in row.answers.values())
    return total


def prefill(inference: Inference, layout: Layout, samples: Sequence[Sample]) -> Numbers:
    """The tower and the prefill of FULL, in batches of a usual size."""
    settings, vlm = inference.settings, inference.vlm
    budget = view_budget("full", settings.vision_budget)
    with torch.inference_mode():
        pixels = [vlm.preprocess(load_images(settings, layout, item), budget) for item in samples]
        encoded = vlm.encode(pixels)
        grids = [image.grid for images in encoded for image in images]
        tower_s = measured_s(lambda: vlm.encode(pixels), 3)
        sequences = inference.sequences(inference.prompts(samples), encoded, "full")
        prefill_s = measured_s(lambda: vlm.prefill(sequences), 5)
    counted = vlm.flops.language_model
    flops = sum(counted.prefill(sequence.length) for sequence in sequences)
    return {
        "tower_tflops": vlm.flops.vision_tower.encode(grids) / tower_s / 1e12,
        "tower_ms": tower_s * 1000 / len(samples),
        "prefill_tflops": flops / prefill_s / 1e12,
        "prefill_ms": prefill_s * 1000 / len(samples),
    }


POLICIES = {
    "no_vision": PolicySettings(baseline_name="no_vision"),
    "always_full": PolicySettings(baseline_name="always_full"),
    "read_then_no": PolicySettings(
        baseline_name="uncertainty_threshold", baseline_threshold=float("inf")
    ),
    "read_then_full": PolicySettings(baseline_name="uncertainty_threshold", baseline_threshold=0.0),
}
"""What is answered live; the last two decide by the question, always alike."""


def live(inference: Inference, layout: Layout, samples: Sequence[Sample]) -> Numbers:
    """Milliseconds of an answer and of its parts at batch size 1, medians over questions."""
    found: Numbers = {}
    for name, policy in POLICIES.items():
        answering = LivePolicy(inference, layout, policy)
        answering.warm_up(samples)
        answers = [answering(sample) for sample in samples]
        parts = {
            part: float(np.median([answer.timing.parts[part] for answer in answers]))
            for part in answers[0].timing.parts
        }
        token_ms = [
            answer.timing.parts["generation"] / max(1, answer.answer.generated_tokens)
            for answer in answers
        ]
        latency = [answer.timing.latency_ms for answer in answers]
        found[name] = {
            "p50_ms": float(np.median(latency)),
            "token_ms": float(np.median(token_ms)),
            "parts_ms": parts,
            "latency_ms": latency,
        }
    no, full = found["read_then_no"]["latency_ms"], found["read_then_full"]["latency_ms"]
    mixed = [times[index % 2] for index, times in enumerate(zip(no, full, strict=True))]
    decision = found["read_then_full"]["parts_ms"]
    decides_ms = decision["text_pass"] + decision["decision"]
    always_full = found["always_full"]["p50_ms"]
    found["ratios"] = {
        "no_over_text_only": found["read_then_no"]["p50_ms"] / found["no_vision"]["p50_ms"],
        "decision_over_full": decides_ms / always_full,
        "half_no_over_full": float(np.median(mixed)) / always_full,
    }
    return found


def agreement(inference: Inference, layout: Layout, samples: Sequence[Sample]) -> Numbers:
    """How many answers differ between batches, one by one, and live."""
    views = inference.settings.actions
    together = observe_samples(inference, layout, samples, views)
    alone = [observe_samples(inference, layout, [sample], views).rows[0] for sample in samples]
    answering = LivePolicy(inference, layout, POLICIES["always_full"])
    lived = [answering(sample).answer.token_ids for sample in samples]
    batched = [row.answers["full"].token_ids for row in together.rows]
    single = [row.answers["full"].token_ids for row in alone]
    return {
        "answers": len(samples),
        "batched_and_single_differ": sum(a != b for a, b in zip(batched, single, strict=True)),
        "single_and_live_differ": sum(a != b for a, b in zip(single, lived, strict=True)),
        "batched_first_margin": float(
            np.median([row.answers["full"].margin for row in together.rows])
        ),
    }


def generate(
    inference: Inference, layout: Layout, samples: Sequence[Sample], batch_size: int
) -> Numbers:
    """Transformers' own `generate` on the same views, so many questions at once."""
    settings, vlm = inference.settings, inference.vlm

    def run() -> None:
        for start in range(0, len(samples), batch_size):
            batch = samples[start : start + batch_size]
            prompts = inference.prompts(batch)
            images = [load_images(settings, layout, sample) for sample in batch]
            for view in settings.actions:
                budget = view_budget(view, settings.vision_budget)
                vlm.generate_plain(prompts, images, budget, settings.eval.max_new_tokens)

    with torch.inference_mode():
        seconds = measured_s(run, 1)
    return {"questions": len(samples), "questions_per_s": len(samples) / seconds}
