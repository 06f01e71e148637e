"""Live runs: a policy decides and answers sample by sample, as it would be deployed, with timings.

Decisions, answers and costs are those of a replay of stored observations; latency and memory are
what only a live run can measure. The batch size is 1, warm-up is discarded. What was answered is
stored here, and scored by `vovnet evaluate`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from vovnet.config import PolicySettings, Settings, merge, validate
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import sha256_file, write_json
from vovnet.core.layout import Layout
from vovnet.core.records import Sample, signal_columns, write_table
from vovnet.data.images import load_images
from vovnet.evaluation.live_columns import LIVE_COLUMNS, PARTS
from vovnet.evaluation.matched import points_on
from vovnet.evaluation.questions import Questions, load_questions, question_of
from vovnet.evaluation.replay import load_routers, router_key
from vovnet.inference.engine import Answer, Inference, Signals, TextPass
from vovnet.machine.alone import alone
from vovnet.model.architectures import IMAGE_MARKS
from vovnet.model.loading import weights_digest
from vovnet.model.vovnet import device_name, load_trained, pick_device
from vovnet.pipeline.keys import step_key
from vovnet.pipeline.manifest import config_hash, package_versions, source_digest
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies import kind_of
from vovnet.policies.base import Confidence, Ints, Known, Router
from vovnet.policies.decide import Decision, decide, shown_views
from vovnet.policies.experiments import check_live, experiment_views, resolve_experiment
from vovnet.policies.router import known_of

WARM_UP = 3
"""Samples that are answered under every view before the clock counts."""

ImageLoader = Callable[[Sample], list[Image.Image]]
OnSample = Callable[[], None]
Row = dict[str, Any]


@dataclass
class Timing:
    """Milliseconds per part of one sample, and the device's peak memory.

    On the CPU memory stays None: a process tells its highest peak so far, not a sample's.
    """

    device: torch.device
    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    memory_mb: float | None = None

    @property
    def latency_ms(self) -> float:
        return sum(self.parts.values())

    def __post_init__(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)

    @contextmanager
    def clock(self, part: str) -> Iterator[None]:
        """Time what is done inside, until the device has finished it."""
        began = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self.memory_mb = torch.cuda.max_memory_allocated(self.device) / 2**20
        self.parts[part] += (time.perf_counter() - began) * 1000


@dataclass(frozen=True)
class LiveAnswer:
    """One sample, decided and answered; `answers` are those of the executed views, in order.

    `signals` are what the policy was told: of the text pass, or the costs of the actions alone.
    """

    signals: Signals
    decision: Decision
    answers: list[Answer]
    flops: float
    timing: Timing

    @property
    def answer(self) -> Answer:
        """The one that counts, which is the last."""
        return self.answers[-1]

    @property
    def row(self) -> Row:
        """What live.parquet tells about it."""
        return {
            "action": self.decision.actions[0],
            "view": self.decision.views[0],
            "executed": self.decision.executed[0],
            "fallback_triggered": self.decision.fallback_triggered[0],
            "text": self.answer.text,
            "token_ids": list(self.answer.token_ids),
            "vision_tokens": sum(answer.vision_tokens for answer in self.answers),
            "flops": self.flops,
            "generated_tokens": sum(answer.generated_tokens for answer in self.answers),
            **{f"{part}_ms": value for part, value in self.timing.parts.items()},
            "memory_mb": self.timing.memory_mb,
        }


@dataclass(eq=False)
class LivePolicy:
    """A policy with the model that it steers.

    `load` finds a sample's images; without it they are those of a prepared dataset.
    """

    inference: Inference
    layout: Layout
    policy: PolicySettings
    router: Router | None = None
    load: ImageLoader | None = None

    def __post_init__(self) -> None:
        check_live(self.policy)
        self.kind = kind_of(self.policy)
        self.reads_text_pass = self.kind.reads_text_pass(self.policy)

    def __call__(self, sample: Sample) -> LiveAnswer:
        """Read the question if the policy does, decide, execute views as decided, and answer."""
        timing = Timing(self.inference.vlm.device)
        text_pass = None
        if self.reads_text_pass:
            with timing.clock("text_pass"):
                text_pass = self.inference.text_pass([sample])
        settings, answers = self.inference.settings, list[Answer]()

        def look(rows: Ints, views: NDArray[Any]) -> Confidence:
            looked = [self._look(sample, view, text_pass, timing) for view in views]
            answers.extend(looked)
            return Confidence.of(looked)

        expected = None
        if self.router is not None:
            with timing.clock("decision"):
                expected = self.router.expected(self._known(sample, text_pass))
        # Without a text pass they fail a policy that reads more than costs.
        signals = text_pass.signals[0] if text_pass else self.inference.costs(sample)
        decision = decide(
            self.policy,
            settings.actions,
            pd.DataFrame([signals], columns=list(signal_columns(settings.actions))),
            look,
            questions=[question_of(sample)],
            expected=expected,
            clock=timing.clock,
        )
        reuses = text_pass is not None and settings.eval.cache_reuse
        flops = sum(answer.executed_flops(after_text=reuses) for answer in answers)
        flops += float(text_pass.signals[0]["flops_text_pass"]) if text_pass else 0
        return LiveAnswer(signals, decision, answers, flops, timing)

    def _known(self, sample: Sample, text_pass: TextPass | None) -> Known:
        """What the router knows of a sample: its state as it would be stored, or its words."""
        assert self.kind.router is not None
        if self.kind.router.knows == "state":
            assert text_pass is not None
            return text_pass.states.astype(np.float64)
        return known_of([sample], self.kind.router.knows)

    def warm_up(self, samples: Sequence[Sample]) -> None:
        """Take every way once that the policy may take: nothing is prepared in timed answers.

        These are the first samples, and on a GPU one for each shape that is captured.
        """
        for sample in self._first_of_each_shape(samples):
            self(sample)
            text_pass = self.inference.text_pass([sample]) if self.reads_text_pass else None
            for view in shown_views(self.policy, self.inference.settings.actions):
                self._look(sample, view, text_pass, Timing(self.inference.vlm.device))

    def _first_of_each_shape(self, samples: Sequence[Sample]) -> list[Sample]:
        inference, chosen = self.inference, list(samples[:WARM_UP])
        known: set[tuple[str, int]] = set()
        views = shown_views(self.policy, inference.settings.actions)
        for sample, prompt in zip(samples, inference.prompts(samples), strict=True):
            length, marks = len(prompt.text_ids), IMAGE_MARKS * len(sample.images)
            prompts = [length] + [
                length + marks + tokens
                for tokens in (inference.view_tokens(sample, view) for view in views)
            ]
            totals = [count + inference.settings.eval.max_new_tokens for count in prompts]
            shapes = inference.vlm.passes.captured_shapes(length, totals)
            if not shapes <= known:
                known |= shapes
                chosen.append(sample)
        return chosen

    def _images(self, sample: Sample) -> Sequence[Image.Image]:
        if self.load is not None:
            return self.load(sample)
        return load_images(self.inference.settings, self.layout, sample)

    def _look(
        self, sample: Sample, view: str, text_pass: TextPass | None, timing: Timing
    ) -> Answer:
        """Execute a view."""
        images: Sequence[Image.Image] = []
        if view != "no":
            with timing.clock("image_loading"):
                images = self._images(sample)
        (answer,) = self.inference.answer([sample], view, [images], text_pass, clock=timing.clock)
        return answer


def live_experiment(
    settings: Settings,
    layout: Layout,
    name: str,
    on_sample: Callable[[int, int], None] | None = None,
) -> None:
    """Run an experiment of mode live on every set, seed and sweep point; write what it answered.

    Beside others at work on the machine it answers as well, and live.json says so.
    """
    with alone() as is_alone:
        _live_experiment(settings, layout, name, on_sample, is_alone)


def _live_experiment(
    settings: Settings,
    layout: Layout,
    name: str,
    on_sample: Callable[[int, int], None] | None,
    is_alone: bool,
) -> None:
    stanza = settings.experiments.get(name)
    if stanza is None or stanza.mode != "live":
        known = [key for key, item in settings.experiments.items() if item.mode == "live"]
        raise ConfigError(
            f"experiments: no live experiment named {name!r}, expected one of {known}"
        )
    experiment = resolve_experiment(settings, name)
    resolved, compares = experiment.settings, experiment.stanza.compare_cache_reuse
    sets = [
        load_questions(resolved, layout, dataset, experiment.stanza.max_samples)
        for dataset in experiment.sets
    ]
    num_samples = sum(len(questions.samples) for questions in sets)
    total = len(experiment.seeds) * len(experiment.points) * num_samples
    done = count(1)

    def tick() -> None:
        if on_sample is not None:
            on_sample(next(done), total)

    rows: list[Row] = []
    checkpoints: list[Row] = []
    for seed in experiment.seeds:
        trained = TrainedModel(settings, layout, experiment.run, seed)
        model = load_trained(
            resolved, trained.checkpoint, pick_device(), with_head=trained.has_head
        )
        inference = Inference(model, resolved)
        checkpoints.append({"seed": seed} | _weights_facts(trained))
        routers = load_routers(trained, experiment.points)
        for questions in sets:
            for point, policy in enumerate(points_on(experiment, layout, questions.name, seed)):
                live = LivePolicy(inference, layout, policy, routers.get(router_key(policy)))
                keys = {"dataset": questions.name, "seed": seed, "point": point}
                ways = _answers(live, questions, tick, compares=compares)
                rows += [
                    keys | {"cache_reuse": reused, "id": sample.id} | answer.row
                    for reused, answers in ways.items()
                    for sample, answer in zip(questions.samples, answers, strict=True)
                ]
    table = layout.live_table(name)
    write_table(table, pd.DataFrame(rows), LIVE_COLUMNS)
    facts = {
        "experiment": name,
        "key": step_key(settings, "live", experiment_views(settings, name), experiment=name),
        "mode": "live",
        "cache_reuse": compares or resolved.eval.cache_reuse,
        "warm_up": WARM_UP,
        "checkpoints": checkpoints,
        "datasets": {
            questions.name: sha256_file(layout.samples(chosen.dataset, chosen.split))
            for questions in sets
            for chosen in [resolved.data.eval_sets[questions.name]]
        },
        "config_hash": config_hash(settings),
        "source_digest": source_digest(),
        "versions": package_versions(),
        "device": device_name(),
        "alone": is_alone,
        "outputs": {table.name: {"path": str(table), "sha256": sha256_file(table)}},
    }
    write_json(layout.live_facts(name), facts)


def _weights_facts(trained: TrainedModel) -> Row:
    """Which weights answered."""
    digest = weights_digest(trained)
    if trained.is_base:
        return {"base_model": digest}
    return {"path": str(trained.weights), "sha256": digest}


def answer_both_ways(
    live: LivePolicy, samples: Sequence[Sample], tick: OnSample
) -> tuple[list[LiveAnswer], list[LiveAnswer]]:
    """Answers with cache reuse and without, of the same model.

    The two take turns in going first, so that neither profits from a warm file or a quiet moment.
    """
    settings = live.inference.settings
    ways = []
    for reuse in (True, False):
        own = merge(settings.model_dump(), {"eval": {"cache_reuse": reuse}})
        inference = Inference(live.inference.model, validate(own, "eval.cache_reuse"))
        ways.append(LivePolicy(inference, live.layout, live.policy, live.router))
        ways[-1].warm_up(samples)
    answers: tuple[list[LiveAnswer], list[LiveAnswer]] = ([], [])
    for row, sample in enumerate(samples):
        for way in (row % 2, 1 - row % 2):
            answers[way].append(ways[way](sample))
        tick()
    return answers


def _answers(
    live: LivePolicy, questions: Questions, tick: OnSample, *, compares: bool
) -> dict[bool, list[LiveAnswer]]:
    """The answers by whether the cache was reused: both ways where they are to be compared."""
    if not compares:
        live.warm_up(questions.samples)
        answers = []
        for sample in questions.samples:
            answers.append(live(sample))
            tick()
        return {live.inference.settings.eval.cache_reuse: answers}
    first, second = answer_both_ways(live, questions.samples, tick)
    exact = live.inference.settings.model.dtype == "float32" and pick_device().type == "cpu"
    for sample, one, other in zip(questions.samples, first, second, strict=True):
        if exact and one.answer.token_ids != other.answer.token_ids:
            raise DataError(
                f"sample {sample.id!r} of set {questions.name!r}: cache reuse changes the"
                " generated tokens (float32 on the CPU must give the same)"
            )
    return {True: first, False: second}
