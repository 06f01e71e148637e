"""The questions for a browser: what each view answers, and what decides between the views.

Everything is of one experiment that follows `lambda_cost`: VoVNet, or else the first head that was
fitted afterwards. Its action at any lambda follows from a score and a cost for each action.
Shapes: N rows, A actions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.config import PolicySettings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.arrays import Floats, unit_codes
from vovnet.core.cost import allowed_actions
from vovnet.core.records import Sample
from vovnet.data.price import priced
from vovnet.data.sets import image_paths, load_set
from vovnet.evaluation.columns import NO_VIEW
from vovnet.evaluation.joined import accepted_answers
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.evaluation.replay import Observed, expectations, load_observed, load_routers
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies import kind_of
from vovnet.policies.experiments import head_experiments, resolve_experiment
from vovnet.report.inputs import Inputs, of
from vovnet.report.page.thumbnails import thumbnails
from vovnet.report.render import label

Facts = dict[str, Any]

MAX_CHARS = 2000
"""Of a question or an answer; what is longer is cut."""

DIGITS = 7
"""Significant digits of scores and FLOPs."""


@dataclass(frozen=True)
class Browsed:
    """The experiment whose questions are shown; without scores nothing can be decided."""

    experiment: ResolvedExperiment
    has_scores: bool

    @property
    def policy(self) -> PolicySettings:
        return self.experiment.points[0]


def browsed_questions(inputs: Inputs) -> tuple[Facts, list[Path]]:
    """What the page shows of the questions, and the manifests of what was read for it."""
    browsed = _browsed(inputs)
    experiment, kind = browsed.experiment, kind_of(browsed.policy)
    parts = [_part(inputs, browsed, dataset) for dataset in experiment.sets]
    rows = _joined([part.rows for part in parts])
    rows["set"] = np.repeat(range(len(parts)), [len(part.rows["id"]) for part in parts]).tolist()
    rows["unit"] = unit_codes(rows["unit"]).tolist()
    by_seed = {seed: _joined([part.by_seed[seed] for part in parts]) for seed in experiment.seeds}
    small = thumbnails({digest: path for part in parts for digest, path in part.pictures.items()})
    numbers = {digest: number for number, digest in enumerate(small.urls)}
    rows["images"] = [[numbers[name] for name in row if name in numbers] for row in rows["images"]]
    sets = zip(experiment.sets, (part.price for part in parts), strict=True)
    facts = {
        "title": experiment.stanza.title,
        "actions": [label(action) for action in experiment.settings.actions],
        "allowed": _allowed(browsed),
        "cost_scale": browsed.policy.cost_scale,
        "score_of": "correctness" if kind.router else "nats",
        "decides": browsed.has_scores,
        "sets": [{"name": name, "price": price} for name, price in sets],
        "rows": rows,
        "seeds": [{"seed": seed} | told for seed, told in by_seed.items()],
        "images": list(small.urls.values()),
        "missing_images": small.missing,
        "left_out_images": small.left_out,
    }
    return facts, [path for part in parts for path in part.read]


@dataclass(frozen=True)
class Part:
    """The questions of a set: columns about each row, and what the model of each seed did on it.

    `price` is what a lambda of 1 is per unit of cost; `pictures` are files by their hash.
    """

    rows: dict[str, list[Any]]
    by_seed: dict[int, dict[str, list[Any]]]
    price: float
    pictures: dict[str, Path]
    read: list[Path]


def _part(inputs: Inputs, browsed: Browsed, dataset: str) -> Part:
    experiment, layout = browsed.experiment, inputs.layout
    limit = experiment.stanza.max_samples
    questions = load_questions(experiment.settings, layout, dataset, limit)
    asked = [_asked(sample) for sample in questions.samples]
    rows = {name: [facts[name] for facts in asked] for name in asked[0]}
    by_seed, read = {}, []
    for seed in experiment.seeds:
        trained = TrainedModel(experiment.given, layout, experiment.run, seed)
        observed = load_observed(trained, questions, policies=[browsed.policy])
        told = _told(browsed, trained, questions, observed)
        by_seed[seed] = told | {"stratum": _strata(inputs, questions, seed)}
        rows["tokens"] = _signals(observed, "tokens").astype(np.int64).tolist()
        read.append(trained.observation_manifest(dataset, "actions"))
    rows["unit"] = [f"{dataset}/{name}" for name in questions.names]
    pictures = {
        image.sha256: path
        for sample in questions.samples
        for image, path in zip(
            sample.images, image_paths(inputs.settings, layout, sample), strict=True
        )
    }
    return Part(rows, by_seed, _price(experiment, inputs, dataset), pictures, read)


def _joined(tables: Sequence[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Tables of the same columns, one below the other."""
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}


