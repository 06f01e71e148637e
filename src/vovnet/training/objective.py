"""The losses of both stages.

Stage 2: loss = sum_a w_a CE_a + lambda * sum_a pi_a cost_a - entropy_weight * H(pi), with
pi = softmax((score - lambda * cost) / entropy_weight) and w a straight-through sample from
pi, or pi itself (soft mixture). Its optimum is score_a = -E[CE_a | text] up to a constant,
whatever lambda is, so that one head serves every lambda.

With `training.stage2_action_floor` w is sampled from pi mixed with equal shares, so that every
view goes on being trained; its gradient stays that of pi.

The head needs CE of every action, also of those that were not sampled; those are computed
without gradient into the model. Shapes: B samples, A actions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vovnet.config import Settings
from vovnet.core.cost import allowed_actions
from vovnet.model.sequences import TokenSequence, sent
from vovnet.model.vovnet import VoVNet, action_distribution, straight_through, with_floor
from vovnet.training.examples import Example
from vovnet.views import num_vision_tokens, parse_view, view_budget


@dataclass(frozen=True)
class Work:
    """Tokens that entered the language model, and the FLOPs that the objective needs of the model.

    A backward pass counts as much as the forward pass, and twice as much where the weights have
    gradients themselves. What is computed again to save memory does not count.
    """

    tokens: int = 0
    flops: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.tokens + other.tokens, self.flops + other.flops)


class HostCopy:
    """Numbers on their way from the device; reading them waits for nothing that is asked later."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.arrived = values, None
        if values.is_cuda:
            self.values = torch.empty_like(values, device="cpu", pin_memory=True)
            self.values.copy_(values, non_blocking=True)
            self.arrived = torch.cuda.Event()
            self.arrived.record()

    def tolist(self) -> Any:
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.values.tolist()


@dataclass
class Step:
    """What was asked of the device in a step: the answers are read while the next one runs.

    `sums` are those of all processes, named by `names`; `losses_B` are of this process's `ids`, and
    `work` is what this process has done so far.
    """

    number: int
    names: list[str]
    sums: HostCopy
    norm: HostCopy
    ids: list[str]
    losses_B: HostCopy
    learning_rate: float
    work: Work


@dataclass
class StepResult:
    """`loss` is the sum of `losses_B`; `sums` are sums over the batch as well, for the log.

    All of them stay on the device: reading a number there would wait for all the work before it.
    """

    loss: Tensor
    losses_B: Tensor
    sums: dict[str, Tensor]
    work: Work


