"""Live evaluation: the policy runs sample by sample, as it would be deployed, with timings.

Decisions, predictions and costs are those of a replay of stored observations; latency and
memory are what only a live run can measure. The batch size is 1, warm-up is discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vovnet.config import (
    Experiment,
    PolicySettings,
    Settings,
    merge,
    policy_points,
    run_settings,
    validate,
)
from vovnet.config.experiments import experiment_seeds, experiment_sets
from vovnet.core.cost import expected_cost
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import sha256_file, sha256_json
from vovnet.core.layout import Layout
from vovnet.core.records import Sample, signal_columns
from vovnet.core.stats import Floats, bootstrap_counts
from vovnet.evaluation.match import fill_ratios, matched_path, read_matched
from vovnet.evaluation.outcome import Outcome, measured_columns, sample_rows, write_experiment
from vovnet.evaluation.replay import Questions, load_questions, load_routers, question_of
from vovnet.evaluation.scoring.score import score_sample
from vovnet.inference.engine import Answer, Inference, TextPass, load_images
from vovnet.inference.timing import Timing, paired_ratio, profile_columns, profile_facts
from vovnet.model.vovnet import device_name, load_trained, pick_device
from vovnet.pipeline.keys import step_key
from vovnet.pipeline.manifest import package_versions, source_digest
from vovnet.pipeline.trained_model import weights_file
from vovnet.policies import (
    Router,
    chosen_views,
    decide,
    experiment_views,
    group_of,
    kind_of,
    setting_columns,
)
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

WARM_UP = 3
"""Samples that are answered under every view before the clock counts."""

OnSample = Callable[[], None]


@dataclass(frozen=True)
class LiveAnswer:
    """One sample, decided and answered."""

    action: int
    fallback: bool
    answer: Answer
    timing: Timing


def reads_text_pass(policy: PolicySettings) -> bool:
    """Whether a policy needs the text pass to decide; one that does not need not pay for it."""
    return (
        policy.baseline_name is None
        or kind_of(policy).reads_threshold
        or _has_buckets(policy)
        or policy.fallback_mode is not None
    )


def _has_buckets(policy: PolicySettings) -> bool:
    """Whether a policy draws by the bucket of the text pass's entropy."""
    drawn = policy.baseline_name == "random_policy_matched"
    return drawn and policy.baseline_bucket_ratios is not None


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
        if _has_buckets(policy) and policy.baseline_bucket_thresholds is None:
            raise ConfigError(
                "policy.baseline_bucket_thresholds: a live run sees one question at a time and"
                " cannot take quantiles, expected thresholds in nats"
            )
        self.reads_text_pass = reads_text_pass(policy)

    def __call__(self, sample: Sample) -> LiveAnswer:
        """Read the question if the policy does, decide, look if decided so, and answer."""
        timing = Timing(self.inference.vlm.device)
        timing.start()
        text_pass = None
        if self.reads_text_pass:
            with timing.clock("text_pass"):
                text_pass = self.inference.text_pass([sample])
        signals = self._signals(sample, text_pass)
        with timing.clock("decision"):
            action, fallback = self._decide(sample, signals)
            (view,) = self._views(action)
        answer = self._look(sample, view, text_pass, timing)
        timing.stop()
        return LiveAnswer(action, fallback, answer, timing)

    def warm_up(self, samples: Sequence[Sample]) -> None:
        """Take every way once that the policy may take: nothing is prepared in timed answers."""
        for sample in samples:
            self(sample)
            text_pass = self.inference.text_pass([sample]) if self.reads_text_pass else None
            for view in self._views(*range(len(ACTIONS))):
                self._look(sample, view, text_pass, Timing(self.inference.vlm.device))

    def _views(self, *actions: int) -> list[str]:
        """What the policy shows for each action."""
        return [str(view) for view in chosen_views(self.policy, np.array(actions))]

    def _look(
        self, sample: Sample, view: str, text_pass: TextPass | None, timing: Timing
    ) -> Answer:
        """The one view that is executed."""
        images = []
        if view != "no":
            with timing.clock("image_loading"):
                images = load_images(self.inference.settings, self.layout, sample)
        (answer,) = self.inference.answer([sample], view, [images], text_pass, clock=timing.clock)
        return answer

    def _signals(self, sample: Sample, text_pass: TextPass | None) -> pd.DataFrame:
        """A row for `decide`; one without a text pass fails a policy that reads more than costs."""
        signals = text_pass.signals[0] if text_pass else self.inference.costs(sample)
        return pd.DataFrame([signals], columns=list(signal_columns(ACTIONS)))

    def _decide(self, sample: Sample, signals: pd.DataFrame) -> tuple[int, bool]:
        decision = decide(
            self.policy,
            signals,
            questions=[question_of(sample)],
            groups=[group_of(sample, self.group_key)] if self.group_key else None,
            router=self.router,
        )
        return int(decision.actions[0]), bool(decision.fallback_triggered[0])


