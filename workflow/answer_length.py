"""Stress test: whether what a policy gains depends on how long the answers are.

    python -m workflow.answer_length --config config/config.yaml --seed 0

Stage 2 of a run is trained again, from the stage 1 that the suite has, on the same questions with
answers that are said several times over, as in "red; red; red". What the model then answers is
scored by its first part, so that neither questions nor scores change. Each model is judged under
VoVNet by likelihood, summed over an answer's tokens or their mean, and by correctness. A line is
printed for each, with the gain over random mixing by vision tokens at half of FULL's cost, set by
set. What was trained already (`answer_length/` of the results) is not trained again.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vovnet.config import PolicySettings, load
from vovnet.config.schema import EvalSettings
from vovnet.core import stats
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.records import Sample
from vovnet.data.images import load_images
from vovnet.data.price import priced
from vovnet.data.sets import load_train
from vovnet.evaluation.clusters import draw_resamples
from vovnet.evaluation.columns import GAIN_SHARES, TOKENS
from vovnet.evaluation.frontier import Frontier, frontier_of
from vovnet.evaluation.ground import Ground, Points, averages, hull_gains
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.evaluation.replay import Observed, expectations, fit, known_by, router_kinds
from vovnet.inference.engine import Inference
from vovnet.inference.observe import observe_samples
from vovnet.model.vovnet import load_trained, pick_device
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.training.calibration import split_held_out
from vovnet.training.loop import Trainer

SEPARATOR = ";"
FACTORS = (1, 3, 6, 10)
"""How many times as many tokens an answer of one token has, with separators and its end."""

LOSSES = ("summed", "per_token")

Fitted = tuple[Questions, Observed]
"""What heads are fitted on: questions, and what the model answered to them."""


def lengthened(sample: Sample, factor: int) -> Sample:
    """The sample with its training answer said `factor` times."""
    answer = f"{SEPARATOR} ".join([sample.answer_text] * factor)
    return sample.model_copy(update={"answer_text": answer})


def shortened(text: str, factor: int) -> str:
    """What such an answer says the first time."""
    return text if factor == 1 else text.split(SEPARATOR)[0].strip()


def retrained(trained: TrainedModel, factor: int, loss: str) -> Path:
    """The folder of a stage 2 on lengthened answers, from the suite's stage 1."""
    settings, per_token = trained.settings, loss == "per_token"
    if factor == 1 and per_token == settings.training.per_token_loss:
        return trained.stage(2)
    samples = load_train(settings, trained.layout)
    changed = {
        "per_token_loss": per_token,
        "max_answer_tokens": factor * settings.training.max_answer_tokens,
    }
    training = settings.training.model_copy(update=changed)
    policy = priced(settings.policy, samples, settings.vision_budget)
    settings = settings.model_copy(update={"policy": policy, "training": training})
    kept, _ = split_held_out(samples, training.calibration_samples)
    place = trained.layout.root / "answer_length" / trained.run / f"seed{trained.seed}"
    folder = place / f"{loss}-{factor}"
    folder.mkdir(parents=True, exist_ok=True)
    longer = [lengthened(sample, factor) for sample in kept]
    load = partial(load_images, settings, trained.layout)
    Trainer(settings, 2, folder, longer, load, trained.stage1_model.stage(1)).run()
    return folder


def observed(inference: Inference, layout: Layout, questions: Questions, factor: int) -> Observed:
    """What a model answers to a set, scored by the first part of each answer."""
    actions = inference.settings.actions
    found = observe_samples(inference, layout, questions.samples, actions)
    views = {}
    for action in actions:
        table = found.view(action)
        texts = [shortened(text, factor) for text in table["text"]]
        scores_N, _ = questions.score(texts)
        views[action] = table.assign(score=scores_N, flops=np.nan, flops_alone=np.nan)
    states_NF = np.stack([row.state for row in found.rows if row.state is not None])
    return Observed(actions, found.signals, views, states_NF.astype(np.float64))


def gain(
    policy: PolicySettings, questions: Questions, seen: Observed, fitted: Fitted, seed: int
) -> float:
    """Points over random mixing at half of FULL's cost, of the policy's whole frontier."""
    outcomes = fitted[1].scores, fitted[1].vision_tokens.astype(np.float64), seed
    routers = {
        key: fit(kind, policy, fitted[0], known_by(kind, *fitted), *outcomes)
        for key, kind in router_kinds([policy]).items()
    }
    expected = expectations(routers, [policy], questions, seen)
    frontier = frontier_of(policy, questions, seen, expected)
    resamples = draw_resamples(questions, EvalSettings(bootstrap_samples=1))

    def points(done: Observed | Frontier) -> Points:
        costs = {TOKENS: done.vision_tokens.astype(np.float64)}
        return averages(questions, resamples, done.scores, costs)[TOKENS]

    tokens_NA = seen.vision_tokens.astype(np.float64)
    ground = Ground(
        stats.needs_look(seen.scores),
        points(seen),
        seen.actions.index("full"),
        stats.best_choice(tokens_NA, seen.scores, questions.units, resamples),
    )
    half = list(GAIN_SHARES.values()).index(0.5)
    return float(hull_gains(ground, ground.curve(points(frontier)))[0, half])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", nargs="+", type=Path, required=True)
    parser.add_argument("--run", default="vovnet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--factors", nargs="+", type=int, default=FACTORS)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES)
    args = parser.parse_args(argv)
    settings = load(args.config)
    trained = TrainedModel(settings, Layout(Path(settings.results_dir)), args.run, args.seed)
    own, sets = trained.settings, list(settings.data.eval_sets)
    asked = {name: load_questions(own, trained.layout, name) for name in (*sets, ROUTER_FIT)}
    print("loss", "length", "objective", *sets, sep="\t", flush=True)
    for loss in args.losses:
        for factor in args.factors:
            folder = retrained(trained, factor, loss)
            inference = Inference(load_trained(own, folder, pick_device()), own)
            seen = {
                name: observed(inference, trained.layout, questions, factor)
                for name, questions in asked.items()
            }
            for objective in ("likelihood", "correctness"):
                changed = {"objective": objective, "lambda_unit": "cost"}
                policy = own.policy.model_copy(update=changed)
                fitted = asked[ROUTER_FIT], seen[ROUTER_FIT]
                gains = [gain(policy, asked[name], seen[name], fitted, args.seed) for name in sets]
                told = [f"{value:.2f}" for value in gains]
                print(loss, factor, objective, *told, sep="\t", flush=True)


if __name__ == "__main__":
    main()
