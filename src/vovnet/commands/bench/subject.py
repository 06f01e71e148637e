"""The subject of the bench: one trained model, its experiments, and a results folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.config import Settings, run_settings, validate
from vovnet.config.experiments import bench_experiments
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.inference.engine import Answer, Inference, TextPass
from vovnet.model.vovnet import load_trained, pick_device


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


def open_bench(settings: Settings, layout: Layout, folder: Path) -> Bench:
    """Load the trained model that the bench measures. What it makes goes to `folder`."""
    settings = bench_settings(settings)
    checkpoint = layout.stage(next(iter(settings.runs)), settings.seeds[0], 2)
    model = load_trained(settings, checkpoint, pick_device())
    return Bench(settings, BenchLayout(folder, layout), CountingInference(model, settings))


def bench_settings(settings: Settings) -> Settings:
    """The settings, cut down to the bench's experiments, one run and seed, and few questions.

    A part of the routers' set has half as many questions as an evaluation set.
    """
    names = bench_experiments(settings)
    if not names:
        raise ConfigError("experiments: the bench needs a replayed experiment, there is none")
    run, seed = settings.experiments[names[0]].run, settings.seeds[0]
    value = run_settings(settings, run, seed).model_dump()
    count = settings.bench.num_samples
    for chosen in value["data"]["eval_sets"].values():
        chosen["max_samples"] = min(chosen["max_samples"] or count, count)
    for part in value["data"]["router_fit"]:
        half = max(1, count // 2)
        part["max_samples"] = min(part["max_samples"] or half, half)
    stanzas = {name: value["experiments"][name] for name in names}
    for stanza in stanzas.values():
        stanza["seeds"] = [seed]
    whole = {"runs": {run: {}}, "seeds": [seed], "experiments": stanzas, "targets": {}}
    whole["report"] = {}
    whole["eval"] = value["eval"] | {"num_shards": 1}
    return validate(value | whole, "bench")