class Objective(torch.nn.Module):
    """Wraps the model so that one forward call computes a batch's loss, as DDP wants it."""

    def __init__(self, model: VoVNet, settings: Settings, stage: int, *, cut: bool = False) -> None:
        """With `cut`, every process passes the same layers, whatever its samples are."""
        super().__init__()
        self.cut = cut
        self.model = model
        self.settings = settings
        self.stage = stage
        self.work = Work()
        self.layers = list(model.vlm.model.get_decoder().layers)
        self.language_passes = _passes(model.vlm.model.get_decoder())
        self.tower_passes = _passes(model.vlm.tower)

    def forward(self, examples: Sequence[Example]) -> StepResult:
        self.work = Work()
        result = self._stage1(examples) if self.stage == 1 else self._stage2(examples)
        if self.cut:
            result.loss = result.loss + 0.0 * self._all_weights()
        return result

    def _all_weights(self) -> Tensor:
        """The sum of all trained weights outside the layers.

        Devices exchange the gradients of all of these at once, so that each needs one of every
        weight, also of the vision tower's where its samples have no image.
        """
        inside = {id(weight) for layer in self.layers for weight in layer.parameters()}
        weights = [weight for weight in self.parameters() if id(weight) not in inside]
        return torch.stack([weight.sum() for weight in weights if weight.requires_grad]).sum()

    def _stage1(self, examples: Sequence[Example]) -> StepResult:
        """Cross-entropy under the fixed policy: each example is shown in its own view."""
        views = [example.view for example in examples]
        ce_B = self.cross_entropy(examples, views)
        sums = {"loss": ce_B.detach().sum()}
        for view in dict.fromkeys(views):
            rows = [row for row, shown in enumerate(views) if shown == view]
            sums[f"ce_{view}"] = ce_B.detach()[sent(torch.tensor(rows), ce_B.device)].sum()
            sums[f"count_{view}"] = ce_B.new_full((), len(rows))
        return StepResult(ce_B.sum(), ce_B.detach(), sums, self.work)

    def _stage2(self, examples: Sequence[Example]) -> StepResult:
        policy = self.settings.policy
        scores_BA, ce_no_B = self._text_pass(examples)
        costs_BA = sent(self.costs(examples), scores_BA.device)
        allowed = allowed_actions(self.settings.actions, policy.action_space)
        pi_BA = action_distribution(
            scores_BA, costs_BA, policy.lambda_cost, policy.entropy_weight, allowed
        )
        weights_BA = pi_BA
        if policy.use_straight_through:
            gumbel_BA = torch.stack([example.gumbel_A for example in examples])
            drawn_BA = with_floor(pi_BA, self.settings.training.stage2_action_floor, allowed)
            weights_BA = straight_through(pi_BA, sent(gumbel_BA, pi_BA.device), drawn_BA)
        sampled = HostCopy(weights_BA.detach() > 0.5) if policy.use_straight_through else None
        # A GPU encodes the images while the host waits to learn what was sampled.
        ready = self._look_sequences(examples) if self.model.vlm.packs else None
        looks_BA = self._look_losses(examples, sampled.tolist() if sampled else None, ready)
        ce_BA = torch.cat([ce_no_B[:, None], looks_BA], dim=1)
        entropy_B = -(pi_BA * pi_BA.clamp_min(1e-20).log()).sum(dim=1)
        cost_B = (pi_BA * costs_BA).sum(dim=1)
        loss_B = (weights_BA * ce_BA).sum(dim=1) + policy.lambda_cost * cost_B
        loss_B = loss_B - policy.entropy_weight * entropy_B
        sums = {"loss": loss_B.detach().sum(), "expected_cost": cost_B.detach().sum()}
        for action, view in enumerate(self.settings.actions):
            sums[f"ce_{view}"] = ce_BA[:, action].detach().sum()
            sums[f"action_share_{view}"] = pi_BA[:, action].detach().sum()
        return StepResult(loss_B.sum(), loss_B.detach(), sums, self.work)

    def evaluate(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Scores and CE of every action (B, A), without sampling any."""
        scores_BA, ce_no_B = self._text_pass(examples)
        return scores_BA, torch.cat([ce_no_B[:, None], self._look_losses(examples)], dim=1)

    def _text_pass(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Scores (B, A) and CE of NO (B,) from one pass: the answer follows the text pass."""
        vlm = self.model.vlm
        sequences = [vlm.sequence(example.prompt, (), example.answer_ids) for example in examples]
        hidden_BTD, mask_BT = vlm.hidden_states(sequences)
        self._count(sequences)
        ce_B = self._answer_loss(hidden_BTD, [example.answer_ids for example in examples])
        num_tokens = hidden_BTD.shape[1]
        ends = [num_tokens - len(example.answer_ids) for example in examples]
        end_B = sent(torch.tensor(ends), hidden_BTD.device)
        position_T = torch.arange(num_tokens, device=hidden_BTD.device)
        text_mask_BT = mask_BT * (position_T < end_B[:, None])
        return self.model.read(hidden_BTD, text_mask_BT, end_B - 1).scores_BA, ce_B

    def _pairs(self, num_examples: int) -> list[tuple[int, int]]:
        """Each example with each action but NO."""
        looks = range(1, len(self.settings.actions))
        return [(row, action) for row in range(num_examples) for action in looks]

    def _look_sequences(self, examples: Sequence[Example]) -> list[TokenSequence]:
        """The sequences of all pairs."""
        pairs, actions = self._pairs(len(examples)), self.settings.actions
        shown = [examples[row] for row, _ in pairs]
        return self._sequences(shown, [actions[action] for _, action in pairs])

    def _look_losses(
        self,
        examples: Sequence[Example],
        sampled: Sequence[Sequence[bool]] | None = None,
        ready: Sequence[TokenSequence] | None = None,
    ) -> Tensor:
        """CE of every action but NO, (B, A - 1); with `sampled` (B, A), gradient only where it is.

        `ready` holds the sequences of all pairs where their images are encoded already. Devices
        that share the layers make both passes, with and without gradient, whatever was sampled.
        """
        actions, pairs = self.settings.actions, self._pairs(len(examples))
        taken, alike = pairs, self.cut and sampled is not None
        if sampled is not None:
            taken = [(row, action) for row, action in pairs if sampled[row][action]]
            taken = taken or pairs[:alike]  # its weight in the loss is 0
        rest = sorted(set(pairs) - set(taken)) or pairs[:alike]
        parts = []
        for part, with_grad in ((taken, torch.is_grad_enabled()), (rest, False)):
            if part:
                with torch.set_grad_enabled(with_grad):
                    shown = [examples[row] for row, _ in part]
                    if ready is None:
                        sequences = self._sequences(shown, [actions[action] for _, action in part])
                    else:
                        sequences = [ready[pairs.index(pair)] for pair in part]
                    parts.append(self._losses(sequences, shown))
        order = [[*taken, *rest].index(pair) for pair in pairs]
        losses_N = torch.cat(parts)
        return losses_N[sent(torch.tensor(order), losses_N.device)].reshape(len(examples), -1)

    def cross_entropy(self, examples: Sequence[Example], views: Sequence[str]) -> Tensor:
        """CE of each example in its view (B,): nats, summed over the answer's tokens.

        With `training.per_token_loss` it is their mean.
        """
        return self._losses(self._sequences(examples, views), examples)

    def _sequences(self, examples: Sequence[Example], views: Sequence[str]) -> list[TokenSequence]:
        """Each example in its view; one in several views of one budget is encoded once."""
        vlm = self.model.vlm
        budgets = [view_budget(view, self.settings.vision_budget) for view in views]
        pixels = {
            (id(example), budget): example.pixels[budget] if budget else None
            for example, budget in zip(examples, budgets, strict=True)
        }
        attention = any(parse_view(view).needs_attention for view in views)
        images = vlm.encode(list(pixels.values()), attention=attention)
        encoded = dict(zip(pixels, images, strict=True))
        grids = [image.grid for images in encoded.values() for image in images]
        self.work += Work(0, vlm.flops.vision_tower.encode(grids))
        sequences = []
        for example, view, budget in zip(examples, views, budgets, strict=True):
            reductions = parse_view(view).reductions
            shown = tuple(image.reduced(reductions) for image in encoded[id(example), budget])
            sequences.append(vlm.sequence(example.prompt, shown, example.answer_ids))
        return sequences

    def _losses(self, sequences: Sequence[TokenSequence], examples: Sequence[Example]) -> Tensor:
        hidden_BTD, _ = self.model.vlm.hidden_states(sequences)
        self._count(sequences)
        return self._answer_loss(hidden_BTD, [example.answer_ids for example in examples])

    def _count(self, sequences: Sequence[TokenSequence]) -> None:
        """Add a pass of the language model, and with gradient the way back through the tower."""
        lengths, flops = [sequence.length for sequence in sequences], self.model.vlm.flops
        language = sum(flops.language_model.prefill(length) for length in lengths)
        tower = 0
        if torch.is_grad_enabled():
            grids = [image.grid for sequence in sequences for image in sequence.images]
            language *= self.language_passes
            tower = (self.tower_passes - 1) * flops.vision_tower.encode(grids)
        self.work += Work(sum(lengths), language + tower)

    def _answer_loss(self, hidden_BTD: Tensor, answers: Sequence[Sequence[int]]) -> Tensor:
        longest = max(len(answer) for answer in answers)
        labels_BT = torch.full((len(answers), longest), -100)
        for row, answer in enumerate(answers):
            labels_BT[row, longest - len(answer) :] = torch.tensor(answer)
        # Rows that lie together are one product of matrices for the vocabulary, also backwards.
        logits_BTV = self.model.vlm.logits(hidden_BTD[:, -longest - 1 : -1].contiguous()).float()
        labels_BT = sent(labels_BT, logits_BTV.device)
        loss_BT = torch.nn.functional.cross_entropy(
            logits_BTV.transpose(1, 2), labels_BT, ignore_index=-100, reduction="none"
        )
        loss_B = loss_BT.sum(dim=1)
        if self.settings.training.per_token_loss:
            lengths_B = torch.tensor([float(len(answer)) for answer in answers])
            loss_B = loss_B / sent(lengths_B, loss_B.device)
        return loss_B

    def costs(self, examples: Sequence[Example]) -> Tensor:
        """cost_scale * vision tokens per view (B, A), known from the image sizes alone."""
        views, budget = self.settings.actions, self.settings.vision_budget
        tokens = [
            [num_vision_tokens(item.sizes, view, budget) for view in views] for item in examples
        ]
        return self.settings.policy.cost_scale * torch.tensor(tokens, dtype=torch.float32)


def _passes(part: torch.nn.Module) -> int:
    """How often a part of the model is passed for a gradient, see `Work`."""
    trained = [weight.requires_grad for weight in part.parameters()]
    return 1 + any(trained) + all(trained)
