"""What the bench measures, and how: one trained model with its experiments, lines and clocks."""

import math
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from vovnet.config import Settings, run_kind, run_settings, validate
from vovnet.config.experiments import bench_experiments, run_seeds
from vovnet.core.files import read_text
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.sets import load_set
from vovnet.inference.engine import Answer, Inference, TextPass
from vovnet.model.vovnet import device_name, load_trained, pick_device
from vovnet.pipeline.trained_model import TrainedModel

T = TypeVar("T")


@dataclass(frozen=True)
class BenchLayout(Layout):
    """A folder for what the bench makes. Data and trained models are those of `source`."""

    source: Layout

    def data(self, dataset: str) -> Path:
        return self.source.data(dataset)

    def stage(self, run: str, seed: int | str, stage: int) -> Path:
        return self.source.stage(run, seed, stage)


class CountingInference(Inference):
    """Counts model passes: to read a question is one, to answer it under a view another."""

    passes = 0

    def text_pass(self, samples: Sequence[Sample]) -> TextPass:
        self.passes += len(samples)
        return super().text_pass(samples)

    def answer(self, samples: Sequence[Sample], *arguments: Any, **options: Any) -> list[Answer]:
        self.passes += len(samples)
        return super().answer(samples, *arguments, **options)


@dataclass(frozen=True)
class Bench:
    """A loaded model, and settings of one run, one seed, the bench's experiments and small sets."""

    settings: Settings
    layout: BenchLayout
    inference: CountingInference

    @property
    def run(self) -> str:
        return next(iter(self.settings.runs))

    @property
    def seed(self) -> int:
        return self.settings.seeds[0]

    @property
    def first_set(self) -> str:
        return next(iter(self.settings.data.eval_sets))

    @cached_property
    def samples(self) -> list[Sample]:
        """Those of the first set."""
        return list(load_set(self.settings, self.layout, self.first_set))


def open_bench(settings: Settings, layout: Layout, folder: Path) -> Bench:
    """Load the trained model that the bench measures. What it makes goes to `folder`."""
    settings = _cut_down(settings)
    (run,), (seed,) = settings.runs, settings.seeds
    trained = TrainedModel(settings, layout, run, seed)
    model = load_trained(settings, trained.checkpoint, pick_device(), with_head=trained.has_head)
    return Bench(settings, BenchLayout(folder, layout), CountingInference(model, settings))


def _cut_down(settings: Settings) -> Settings:
    """The settings, cut down to the bench's experiments, one run and seed, and few questions.

    A part of the routers' set has half as many questions as an evaluation set.
    """
    names = bench_experiments(settings)
    run = settings.experiments[names[0]].run
    seed = run_seeds(settings, run)[0]
    value = run_settings(settings, run, seed).model_dump()
    count = settings.bench.num_samples
    for chosen in value["data"]["eval_sets"].values():
        chosen["max_samples"] = min(chosen["max_samples"] or count, count)
    for part in value["data"]["router_fit"]:
        half = max(1, count // 2)
        part["max_samples"] = min(part["max_samples"] or half, half)
    alone = {"seeds": [seed], "targets": []}
    stanzas = {name: value["experiments"][name] | alone for name in names}
    runs = {run: run_kind(settings, run)}
    whole = {"runs": runs, "seeds": [seed], "experiments": stanzas, "targets": {}}
    whole |= {"report": {}, "eval": value["eval"] | {"num_shards": 1}}
    return validate(value | whole, "bench")


@dataclass(frozen=True)
class Line:
    """A measured value. `at_least` or `at_most` is the requirement, if there is one."""

    part: str
    what: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`pass` or `miss`; empty where nothing is required."""
        if self.at_least is None and self.at_most is None:
            return ""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return "pass" if low <= self.value <= high else "miss"


def turn(ways: Mapping[str, T], number: int) -> list[tuple[str, T]]:
    """The ways in another order each time, so that none profits from a quiet moment."""
    first = number % len(ways)
    return [*ways.items()][first:] + [*ways.items()][:first]


def interleaved(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """The seconds that each way takes in each repeat, after a first round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for work in ways.values():
        work()
    for repeat in range(repeats):
        for name, work in turn(ways, repeat):
            seconds[name].append(timed(work)[0])
    return seconds


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """The seconds until the device has finished `work`, and what `work` returned."""
    began = time.perf_counter()
    value = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began, value


def growth_exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of log(seconds) over log(size) by least squares: 1 is linear."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def machine() -> dict[str, Any]:
    """The machine on which the numbers are measured."""
    info = Path("/proc/cpuinfo")
    text = read_text(info) if info.is_file() else ""
    named = re.search(r"model name\s*:\s*(.+)", text)
    return {
        "cpu": named[1].strip() if named else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "device": device_name(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }
