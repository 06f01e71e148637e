"""Whether score differences are loss differences, on training questions that were held out.

Only then does one head serve every lambda (see vovnet.training.objective). Shapes: N
samples, A actions, Q bins.
"""

import hashlib
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vovnet.core.bins import NUM_BINS, binned, mean_gap
from vovnet.core.records import Sample
from vovnet.data.samples import SampleSet
from vovnet.training.examples import TrainingSet
from vovnet.training.objective import Objective


def split_held_out(samples: SampleSet, count: int) -> tuple[SampleSet, SampleSet]:
    """(training samples, held-out samples): whole questions, at most a tenth of the samples.

    Questions are ranked by a hash of their group, so that every seed holds out the same ones
    and circular replicas stay together, as the turns of a conversation do.
    """
    limit = min(count, len(samples) // 10)
    held: list[int] = []
    for rows in _first_ranked(samples, limit + 1):
        if len(held) + len(rows) <= limit:
            held += rows
    return samples.take(np.delete(np.arange(len(samples)), held)), samples.take(sorted(held))


def _first_ranked(samples: Sequence[Sample], count: int) -> list[list[int]]:
    """The rows of each of the first `count` groups by the hash of their name.

    No more than `count` groups are held at once. One that is dropped never comes back, because
    the hash that a group has to undercut only falls.
    """
    rows: dict[bytes, list[int]] = {}
    last = b""
    for row, sample in enumerate(samples):
        digest = hashlib.sha256(sample.unit.encode()).digest()
        if len(rows) < count or digest <= last:
            rows.setdefault(digest, []).append(row)
            if len(rows) > count:
                del rows[last]
            last = max(rows)
    return [rows[digest] for digest in sorted(rows)]


@torch.inference_mode()
def measure_calibration(
    objective: Objective, examples: TrainingSet, batch_size: int
) -> dict[str, Any]:
    """Predicted against measured value of one view over another, in nats, per pair of views.

    Predicted is score_b - score_a, measured CE_a - CE_b. `bins` are equally filled; `ece` is
    the mean distance between the two over the bins, `slope` that of the least-squares line.
    """
    objective.eval()
    scores, losses = [], []
    for start in range(0, len(examples), batch_size):
        batch = [examples[row] for row in range(start, min(start + batch_size, len(examples)))]
        scores_BA, losses_BA = objective.evaluate(batch)
        scores.append(scores_BA.double().cpu().numpy())
        losses.append(losses_BA.double().cpu().numpy())
    scores_NA, losses_NA = np.concatenate(scores), np.concatenate(losses)
    pairs = {}
    for (a, first), (b, second) in combinations(enumerate(objective.settings.actions), 2):
        gained_N, saved_N = scores_NA[:, b] - scores_NA[:, a], losses_NA[:, a] - losses_NA[:, b]
        pairs[f"{second}-{first}"] = calibration_of(gained_N, saved_N)
    return {"num_samples": len(examples), "pairs": pairs}


def calibration_of(
    predicted_N: NDArray[np.float64], measured_N: NDArray[np.float64]
) -> dict[str, Any]:
    """`ece`, `slope` (null where the predictions are constant) and `bins` of a pair of views."""
    order_N = np.argsort(predicted_N, kind="stable")
    parts = [part for part in np.array_split(order_N, NUM_BINS) if len(part)]
    bins = binned(predicted_N, measured_N, parts)
    spread = float(predicted_N.var())
    slope = None
    if spread > 1e-12:
        centred_N = predicted_N - predicted_N.mean()
        slope = float((centred_N * measured_N).mean() / spread)
    return {"ece": mean_gap(bins), "slope": slope, "bins": bins}
