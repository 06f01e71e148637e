"""Stress test: whether what a policy gains depends on how long the answers are.

    python workflow/answer_length.py --config config/config.yaml --seed 0

The model of a finished suite is judged under VoVNet by likelihood, summed over the tokens of an
answer or their mean, and by correctness. A line is printed for each, with the gain over random
mixing by vision tokens at half of FULL's cost, set by set.

Questions, images and scores stay. By default the model stays as well, and a new head is trained on
its losses, multiplied as by answers that are so many times as long and as uncertain throughout.
With `--retrain` all of stage 2 is trained again, from the suite's stage 1, on answers that are said
several times over, as in "red; red; red", of which the later parts can be copied; what is generated
is scored by its first part. Each of these lengths takes a training of stage 2; what was trained
already (`answer_length/` of the results) is not trained again.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vovnet.config import PolicySettings, Settings, load
from vovnet.config.schema import EvalSettings
from vovnet.core import stats
from vovnet.core.cost import allowed_actions
from vovnet.core.files import sha256_file
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
from vovnet.model.vovnet import PolicyHead, action_distribution, load_trained, pick_device
from vovnet.pipeline.trained_model import WEIGHTS_NAME, TrainedModel
from vovnet.training.calibration import split_held_out
from vovnet.training.examples import TrainingSet
from vovnet.training.loop import Trainer
from vovnet.training.objective import Objective

SEPARATOR = ";"
FACTORS = (1, 3, 6, 10)
"""How many times as many tokens an answer of one token has, with separators and its end."""

LOSSES = ("summed", "per_token")

HEAD_SAMPLES, HEAD_STEPS = 2048, 180
"""Training samples whose losses a new head learns, and its optimizer steps."""

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
    # With the suite's own weights, by which a changed recipe or stage 1 has another folder.
    suite = sha256_file(trained.stage(2) / WEIGHTS_NAME)[:12]
    folder = place / f"{loss}-{factor}-{suite}"
    folder.mkdir(parents=True, exist_ok=True)
    longer = [lengthened(sample, factor) for sample in kept]
    load = partial(load_images, settings, trained.layout)
    Trainer(settings, 2, folder, longer, load, trained.stage1_model.stage(1)).run()
    return folder


@dataclass(frozen=True)
class Losses:
    """What a head is trained on; `lengths` are tokens of the right answers, with their ends."""

    states_NF: Tensor
    losses_NA: Tensor
    costs_NA: Tensor
    lengths_N1: Tensor


@torch.inference_mode()
def measured(trained: TrainedModel, inference: Inference) -> Losses:
    """The losses of the right answers to training samples under every action, summed."""
    settings, layout = inference.settings, trained.layout
    kept, _ = split_held_out(load_train(settings, layout), settings.training.calibration_samples)
    count, size = min(HEAD_SAMPLES, len(kept)), settings.training.batch_size
    load = partial(load_images, settings, layout)
    examples = TrainingSet(kept, load, inference.vlm, settings, 2, count)
    objective = Objective(inference.model, settings, 2).eval()
    parts = []
    for start in range(0, count, size):
        places = range(start, min(start + size, count))
        batch = [examples[place] for place in places]
        _, losses_BA = objective.evaluate(batch)
        read = inference.text_pass([kept[int(examples.order[place])] for place in places])
        lengths = [[float(len(example.answer_ids))] for example in batch]
        states_BF = torch.from_numpy(read.states).float()
        parts.append((states_BF, losses_BA.cpu(), objective.costs(batch), torch.tensor(lengths)))
    return Losses(*(torch.cat(item) for item in zip(*parts, strict=True)))


def new_head(settings: Settings, found: Losses, losses_NA: Tensor) -> PolicyHead:
    """A head that is trained on these losses by the objective of stage 2, with all else fixed."""
    policy, training = settings.policy, settings.training
    torch.manual_seed(training.seed)
    width, num_actions = found.states_NF.shape[1] // 2, len(settings.actions)
    head = PolicyHead(width, num_actions, policy)
    rate, decay = training.head_learning_rate, training.weight_decay
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=rate, betas=training.adam_betas, weight_decay=decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, HEAD_STEPS)
    allowed = allowed_actions(settings.actions, policy.action_space)
    for _ in range(HEAD_STEPS):
        rows = torch.randint(len(losses_NA), (training.batch_size,))
        scores_BA = scored(head, found.states_NF[rows])
        costs_BA = found.costs_NA[rows]
        pi_BA = action_distribution(
            scores_BA, costs_BA, policy.lambda_cost, policy.entropy_weight, allowed
        )
        log_pi_BA = pi_BA.clamp_min(1e-20).log()
        worth_BA = losses_NA[rows] + policy.lambda_cost * costs_BA
        loss = (pi_BA * (worth_BA + policy.entropy_weight * log_pi_BA)).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), training.max_grad_norm)
        optimizer.step()
        schedule.step()
    return head


def scored(head: PolicyHead, states_BF: Tensor) -> Tensor:
    """The head's scores, (B, A); it reads the hidden states alone."""
    nothing_B = torch.zeros(len(states_BF))
    scores_BA: Tensor = head(states_BF, nothing_B, nothing_B)
    return scores_BA


