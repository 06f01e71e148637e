"""What `vovnet live` answered and measured: scored, and as profiles of time and memory.

Times are milliseconds per part of an answer. Shapes: N samples.
"""

from typing import Any

import numpy as np
import pandas as pd

from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.arrays import Floats, Ints
from vovnet.core.errors import DataError
from vovnet.core.files import read_json, sha256_file
from vovnet.core.layout import Layout
from vovnet.core.recorded import check_recorded
from vovnet.core.records import read_table
from vovnet.core.resampling import Resamples, percentile_interval
from vovnet.evaluation.live_columns import LIVE_COLUMNS, PARTS
from vovnet.evaluation.questions import Questions
from vovnet.evaluation.replay import Outcome, scored_outcome
from vovnet.policies import kind_of

Facts = dict[str, Any]

TIMED = ("latency_ms", "latency_p50_ms", "latency_p90_ms", "tokens_s")
"""What is left out of a run that was not alone on its machine."""


class LiveRun:
    """Outcomes and timings of a finished live run; `facts` are those of its live.json."""

    def __init__(self, experiment: ResolvedExperiment, layout: Layout) -> None:
        self.experiment, name = experiment, experiment.name
        table, path = layout.live_table(name), layout.live_facts(name)
        if not path.exists():
            raise DataError(f"{path}: file not found, `vovnet live --experiment {name}` writes it")
        check_recorded(table, path)
        self.table, self.rows, facts = table, read_table(table, LIVE_COLUMNS), read_json(path)
        self.cache_reuse: bool = facts["cache_reuse"]
        self.alone: bool = facts["alone"]
        self.facts: Facts = {
            **{key: item for key, item in facts.items() if key not in ("key", "outputs")},
            "profile": [],
            "inputs": [{"path": str(read), "sha256": sha256_file(read)} for read in (table, path)],
        }

    def outcomes(self, questions: Questions, seed: int) -> list[Outcome]:
        """What each point of the experiment answered on a set."""
        actions = self.experiment.settings.actions
        return [
            scored_outcome(policy, actions, questions, self._answers(questions, seed, point))
            for point, policy in enumerate(self.experiment.points)
        ]

    def profiles(self, questions: Questions, seed: int, resamples: Resamples) -> list[Facts]:
        """What results.csv says about time and memory; the facts get a profile per point."""
        columns = []
        for point, policy in enumerate(self.experiment.points):
            rows = self._answers(questions, seed, point)
            facts = {"dataset": questions.name, "seed": seed, "point": point}
            facts |= {"text_pass": kind_of(policy).reads_text_pass(policy)}
            facts |= self._valid(profile_facts(rows))
            if self.experiment.stanza.compare_cache_reuse:
                without = self._answers(questions, seed, point, cache_reuse=False)
                compared = compare_ways(rows, without, questions.units, resamples)
                compared["without"] = self._valid(compared["without"])
                facts["cache_reuse_comparison"] = compared
            self.facts["profile"].append(facts)
            columns.append(self._valid(profile_columns(rows)))
        return columns

    def latencies(self, questions: Questions, seed: int, point: int) -> Floats:
        """The milliseconds that each sample of a set took, (N,)."""
        return latencies(self._answers(questions, seed, point))

    def _valid(self, measured: Facts) -> Facts:
        """Times count only where nobody else was at work."""
        return {key: item for key, item in measured.items() if self.alone or key not in TIMED}

    def _answers(
        self, questions: Questions, seed: int, point: int, cache_reuse: bool | None = None
    ) -> pd.DataFrame:
        """The rows of one set, seed and sweep point, which must be those of the questions.

        Those that count are answered with or without cache reuse as the run's facts say.
        """
        reuse = self.cache_reuse if cache_reuse is None else cache_reuse
        values = {"dataset": questions.name, "seed": seed, "point": point, "cache_reuse": reuse}
        own = (self.rows[list(values)] == list(values.values())).all(axis=1)
        found = self.rows[own].reset_index(drop=True)
        if found["id"].tolist() != [sample.id for sample in questions.samples]:
            raise DataError(
                f"{self.table}: the samples of {questions.name}, seed {seed}, point {point} are not"
                " those of the set, run `vovnet live` again"
            )
        return found


def latencies(rows: pd.DataFrame) -> Floats:
    """The milliseconds that each row of live.parquet took, (N,)."""
    return rows[[f"{part}_ms" for part in PARTS]].sum(axis=1).to_numpy()


def profile_columns(rows: pd.DataFrame) -> dict[str, float]:
    """What results.csv says of live answers; memory only where it was measured."""
    latency_N, memory = latencies(rows), rows["memory_mb"].dropna()
    columns = {"latency_ms": float(latency_N.mean())}
    columns |= {f"latency_p{rank}_ms": float(np.percentile(latency_N, rank)) for rank in (50, 90)}
    if len(memory):
        columns |= {f"mem_peak_p{rank}_mb": float(np.percentile(memory, rank)) for rank in (50, 90)}
    return columns


def profile_facts(rows: pd.DataFrame) -> Facts:
    """What summary.json adds: tokens per second, and each part's mean and share of the time."""
    total_ms, generated = float(latencies(rows).sum()), int(rows["generated_tokens"].sum())
    parts_ms = {part: float(rows[f"{part}_ms"].sum()) for part in PARTS}
    return {
        "num_samples": len(rows),
        "tokens_s": generated / (total_ms / 1000),
        "generated_tokens": generated,
        "parts_ms": {part: value / len(rows) for part, value in parts_ms.items()},
        "time_shares": {part: value / total_ms for part, value in parts_ms.items()},
        **profile_columns(rows),
    }


def paired_ratio(
    first_ms_N: Floats, second_ms_N: Floats, units_N: Ints, resamples: Resamples
) -> Facts:
    """How long the first takes in terms of the second, sample by sample.

    The geometric mean of the samples' ratios, with a 95% bootstrap interval over questions: a
    slow sample weighs as much as a fast one, and swapping the two inverts the ratio.
    """
    logs_N1 = np.log(first_ms_N / second_ms_N)[:, None]
    low, high = np.exp(percentile_interval(resamples.means(logs_N1, units_N)))
    return {
        "num_samples": len(logs_N1),
        "latency_ratio": float(np.exp(logs_N1.mean())),
        "latency_ratio_lo": float(low[0]),
        "latency_ratio_hi": float(high[0]),
    }


def compare_ways(
    with_reuse: pd.DataFrame, without: pd.DataFrame, units_N: Ints, resamples: Resamples
) -> Facts:
    """What cache reuse changes: answers that differ in a token, and the latency, also per view.

    Both tables hold the same samples in the same order.
    """
    pairs = zip(with_reuse["id"], with_reuse["token_ids"], without["token_ids"], strict=True)
    different = [sample for sample, first, second in pairs if list(first) != list(second)]
    first_ms_N, second_ms_N = latencies(with_reuse), latencies(without)
    logs = pd.Series(np.log(first_ms_N / second_ms_N))
    by_view = logs.groupby(with_reuse["view"], sort=False).mean()
    return {
        "num_different": len(different),
        "different": different[:10],
        **paired_ratio(first_ms_N, second_ms_N, units_N, resamples),
        "without": profile_columns(without),
        "latency_ratio_by_view": {view: float(np.exp(mean)) for view, mean in by_view.items()},
    }
