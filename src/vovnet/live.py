"""Live evaluation: the policy runs sample by sample, as it would be deployed, with timings.

Decisions, predictions and costs are those of a replay of stored observations; latency and
memory are what only a live run can measure. Times are wall clock in milliseconds, taken after
the device has finished, at batch size 1, warm-up discarded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from vovnet.closure import closure_digest
from vovnet.config import PolicySettings, Settings, policy_points, run_settings
from vovnet.cost import expected_cost
from vovnet.errors import ConfigError
from vovnet.files import sha256_file
from vovnet.inference import Answer, Inference, TextPass, load_images
from vovnet.layout import Layout
from vovnet.matching import fill_ratios, matched_path, read_matched
from vovnet.model import load_trained, pick_device, weights_file
from vovnet.policies import (
    Router,
    chosen_views,
    decide,
    group_of,
    kind_of,
    setting_columns,
)
from vovnet.provenance import package_versions, source_digest
from vovnet.records import ACTIONS, SIGNAL_COLUMNS, Sample
from vovnet.replay import Questions, load_questions, load_routers
from vovnet.results import Outcome, measured_columns, sample_rows, write_experiment
from vovnet.scoring import score_sample
from vovnet.stats import bootstrap_counts
from vovnet.steps import experiment_seeds, experiment_sets, step_digest

WARM_UP = 3
"""Samples that are answered once before the clock counts."""

PARTS = ("text_pass", "image_loading", "answer")


@dataclass
class Timing:
    """Milliseconds per part of one sample, and the device's peak memory (None on the CPU)."""

    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    memory_mb: float | None = None

    @property
    def latency_ms(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True)
class LiveAnswer:
    """One sample, decided and answered."""

    action: int
    fallback: bool
    answer: Answer
    timing: Timing


class LivePolicy:
    """A policy with the model it steers."""

    def __init__(
        self,
        inference: Inference,
        layout: Layout,
        policy: PolicySettings,
        router: Router | None = None,
    ) -> None:
        kind = kind_of(policy)
        if kind.reads_correctness:
            raise ConfigError(
                f"policy.baseline_name: {policy.baseline_name!r} reads the answers, it cannot run"
                " live"
            )
        self.inference, self.layout, self.policy = inference, layout, policy
        self.router, self.group_key = router, kind.router
        buckets = policy.baseline_name == "random_policy_matched" and policy.baseline_bucket_ratios
        if buckets and policy.baseline_bucket_thresholds is None:
            raise ConfigError(
                "policy.baseline_bucket_thresholds: a live run sees one question at a time and"
                " cannot take quantiles, expected thresholds in nats"
            )
        self.reads_text_pass = (
            policy.baseline_name is None
            or kind.reads_threshold
            or bool(buckets)
            or policy.fallback_mode is not None
        )

    def __call__(self, sample: Sample) -> LiveAnswer:
        """Read the question, decide, look if decided so, and answer."""
        timing = Timing()
        device = self.inference.vlm.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        text_pass = None
        if self.reads_text_pass:
            with _clock(timing, "text_pass", device):
                text_pass = self.inference.text_pass([sample])
        action, fallback = self._decide(sample, text_pass)
        (view,) = chosen_views(self.policy, np.array([action]))
        with _clock(timing, "image_loading", device):
            images = load_images(self.inference.settings, self.layout, sample) if action else []
        with _clock(timing, "answer", device):
            (answer,) = self.inference.answer([sample], view, [images], text_pass)
        if device.type == "cuda":
            timing.memory_mb = torch.cuda.max_memory_allocated(device) / 2**20
        return LiveAnswer(action, fallback, answer, timing)

    def _decide(self, sample: Sample, text_pass: TextPass | None) -> tuple[int, bool]:
        signals = text_pass.signals[0] if text_pass else self._costs(sample)
        decision = decide(
            self.policy,
            pd.DataFrame([signals], columns=list(SIGNAL_COLUMNS)),
            groups=[group_of(sample, self.group_key)] if self.group_key else None,
            router=self.router,
        )
        return int(decision.actions[0]), bool(decision.fallback_triggered[0])

    def _costs(self, sample: Sample) -> dict[str, Any]:
        """What is known without a text pass; a policy that reads more than this is an error."""
        tokens = {f"tokens_{view}": self.inference.view_tokens(sample, view) for view in ACTIONS}
        return {"id": sample.id} | tokens