def with_scores(seen: Observed, head: PolicyHead) -> Observed:
    """The same observation with the scores of another head."""
    with torch.no_grad():
        scores_NA = scored(head, torch.from_numpy(seen.states).float()).double().numpy()
    names = [f"score_{action}" for action in seen.actions]
    told = dict(zip(names, scores_NA.T, strict=True))
    return replace(seen, signals=seen.signals.assign(**told))


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


Row = tuple[str, int, str, list[float]]
"""Loss, factor, objective and the gain on each evaluation set."""


def rows(
    trained: TrainedModel, losses: Sequence[str], factors: Sequence[int], retrain: bool
) -> Iterator[Row]:
    """The results line by line."""
    own, sets = trained.settings, list(trained.settings.data.eval_sets)
    asked = {name: load_questions(own, trained.layout, name) for name in (*sets, ROUTER_FIT)}
    price = priced(own.policy, load_train(own, trained.layout), own.vision_budget)
    priced_own = own.model_copy(update={"policy": price})
    policies = {
        objective: own.policy.model_copy(update={"objective": objective, "lambda_unit": "cost"})
        for objective in ("likelihood", "correctness")
    }

    def answered(folder: Path, factor: int) -> tuple[Inference, dict[str, Observed]]:
        inference = Inference(load_trained(own, folder, pick_device()), own)
        found = {
            name: observed(inference, trained.layout, questions, factor)
            for name, questions in asked.items()
        }
        return inference, found

    if not retrain:
        inference, answers = answered(trained.stage(2), 1)
        found = measured(trained, inference)
    for loss in losses:
        for factor in factors:
            if retrain:
                _, seen = answered(retrained(trained, factor, loss), factor)
            else:
                lengths_N1 = factor * found.lengths_N1 if loss == "per_token" else 1
                head = new_head(priced_own, found, factor * found.losses_NA / lengths_N1)
                seen = {name: with_scores(item, head) for name, item in answers.items()}
            fitted = asked[ROUTER_FIT], seen[ROUTER_FIT]
            for objective, policy in policies.items():
                yield (
                    loss,
                    factor,
                    objective,
                    [gain(policy, asked[name], seen[name], fitted, trained.seed) for name in sets],
                )


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether gains depend on the length of answers.")
    parser.add_argument("--config", nargs="+", type=Path, required=True)
    parser.add_argument("--run", default="vovnet", help="a run that is trained in both stages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--factors", nargs="+", type=int, default=FACTORS)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES)
    parser.add_argument("--retrain", action="store_true", help="train stage 2 again for each line")
    args = parser.parse_args()
    settings = load(args.config)
    trained = TrainedModel(settings, Layout(Path(settings.results_dir)), args.run, args.seed)
    own = trained.settings
    if own.policy.feature_mode != "hidden" or own.training.per_token_loss:
        parser.error(
            f"--run: expected one of feature_mode hidden and summed losses, got {args.run!r}"
        )
    print("loss", "length", "objective", *settings.data.eval_sets, sep="\t", flush=True)
    for loss, factor, objective, gains in rows(trained, args.losses, args.factors, args.retrain):
        told = [f"{value:.2f}" for value in gains]
        print(loss, factor, objective, *told, sep="\t", flush=True)


if __name__ == "__main__":
    main()
