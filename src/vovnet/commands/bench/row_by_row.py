"""Results rows from model runs of their own, as a command for each row would compute them.

The runs are batched by the same code as observation, and do no more than they must: they execute
only the views that the policy of the row chose, make no text pass where the policy reads none, and
reuse its cache where there is one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from vovnet.commands.bench.subject import Bench
from vovnet.config import PolicySettings
from vovnet.core.arrays import Floats, Ints
from vovnet.core.layout import ROUTER_FIT
from vovnet.core.records import Sample, signal_columns
from vovnet.data.images import load_images
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.evaluation.replay import Outcome, fit, scored_outcome
from vovnet.inference.engine import Answer, TextPass
from vovnet.inference.observe import batches
from vovnet.model.padded import Prefix
from vovnet.policies import kind_of
from vovnet.policies.base import Confidence, Known, Router
from vovnet.policies.decide import decide


def row_outcome(
    bench: Bench, policy: PolicySettings, questions: Questions, router: Router | None
) -> Outcome:
    """The outcome of a policy on a set, with model runs for this policy alone."""
    inference, samples, kind = bench.inference, questions.samples, kind_of(policy)
    actions = bench.settings.actions
    chosen = batches(inference, samples, inference.settings.actions)
    passes: list[TextPass] | None = None
    if kind.reads_text_pass(policy):
        passes = [inference.text_pass([samples[row] for row in rows]) for rows in chosen]
        found = {row["id"]: row for text_pass in passes for row in text_pass.signals}
        signals = [found[sample.id] for sample in samples]
        flops_N = np.array([row["flops_text_pass"] for row in signals], dtype=np.float64)
    else:
        signals = [inference.costs(sample) for sample in samples]
        flops_N = np.zeros(len(samples))
    shown = _shown(bench, samples, chosen) if kind.reads_correctness else {}
    tokens_N = np.zeros(len(samples), dtype=np.int64)
    reuses = passes is not None and bench.settings.eval.cache_reuse
    answers: dict[int, Answer] = {}

    def look(rows: Ints, views: NDArray[np.object_]) -> Confidence:
        named = dict(zip(rows.tolist(), views.tolist(), strict=True))
        if shown:
            found = {row: shown[view][row] for row, view in named.items()}
        else:
            found = _answers(bench, samples, chosen, named, passes)
        answers.update(found)
        tokens_N[rows] += [found[row].vision_tokens for row in named]
        flops_N[rows] += [found[row].executed_flops(after_text=reuses) for row in named]
        return Confidence.of(found[row] for row in named)

    decision = decide(
        policy,
        actions,
        pd.DataFrame(signals, columns=list(signal_columns(actions))),
        look,
        questions=questions.names,
        scores_NA_correct=_correctness(questions, shown) if shown else None,
        expected=router.expected(_known(policy, questions, passes)) if router else None,
    )
    rows = {
        "id": [sample.id for sample in samples],
        "action": decision.actions,
        "view": decision.views,
        "executed": decision.executed,
        "fallback_triggered": decision.fallback_triggered,
        "text": [answers[row].text for row in range(len(samples))],
        "vision_tokens": tokens_N,
        "flops": flops_N,
    }
    return scored_outcome(policy, actions, questions, pd.DataFrame(rows))


def row_router(bench: Bench, policy: PolicySettings) -> Router:
    """The router of a policy, fitted on model runs of its own."""
    router, inference = kind_of(policy).router, bench.inference
    assert router is not None
    questions = load_questions(bench.settings, bench.layout, ROUTER_FIT)
    samples = questions.samples
    chosen = batches(inference, samples, bench.settings.actions)
    shown = _shown(bench, samples, chosen)
    views = [answers.values() for answers in shown.values()]
    tokens_AN = [[answer.vision_tokens for answer in answers] for answers in views]
    scores_NA, tokens_NA = _correctness(questions, shown), np.array(tokens_AN, dtype=float).T
    passes = None
    if router.knows == "state":
        passes = [inference.text_pass([samples[row] for row in rows]) for rows in chosen]
    known = _known(policy, questions, passes)
    return fit(router, policy, questions, known, scores_NA, tokens_NA, bench.seed)


def _known(
    policy: PolicySettings, questions: Questions, passes: Sequence[TextPass] | None
) -> Known:
    """What the router of a policy knows of the questions."""
    router = kind_of(policy).router
    assert router is not None
    if router.knows != "state":
        return questions.known(router.knows)
    assert passes is not None
    found = {
        sample.id: state_F
        for text_pass in passes
        for sample, state_F in zip(text_pass.samples, text_pass.states, strict=True)
    }
    return np.stack([found[sample.id] for sample in questions.samples]).astype(np.float64)


def _shown(
    bench: Bench, samples: Sequence[Sample], chosen: Sequence[Sequence[int]]
) -> dict[str, dict[int, Answer]]:
    """The answers to all samples under each action, by row."""
    rows, actions = range(len(samples)), bench.settings.actions
    return {view: _answers(bench, samples, chosen, dict.fromkeys(rows, view)) for view in actions}


def _answers(
    bench: Bench,
    samples: Sequence[Sample],
    chosen: Sequence[Sequence[int]],
    views: Mapping[int, str],
    passes: Sequence[TextPass] | None = None,
) -> dict[int, Answer]:
    """The answers to the samples that have a view, by row; in a batch, those of a view together."""
    answers: dict[int, Answer] = {}
    for index, rows in enumerate(chosen):
        places: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            if row in views:
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
    return dict(sorted(answers.items()))


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


def _correctness(questions: Questions, shown: dict[str, dict[int, Answer]]) -> Floats:
    """Of each question, how right the answer under each action is, (N, A)."""
    texts = ([answer.text for answer in answers.values()] for answers in shown.values())
    return np.stack([questions.score(view)[0] for view in texts], axis=1)