def live_experiment(
    settings: Settings,
    layout: Layout,
    name: str,
    on_sample: Callable[[int, int], None] | None = None,
) -> None:
    """Run an experiment of mode live on every set, seed and sweep point; write its files."""
    experiment = _live_stanza(settings, name)
    made_of = step_key(settings, "live", experiment_views(settings, name), experiment=name)
    config_hash = sha256_json(settings.model_dump(mode="json"))
    settings = run_settings(settings, experiment.run)
    points = policy_points(settings, name)
    matched = read_matched(layout, name) if experiment.match else None
    sets = [
        load_questions(settings, layout, dataset, experiment.max_samples)
        for dataset in experiment_sets(settings, name)
    ]
    seeds = experiment_seeds(settings, name)
    tick = _ticker(on_sample, len(seeds) * len(points) * sum(len(item.samples) for item in sets))
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
                answers, compared = _answers(live, questions, experiment, counts_BU, tick)
                outcome = live_outcome(questions, policy, answers)
                (measured,) = measured_columns([outcome], counts_BU)
                timings = [item.timing for item in answers]
                keys = {"experiment": name, "dataset": questions.name, "run": experiment.run}
                rows.append(
                    keys
                    | {"seed": seed, "scoring": questions.scoring}
                    | setting_columns(policy, matched=matched is not None)
                    | measured
                    | profile_columns(timings)
                )
                tables.append(sample_rows(outcome, questions.name, seed, point))
                facts = {"dataset": questions.name, "seed": seed, "point": point}
                facts["text_pass"] = live.reads_text_pass
                generated = sum(item.answer.generated_tokens for item in answers)
                profiles.append(facts | profile_facts(timings, generated) | compared)
    summary = {
        "experiment": name,
        "key": made_of,
        "run": experiment.run,
        "seeds": seeds,
        "mode": "live",
        "cache_reuse": settings.eval.cache_reuse,
        "warm_up": WARM_UP,
        "profile": profiles,
        "checkpoints": checkpoints,
        "datasets": {
            questions.name: sha256_file(layout.samples(chosen.dataset, chosen.split))
            for questions in sets
            for chosen in [settings.data.eval_sets[questions.name]]
        },
        "config_hash": config_hash,
        "source_digest": source_digest(),
        "versions": package_versions(),
        "device": device_name(),
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


# ---- with and without cache reuse ------------------------------------------------------


def answer_both_ways(
    live: LivePolicy, samples: Sequence[Sample], tick: OnSample
) -> tuple[list[LiveAnswer], list[LiveAnswer]]:
    """Answers with cache reuse and without, of the same model.

    The two take turns in going first, so that neither profits from a warm file or a quiet
    moment.
    """
    settings = live.inference.settings
    ways = []
    for reuse in (True, False):
        own = merge(settings.model_dump(), {"eval": {"cache_reuse": reuse}})
        inference = Inference(live.inference.model, validate(own, "eval.cache_reuse"))
        ways.append(LivePolicy(inference, live.layout, live.policy, live.router))
        ways[-1].warm_up(samples[:WARM_UP])
    answers: tuple[list[LiveAnswer], list[LiveAnswer]] = ([], [])
    for row, sample in enumerate(samples):
        for way in (row % 2, 1 - row % 2):
            answers[way].append(ways[way](sample))
        tick()
    return answers


def compare_ways(
    questions: Questions,
    with_reuse: Sequence[LiveAnswer],
    without: Sequence[LiveAnswer],
    counts_BU: Floats,
) -> dict[str, Any]:
    """How many answers differ in a token, and the paired ratio of latencies, also per action."""
    rows = list(zip(questions.samples, with_reuse, without, strict=True))
    different = [sample.id for sample, a, b in rows if a.answer.token_ids != b.answer.token_ids]
    facts: dict[str, Any] = {"num_different": len(different), "different": different[:10]}
    timings = [[item.timing for item in answers] for answers in (with_reuse, without)]
    facts |= paired_ratio(timings[0], timings[1], questions.units, counts_BU)
    facts["without"] = profile_columns(timings[1])
    actions_N = np.array([item.action for item in with_reuse])
    logs_N = np.array([np.log(a.latency_ms / b.latency_ms) for a, b in zip(*timings, strict=True)])
    facts["latency_ratio_by_action"] = {
        action: float(np.exp(logs_N[actions_N == index].mean()))
        for index, action in enumerate(ACTIONS)
        if (actions_N == index).any()
    }
    return facts


def _answers(
    live: LivePolicy,
    questions: Questions,
    experiment: Experiment,
    counts_BU: Floats,
    tick: OnSample,
) -> tuple[list[LiveAnswer], dict[str, Any]]:
    """The answers of an experiment, and the comparison of cache reuse where it asks for one."""
    if not experiment.compare_cache_reuse:
        live.warm_up(questions.samples[:WARM_UP])
        answers = []
        for sample in questions.samples:
            answers.append(live(sample))
            tick()
        return answers, {}
    answers, without = answer_both_ways(live, questions.samples, tick)
    facts = compare_ways(questions, answers, without, counts_BU)
    exact = live.inference.settings.model.dtype == "float32" and pick_device().type == "cpu"
    if exact and facts["num_different"]:
        raise DataError(
            f"sample {facts['different'][0]!r} of set {questions.name!r}: cache reuse changes the"
            " generated tokens (float32 on the CPU must give the same)"
        )
    return answers, {"cache_reuse_comparison": facts}


def _live_stanza(settings: Settings, name: str) -> Experiment:
    experiment = settings.experiments.get(name)
    if experiment is None or experiment.mode != "live":
        known = [key for key, item in settings.experiments.items() if item.mode == "live"]
        raise ConfigError(
            f"experiments: no live experiment named {name!r}, expected one of {known}"
        )
    return experiment


def _ticker(on_sample: Callable[[int, int], None] | None, total: int) -> OnSample:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if on_sample is not None:
            on_sample(done, total)

    return tick
