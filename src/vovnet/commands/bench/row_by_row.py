"""Results rows from model runs of their own, as a command for each row would compute them.

The runs are batched by the same code as observation, and do no more than they must: they execute
only the views that the policy of the row chose, make no text pass where the policy reads none, and
reuse its cache where there is one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from vovnet.commands.bench.subject import Bench
from vovnet.config import PolicySettings
from vovnet.core.layout import ROUTER_FIT
from vovnet.core.records import Sample, signal_columns
from vovnet.core.stats import Floats
from vovnet.evaluation.outcome import Outcome
from vovnet.evaluation.replay import Questions, load_questions
from vovnet.evaluation.scoring.score import score_sample, scorer_of
from vovnet.inference.engine import Answer, TextPass, load_images
from vovnet.inference.live import LiveAnswer, live_outcome, reads_text_pass
from vovnet.inference.observe import batches
from vovnet.inference.timing import Timing
from vovnet.model.vlm import Prefix
from vovnet.policies import GroupKey, Router, chosen_views, decide, fit_router, kind_of
from vovnet.views import DEFAULT_ACTIONS as ACTIONS


def row_outcome(
    bench: Bench, policy: PolicySettings, questions: Questions, router: Router | None
) -> Outcome:
    """The outcome of a policy on a set, with model runs for this policy alone."""
    inference, samples, kind = bench.inference, questions.samples, kind_of(policy)
    chosen = batches(inference, samples)
    passes: list[TextPass] | None = None
    if reads_text_pass(policy):
        passes = [inference.text_pass([samples[row] for row in rows]) for rows in chosen]
        found = {row["id"]: row for text_pass in passes for row in text_pass.signals}
        signals = [found[sample.id] for sample in samples]
    else:
        signals = [inference.costs(sample) for sample in samples]
    shown: dict[str, list[Answer]] = {}
    if kind.reads_correctness:
        shown = {view: _answers(bench, samples, chosen, [view] * len(samples)) for view in ACTIONS}
    decision = decide(
        policy,
        pd.DataFrame(signals, columns=list(signal_columns(ACTIONS))),
        questions=questions.names,
        scores_NA_correct=_correctness(bench, questions, shown) if shown else None,
        groups=questions.groups(kind.router) if kind.router else None,
        router=router,
    )
    views = chosen_views(policy, decision.actions).tolist()
    if shown:
        answers = [shown[view][row] for row, view in enumerate(views)]
    else:
        answers = _answers(bench, samples, chosen, views, passes)
    untimed = Timing(inference.vlm.device)
    pairs = zip(decision.actions.tolist(), decision.fallback_triggered.tolist(), strict=True)
    decided = [
        LiveAnswer(action, fallback, answer, untimed)
        for (action, fallback), answer in zip(pairs, answers, strict=True)
    ]
    return live_outcome(questions, policy, decided)


def row_router(bench: Bench, key: GroupKey) -> Router:
    """A router that is fitted on model runs of its own."""
    questions = load_questions(bench.settings, bench.layout, ROUTER_FIT)
    samples = questions.samples
    chosen = batches(bench.inference, samples)
    shown = {view: _answers(bench, samples, chosen, [view] * len(samples)) for view in ACTIONS}
    tokens_AN = [[answer.vision_tokens for answer in shown[view]] for view in ACTIONS]
    scores_NA = _correctness(bench, questions, shown)
    return fit_router(questions.groups(key), scores_NA, np.array(tokens_AN, dtype=float).T)


def _answers(
    bench: Bench,
    samples: Sequence[Sample],
    chosen: Sequence[Sequence[int]],
    views: Sequence[str],
    passes: Sequence[TextPass] | None = None,
) -> list[Answer]:
    """The answer to each sample under its view; in each batch, those of one view together."""
    answers: dict[int, Answer] = {}
    for index, rows in enumerate(chosen):
        places: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            places[views[row]].append(place)
        for view, picked in places.items():
            group = [samples[rows[place]] for place in picked]
            images = [
                [] if view == "no" else load_images(bench.settings, bench.layout, sample)
                for sample in group
            ]
            text_pass = None if passes is None else _part(passes[index], picked)
            found = bench.inference.answer(group, view, images, text_pass)
            answers.update(zip((rows[place] for place in picked), found, strict=True))
    return [answers[row] for row in range(len(samples))]


@torch.inference_mode()
def _part(text_pass: TextPass, places: Sequence[int]) -> TextPass:
    """Some questions of a text pass, with their part of its cache."""
    if len(places) == len(text_pass.samples):
        return text_pass
    places_B = torch.tensor(places, device=text_pass.next_positions_B.device)
    prefix = text_pass.prefix.copy()
    prefix.cache.batch_select_indices(places_B)
    return TextPass(
        [text_pass.samples[place] for place in places],
        [text_pass.prompts[place] for place in places],
        [text_pass.signals[place] for place in places],
        text_pass.reading.take(places_B),
        text_pass.next_positions_B[places_B],
        Prefix(prefix.cache, prefix.mask_BT[places_B]),
    )


def _correctness(bench: Bench, questions: Questions, shown: dict[str, list[Answer]]) -> Floats:
    """Of each question, how right the answer under each action is, (N, A)."""
    return np.array(
        [
            [
                score_sample(
                    scorer_of(bench.settings, sample),
                    sample,
                    shown[view][row].text,
                    fuzzy=questions.fuzzy,
                ).value
                for view in ACTIONS
            ]
            for row, sample in enumerate(questions.samples)
        ]
    )
