"""(e) The growth of the time of observation and of evaluation with the number of samples.

The questions of an evaluation set are repeated under new ids until there are enough. They are
observed and evaluated as in the DAG.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from vovnet.commands.bench.measure import Line, growth_exponent, median, timed
from vovnet.commands.bench.subject import Bench, BenchLayout
from vovnet.config import Settings, validate
from vovnet.core.records import Sample
from vovnet.data.samples import read_samples, write_samples
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.inference.observe import observe_shard
from vovnet.inference.shards import gather
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies.experiments import experiment_views, uses_router_fit

LINEAR = 1.05
"""The exponent up to which growth counts as linear, since clocks are not exact."""

REPEATS = 3


@dataclass(frozen=True)
class _GrownLayout(BenchLayout):
    """A layout with a single split, made of repeated questions."""

    def samples(self, dataset: str, split: str) -> Path:
        return self.root / "samples.jsonl"


def compare_growth(
    bench: Bench, tick: Callable[[int, int], None] | None = None
) -> tuple[list[Line], dict[str, Any]]:
    """Fit seconds = c * samples^k over the sizes, and report the exponents k."""
    sizes = bench.settings.bench.growth
    root = bench.layout.root / "growth"
    layout = _GrownLayout(root, bench.layout.source)
    chosen = bench.settings.data.eval_sets[bench.first_set]
    source = bench.layout.samples(chosen.dataset, chosen.split)
    write_samples(layout.samples("", ""), _repeated(read_samples(source), max(sizes)))
    repeats = min(REPEATS, bench.settings.bench.repeats)
    seconds: dict[str, list[list[float]]] = {
        way: [[] for _ in sizes] for way in ("observation", "evaluation")
    }
    for repeat in range(repeats):
        for place, size in enumerate(sizes):
            settings = _grown(bench, size)
            for way, work in _ways(bench, settings, layout).items():
                seconds[way][place].append(timed(work)[0])
            if tick is not None:
                tick(repeat * len(sizes) + place + 1, repeats * len(sizes))
            shutil.rmtree(layout.root / "observations")
            shutil.rmtree(layout.root / "eval")
    shutil.rmtree(root)
    return _lines(sizes, {way: list(map(median, items)) for way, items in seconds.items()})


def _lines(sizes: list[int], medians: dict[str, list[float]]) -> tuple[list[Line], dict[str, Any]]:
    exponents = {way: growth_exponent(sizes, items) for way, items in medians.items()}
    lines = [
        Line(
            "e",
            f"growth of {way} with samples, exponent",
            exponents[way],
            at_most=LINEAR,
            note=", ".join(
                f"{size}: {item:.2f} s" for size, item in zip(sizes, items, strict=True)
            ),
        )
        for way, items in medians.items()
    ]
    fit = "slope of log(median seconds) over log(samples), least squares"
    return lines, {"sizes": sizes, "seconds": medians, "exponents": exponents, "fit": fit}


def _ways(bench: Bench, settings: Settings, layout: BenchLayout) -> dict[str, Callable[[], object]]:
    """Observation and evaluation of the one set of `settings`, in that order."""
    (name,) = settings.data.eval_sets

    def observe() -> None:
        trained = TrainedModel(settings, layout, bench.run, bench.seed)
        observe_shard(trained, name, 0, 1, inference=bench.inference)
        gather(trained, name)

    def evaluate() -> None:
        for experiment in settings.experiments:
            evaluate_experiment(settings, layout, experiment)

    return {"observation": observe, "evaluation": evaluate}


def _grown(bench: Bench, size: int) -> Settings:
    """Settings with one set of `size` questions and the experiments that read only actions."""
    settings = bench.settings
    chosen = settings.data.eval_sets[bench.first_set]
    names = [
        name
        for name, item in settings.experiments.items()
        if item.match is None
        and not uses_router_fit(settings, name)
        and not experiment_views(settings, name)
    ]
    value = settings.model_dump()
    stanzas = {name: value["experiments"][name] | {"datasets": None} for name in names}
    grown = chosen.model_dump() | {"max_samples": size, "passes": "all"}
    data = value["data"] | {"eval_sets": {"grown": grown}}
    return validate(value | {"data": data, "experiments": stanzas}, "bench growth")


def _repeated(samples: Iterable[Sample], count: int) -> Iterable[Sample]:
    """`count` questions: the same ones over and over, under ids of their own."""
    for number, sample in enumerate(islice(cycle(samples), count)):
        yield sample.model_copy(update={"id": f"{number}", "group": "", "pass_index": 0})
