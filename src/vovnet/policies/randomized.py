"""Random actions in given shares: the same spending as a policy, without its judgement."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vovnet.config import PolicySettings
from vovnet.core.arrays import Floats, Ints
from vovnet.core.errors import ConfigError
from vovnet.policies.base import PolicyInputs, PolicyKind


def matched(inputs: PolicyInputs) -> Ints:
    """Draw an action in the shares of `baseline_target_ratios`, one per action.

    With `baseline_bucket_ratios`, in the shares of the bucket that a sample's entropy is in.
    A sample's draw follows from `baseline_seed`, its question and its bucket alone: neither order
    nor batching nor the other samples matter. The circular passes of a question share one random
    number, or else a question would be right only if every pass drew a view that answers it, and
    the policy would fall below what mixing whole questions reaches. A bucket is a row's own.
    """
    policy = inputs.policy
    uniform_N = question_uniforms(inputs.questions, policy.baseline_seed)
    if policy.baseline_bucket_ratios is not None:
        ratios_KA = _shares("baseline_bucket_ratios", policy.baseline_bucket_ratios, inputs)
        ratios_NA = ratios_KA[_buckets(inputs, len(ratios_KA))]
    else:
        ratios = [policy.baseline_target_ratios or ()]
        ratios_NA = _shares("baseline_target_ratios", ratios, inputs)
    return drawn(uniform_N, ratios_NA)


def drawn(uniform_N: Floats, ratios_NA: Floats) -> Ints:
    """The action that a number in [0, 1) draws, (N,); one row of ratios holds for all of them."""
    upper_NA = np.cumsum(ratios_NA, axis=1) / ratios_NA.sum(axis=1, keepdims=True)
    return (upper_NA[:, :-1] <= uniform_N[:, None]).sum(axis=1)


def entropy_buckets(entropy_N: Floats, thresholds: Sequence[float]) -> NDArray[np.int64]:
    """The bucket of each sample, (N,): how many thresholds (nats, ascending) lie below it."""
    return np.searchsorted(np.array(thresholds), entropy_N, side="left")


def quantile_thresholds(entropy_N: Floats, count: int) -> list[float]:
    """Thresholds that cut the samples into `count` buckets of equal size, ties aside."""
    return np.quantile(entropy_N, np.arange(1, count) / count).tolist()


def _shares(key: str, rows: Sequence[Sequence[float]], inputs: PolicyInputs) -> Floats:
    """Rows of shares, (rows, A)."""
    for row in rows:
        if len(row) != len(inputs.actions):
            raise ConfigError(
                f"policy.{key}: random_policy_matched needs a share for each of"
                f" {list(inputs.actions)}, got {list(row)}"
            )
    return np.array(rows)


def _buckets(inputs: PolicyInputs, count: int) -> NDArray[np.int64]:
    """Without thresholds the quantiles of all samples at hand decide, as the suite's match does."""
    entropy_N = inputs.signal("entropy")
    thresholds = inputs.policy.baseline_bucket_thresholds
    if thresholds is None and inputs.num_samples:
        thresholds = quantile_thresholds(entropy_N, count)
    return entropy_buckets(entropy_N, thresholds or ())


def question_uniforms(names: Iterable[str], seed: int) -> Floats:
    """A number in [0, 1) per name: the leading 53 bits of a hash of seed and name, (N,)."""
    digests = (hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8] for name in names)
    return np.array([(int.from_bytes(digest) >> 11) / 2**53 for digest in digests])


def _has_buckets(policy: PolicySettings) -> bool:
    return policy.baseline_bucket_ratios is not None


def _check_live(policy: PolicySettings) -> None:
    if _has_buckets(policy) and policy.baseline_bucket_thresholds is None:
        raise ConfigError(
            "policy.baseline_bucket_thresholds: a live run sees one question at a time and cannot"
            " take quantiles, expected thresholds in nats"
        )


POLICIES = {
    "random_policy_matched": PolicyKind(
        "Draws actions in given shares, or in those of the bucket that the text pass's entropy is"
        " in; the draw depends on the question and the trained seed alone, so that the circular"
        " passes of a question act alike.",
        matched,
        settings=(
            "baseline_target_ratios",
            "baseline_bucket_ratios",
            "baseline_bucket_thresholds",
            "baseline_seed",
        ),
        reads_text_pass=_has_buckets,
        draws_in_ratios=True,
        check_live=_check_live,
    )
}