def live_experiment(
    settings: Settings,
    layout: Layout,
    name: str,
    on_sample: Callable[[int, int], None] | None = None,
) -> None:
    """Run an experiment of mode live on every set, seed and sweep point; write its files."""
    experiment = settings.experiments.get(name)
    if experiment is None or experiment.mode != "live":
        known = [key for key, item in settings.experiments.items() if item.mode == "live"]
        raise ConfigError(
            f"experiments: no live experiment named {name!r}, expected one of {known}"
        )
    digest = step_digest(settings, "live", experiment=name)
    settings = run_settings(settings, experiment.run)
    points = policy_points(settings, name)
    matched = read_matched(layout, name) if experiment.match else None
    sets = [
        load_questions(settings, layout, dataset, experiment.max_samples)
        for dataset in experiment_sets(settings, name)
    ]
    seeds = experiment_seeds(settings, name)
    total = len(seeds) * len(points) * sum(len(questions.samples) for questions in sets)
    done = 0
    rows: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    profiles: list[dict[str, Any]] = []
    checkpoints: list[dict[str, Any]] = []
    for seed in seeds:
        checkpoint = layout.stage(experiment.run, seed, 2)
        inference = Inference(load_trained(settings, checkpoint, pick_device()), settings)
        weights = weights_file(checkpoint)
        checkpoints.append({"seed": seed, "path": str(weights), "sha256": sha256_file(weights)})
        routers = load_routers(settings, layout, experiment.run, seed, points)
        for questions in sets:
            policies = points
            if matched is not None:
                path = matched_path(layout, name)
                policies = fill_ratios(points, matched, path, questions.name, seed)
            counts_BU = bootstrap_counts(
                questions.num_units, settings.eval.bootstrap_samples, settings.eval.seed
            )
            for point, policy in enumerate(policies):
                key = kind_of(policy).router
                live = LivePolicy(inference, layout, policy, routers[key] if key else None)
                for sample in questions.samples[:WARM_UP]:
                    live(sample)
                answers = []
                for sample in questions.samples:
                    answers.append(live(sample))
                    done += 1
                    if on_sample is not None:
                        on_sample(done, total)
                outcome = live_outcome(questions, policy, answers)
                keys = {"experiment": name, "dataset": questions.name, "run": experiment.run}
                (measured,) = measured_columns([outcome], counts_BU)
                profile = profile_of(answers)
                rows.append(
                    keys
                    | {"seed": seed, "scoring": questions.scoring}
                    | setting_columns(policy, matched=matched is not None)
                    | measured
                    | profile["columns"]
                )
                tables.append(sample_rows(outcome, questions.name, seed, point))
                profiles.append(
                    {"dataset": questions.name, "seed": seed, "point": point} | profile["facts"]
                )
    summary = {
        "experiment": name,
        "key": {"config": digest, "code": closure_digest(__name__)},
        "mode": "live",
        "cache_reuse": settings.eval.cache_reuse,
        "profile": profiles,
        "checkpoints": checkpoints,
        "datasets": {
            questions.name: sha256_file(layout.samples(chosen.dataset, chosen.split))
            for questions in sets
            for chosen in [settings.data.eval_sets[questions.name]]
        },
        "source_digest": source_digest(),
        "versions": package_versions(),
        "device": str(pick_device()),
    }
    write_experiment(layout.eval(name), experiment, rows, tables, summary)


def live_outcome(
    questions: Questions, policy: PolicySettings, answers: Sequence[LiveAnswer]
) -> Outcome:
    """The answers scored, in the form that a replay has."""
    scores = [
        score_sample(scorer, sample, item.answer.text, fuzzy=questions.fuzzy)
        for sample, scorer, item in zip(questions.samples, questions.scorers, answers, strict=True)
    ]
    actions_N = np.array([item.action for item in answers], dtype=np.int64)
    tokens_N = np.array([item.answer.vision_tokens for item in answers], dtype=np.int64)
    fallback_N = np.array([item.fallback for item in answers], dtype=bool)
    return Outcome(
        ids=[sample.id for sample in questions.samples],
        units=questions.units,
        actions=actions_N,
        views=chosen_views(policy, actions_N),
        texts=np.array([item.answer.text for item in answers], dtype=object),
        scores=np.array([score.value for score in scores]),
        parse_fallback=np.array([score.parse_fallback for score in scores]),
        costs=expected_cost(tokens_N, policy.cost_scale),
        vision_tokens=tokens_N,
        fallback=None if policy.fallback_mode is None else fallback_N,
    )


def profile_of(answers: Sequence[LiveAnswer]) -> dict[str, dict[str, Any]]:
    """`columns` of results.csv, and `facts` for summary.json."""
    latency_N = np.array([item.timing.latency_ms for item in answers])
    generated = sum(item.answer.generated_tokens for item in answers)
    columns = {
        "latency_ms": float(latency_N.mean()),
        "latency_p50_ms": float(np.percentile(latency_N, 50)),
        "latency_p90_ms": float(np.percentile(latency_N, 90)),
    }
    memory = [item.timing.memory_mb for item in answers if item.timing.memory_mb is not None]
    if memory:
        columns["mem_peak_p50_mb"] = float(np.percentile(memory, 50))
        columns["mem_peak_p90_mb"] = float(np.percentile(memory, 90))
    total_ms = float(latency_N.sum())
    shares = {part: sum(item.timing.parts[part] for item in answers) / total_ms for part in PARTS}
    facts = {
        "num_samples": len(answers),
        "warm_up": WARM_UP,
        "tokens_s": generated / (total_ms / 1000),
        "time_shares": shares,
        **columns,
    }
    return {"columns": columns, "facts": facts}


@contextmanager
def _clock(timing: Timing, part: str, device: torch.device) -> Iterator[None]:
    began = time.perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    timing.parts[part] += (time.perf_counter() - began) * 1000
