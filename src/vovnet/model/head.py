"""The policy head: what looking would be worth, read from the text pass.

Shapes: B samples, T tokens, D hidden size, V vocabulary, A actions of the suite.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vovnet.config import PolicySettings


def pooled_features(hidden_BTD: Tensor, text_mask_BT: Tensor, last_BD: Tensor) -> Tensor:
    """Mean over the tokens of the text pass, and its last token, (B, 2D) in float32.

    A sum of 16 bits is coarse, and may overflow.
    """
    mask_BT1 = text_mask_BT[..., None].float()
    mean_BD = (hidden_BTD.float() * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1)
    return torch.cat([mean_BD, last_BD.float()], dim=-1)


def uncertainty(logits_BV: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy (nats) and margin (top probability minus the second) of the next token, (B,) each."""
    log_probs_BV = torch.log_softmax(logits_BV.float(), dim=-1)
    probs_BV = log_probs_BV.exp()
    entropy_B = -(probs_BV * log_probs_BV).sum(dim=-1)
    top_B2 = probs_BV.topk(2, dim=-1).values
    return entropy_B, top_B2[:, 0] - top_B2[:, 1]


class PolicyHead(nn.Module):
    """Estimates per action the answer's log-likelihood (nats), up to a constant per sample."""

    def __init__(self, hidden_size: int, num_actions: int, settings: PolicySettings) -> None:
        super().__init__()
        self.with_entropy = "entropy" in settings.feature_mode
        self.with_margin = "margin" in settings.feature_mode
        inputs = 2 * hidden_size
        extra = int(self.with_entropy) + int(self.with_margin)
        self.norm = nn.LayerNorm(inputs)
        self.hidden = nn.Linear(inputs + extra, settings.head_hidden_size)
        self.num_actions = num_actions
        self.out = nn.Linear(settings.head_hidden_size, num_actions)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, pooled_BF: Tensor, entropy_B: Tensor, margin_B: Tensor) -> Tensor:
        """Scores (B, A), computed in float32 under autocast too, as they are in evaluation."""
        with torch.autocast(pooled_BF.device.type, enabled=False):
            features = [self.norm(pooled_BF.float())]
            if self.with_entropy:
                features.append(entropy_B[:, None])
            if self.with_margin:
                features.append(margin_B[:, None])
            return self.out(nn.functional.gelu(self.hidden(torch.cat(features, dim=-1))))


def action_distribution(
    scores_BA: Tensor,
    costs_BA: Tensor,
    lambda_cost: float,
    temperature: float,
    allowed: Sequence[int],
) -> Tensor:
    """pi = softmax((score - lambda * cost) / temperature) over the `allowed` actions, else 0."""
    values_BA = (scores_BA - lambda_cost * costs_BA) / temperature
    refused_A = torch.ones(values_BA.shape[-1], dtype=torch.bool, device=values_BA.device)
    refused_A[list(allowed)] = False
    return torch.softmax(values_BA.masked_fill(refused_A, float("-inf")), dim=-1)


def straight_through(pi_BA: Tensor, gumbel_BA: Tensor) -> Tensor:
    """One-hot Gumbel sample from pi with the gradient of pi (Jang et al. 2017, section 2.2)."""
    sampled_B = (pi_BA.clamp_min(1e-20).log() + gumbel_BA).argmax(dim=-1)
    hard_BA = nn.functional.one_hot(sampled_B, pi_BA.shape[-1]).to(pi_BA.dtype)
    return hard_BA - pi_BA.detach() + pi_BA