def _browsed(inputs: Inputs) -> Browsed:
    """VoVNet where it is part of the report, else a head, else anything that was observed."""
    settings, shown = inputs.settings, set(inputs.points["experiment"])
    mains = filter(None, map(inputs.main, inputs.datasets()))
    heads = (name for name in head_experiments(settings) if name in shown)
    for name in (*mains, *heads):
        experiment = resolve_experiment(settings, name)
        if experiment.points[0].fallback_mode is None:
            return Browsed(experiment, has_scores=True)
    replayed = (name for name in shown if settings.experiments[name].mode == "replay")
    name = min(replayed, key=list(settings.experiments).index)
    return Browsed(resolve_experiment(settings, name), has_scores=False)


def _asked(sample: Sample) -> Facts:
    question = f"{sample.hint}\n{sample.question}" if sample.hint else sample.question
    return {
        "id": sample.id,
        "question": _cut(question),
        "choices": [f"{letter}. {_cut(text)}" for letter, text in sample.choices.items()],
        "gold": [_cut(text) for text in accepted_answers(sample)],
        "category": sample.category,
        "images": [image.sha256 for image in sample.images],
    }


def _told(
    browsed: Browsed, trained: TrainedModel, questions: Questions, observed: Observed
) -> dict[str, list[Any]]:
    """Answers, scores and costs of each action, (N, A) each, and the FLOPs of the text pass."""
    kind, actions = kind_of(browsed.policy), observed.actions
    reads_text = kind.reads_text_pass(browsed.policy)
    cost = "flops" if reads_text else "flops_alone"
    flops_NA = np.stack([observed.views[action][cost] for action in actions], axis=1)
    text_N = observed.signals["flops_text_pass"].to_numpy(np.float64) * reads_text
    answers = (observed.views[action]["text"].map(_cut) for action in actions)
    return {
        "answers": [list(row) for row in zip(*answers, strict=True)],
        "right": observed.scores.tolist(),
        "scores": _rounded(_scores(browsed, trained, questions, observed)),
        "flops": _rounded(flops_NA),
        "text_flops": _rounded(text_N),
    }


def _scores(
    browsed: Browsed, trained: TrainedModel, questions: Questions, observed: Observed
) -> Floats:
    """What each action is worth before its cost, (N, A); NaN where nothing tells."""
    policy = browsed.policy
    if not browsed.has_scores:
        return np.full_like(observed.scores, np.nan)
    if kind_of(policy).router is None:
        return _signals(observed, "score")
    routers = load_routers(trained, [policy])
    (expected,) = expectations(routers, [policy], questions, observed).values()
    return expected.correctness


def _signals(observed: Observed, name: str) -> Floats:
    """A signal of each action, (N, A)."""
    columns = [f"{name}_{action}" for action in observed.actions]
    return observed.signals[columns].to_numpy(np.float64)


def _allowed(browsed: Browsed) -> list[int]:
    """The actions that the experiment may choose."""
    actions = browsed.experiment.settings.actions
    if browsed.policy.baseline_name is not None or not browsed.has_scores:
        return list(range(len(actions)))
    return allowed_actions(actions, browsed.policy.action_space)


def _price(experiment: ResolvedExperiment, inputs: Inputs, dataset: str) -> float:
    """What a lambda of 1 is per unit of cost on a set."""
    policy, settings = experiment.points[0], experiment.settings
    if policy.lambda_unit == "cost":
        return 1.0
    samples = load_set(settings, inputs.layout, dataset)
    one = policy.model_copy(update={"lambda_cost": 1.0})
    return priced(one, samples, settings.vision_budget).lambda_cost


def _strata(inputs: Inputs, questions: Questions, seed: int) -> list[str]:
    """What each question needs, in words; "" where nothing tells."""
    kinds = of(inputs.kinds, dataset=questions.name, seed=seed)
    told = {name: label(name) for name in inputs.actions} | {NO_VIEW: "no view"}
    words = dict(zip(kinds["question"], kinds["stratum"].map(told), strict=True))
    return [words.get(name, "") for name in questions.names]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]} ..."


def _rounded(values: Floats) -> Any:
    """The numbers with fewer digits, as nested lists."""
    rounded = [float(f"{value:.{DIGITS}g}") for value in values.ravel()]
    return np.reshape(rounded, values.shape).tolist()
