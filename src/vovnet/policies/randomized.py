"""Random actions in given shares: the same spending as a policy, without its judgement."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from vovnet.errors import ConfigError
from vovnet.policies.base import Actions, Floats, PolicyInputs


def matched(inputs: PolicyInputs) -> Actions:
    """Draw NO, COARSE and FULL in the shares of `baseline_target_ratios`.

    A sample's draw follows from `baseline_seed` and its id alone: neither order nor
    batching nor the other samples matter.
    """
    ratios = inputs.policy.baseline_target_ratios
    if ratios is None:
        raise ConfigError("policy.baseline_target_ratios: random_policy_matched needs three shares")
    uniform_N = sample_uniforms(inputs.signals["id"], inputs.policy.baseline_seed)
    upper_A = np.cumsum(ratios) / np.sum(ratios)
    return np.searchsorted(upper_A[:-1], uniform_N, side="right")


def sample_uniforms(ids: Iterable[str], seed: int) -> Floats:
    """A number in [0, 1) per id: the leading 53 bits of a hash of seed and id, (N,)."""
    digests = (hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8] for name in ids)
    return np.array([(int.from_bytes(digest) >> 11) / 2**53 for digest in digests])
