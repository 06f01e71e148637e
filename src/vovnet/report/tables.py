"""The paper's tables, each as .csv (numbers), .md and .tex (compact, for people).

Means and standard deviations (ddof 1) are taken over seeds. The 95% interval is the average
over seeds of the bootstrap interval that each seed's row of results.csv carries. A value that
was not measured is empty in CSV and an en dash elsewhere. The .tex files need booktabs, and
longtable (one-column pages) for the tables that list every sweep point.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from vovnet.config import Settings, policy_points
from vovnet.errors import ConfigError
from vovnet.layout import Layout
from vovnet.provenance import write_manifest
from vovnet.report.inputs import (
    GAINS,
    HULL_COLUMNS,
    HULL_SCORES,
    POINT_COLUMNS,
    Inputs,
    load_inputs,
    named,
    of,
    over_seeds,
    point_label,
)
from vovnet.report.render import (
    DASH,
    Table,
    intervals,
    numbers,
    texts,
    with_deviation,
    write_table_files,
)

RATES = ("action_rate_no", "action_rate_coarse", "action_rate_full")
MEASURES = ("accuracy", "avg_cost", "avg_vision_tokens", *RATES)
PROFILE = ("latency_ms", "latency_p50_ms", "latency_p90_ms", "mem_peak_p50_mb", "mem_peak_p90_mb")
METHOD = ("dataset", "experiment", "title", "role", "mode")
SEEDS_NOTE = (
    "Accuracy: mean ± standard deviation over seeds; 95% interval: average over seeds of each "
    "seed's bootstrap interval."
)


def write_tables(settings: Settings, layout: Layout) -> list[Path]:
    """Write every table and, last, `tables.manifest.json`; returns the tables' files."""
    inputs = load_inputs(settings, layout)
    tables = [main_table(inputs), pareto(inputs), action_ratio(inputs), hull_metrics(inputs)]
    written = [path for table in tables for path in write_table_files(table, layout.paper)]
    write_manifest(
        layout.paper / "tables.manifest.json",
        step="tables",
        settings=settings,
        inputs=inputs.files(),
        outputs=named(layout, written),
    )
    return written


def main_table(inputs: Inputs) -> Table:
    """One row per dataset and method, at comparable cost.

    VoVNet and the matched random policy stand at `report.target_lambda`; any other sweep at the
    point whose mean cost is nearest to that of VoVNet there.
    """
    target = inputs.settings.report.target_lambda
    points = summary(inputs).pipe(of, mode="replay")
    costs = {dataset: target_cost(inputs, points, dataset) for dataset in inputs.datasets()}
    chosen = [
        operating_point(group, target, costs[group["dataset"].iloc[0]])
        for _, group in points.groupby(["dataset", "experiment"], sort=False)
    ]
    gain = [f"gain_at_50{end}" for end in ("_mean", "_sd", "_lo", "_hi")]
    by = ["dataset", "experiment"]
    rows = points.loc[chosen].merge(
        hull_summary(inputs)[[*by, *gain]], on=by, how="left", validate="one_to_one"
    )
    text = pd.DataFrame(
        _point_text(inputs.settings, rows)
        | _accuracy_text(rows)
        | {
            "Cost ↓": numbers(rows["avg_cost_mean"]),
            "Vision tokens ↓": numbers(rows["avg_vision_tokens_mean"]),
            "N / C / F [%]": _shares(rows),
            "Gain at 50% ↑ [points]": _gains(rows, "gain_at_50"),
            "Seeds": rows["num_seeds"].astype(str),
        }
    )
    caption = (
        f"Main results. VoVNet and the matched random policy at λ = {target:g}; other sweeps at "
        f"the point nearest to VoVNet in mean cost. {SEEDS_NOTE} N / C / F: shares of the actions "
        "NO, COARSE and FULL. Gain: accuracy over random mixing of the fixed policies at 50% of "
        "FULL's cost, with its 95% interval."
    )
    return Table("main_table", caption, rows.drop(columns=["mode", "point"]), text)


def pareto(inputs: Inputs) -> Table:
    """Every point of every experiment, with timings where they were measured."""
    rows = summary(inputs, PROFILE)
    text = pd.DataFrame(
        _point_text(inputs.settings, rows)
        | _accuracy_text(rows)
        | {
            "Cost ↓": with_deviation(rows["avg_cost_mean"], rows["avg_cost_sd"]),
            "Vision tokens ↓": numbers(rows["avg_vision_tokens_mean"]),
            "Latency P50 ↓ [ms]": numbers(rows["latency_p50_ms_mean"]),
            "Seeds": rows["num_seeds"].astype(str),
        }
    )
    return Table("pareto", f"Every evaluated point. {SEEDS_NOTE}", rows, text, long=True)


def action_ratio(inputs: Inputs) -> Table:
    """The share of each action at every point of a policy over NO, COARSE and FULL."""
    points = summary(inputs).pipe(of, mode="replay")
    points = points[points["action_rate_no_mean"].notna()].reset_index(drop=True)
    measures = (*RATES, "avg_cost", "accuracy")
    measured = [f"{name}_{end}" for name in measures for end in ("mean", "sd")]
    rows = points[[*METHOD, "point", "num_seeds", *POINT_COLUMNS, *measured]]
    text = pd.DataFrame(
        _point_text(inputs.settings, rows)
        | {
            f"{name} [%]": with_deviation(100 * rows[f"{rate}_mean"], 100 * rows[f"{rate}_sd"])
            for name, rate in zip(("NO", "COARSE", "FULL"), RATES, strict=True)
        }
        | {
            "Cost ↓": numbers(rows["avg_cost_mean"]),
            "Accuracy ↑ [%]": numbers(100 * rows["accuracy_mean"]),
        }
    )
    caption = "Shares of the actions, mean ± standard deviation over seeds."
    return Table("action_ratio", caption, rows, text, long=True)


def hull_metrics(inputs: Inputs) -> Table:
    """What each policy gains over random mixing of the three fixed policies.

    The CSV has a row per dataset, experiment and seed, the others are means over seeds.
    """
    rows = hull_summary(inputs)
    text = pd.DataFrame(
        {"Dataset": rows["dataset"], "Method": rows["title"]}
        | {f"Gain at {name[-2:]}% ↑ [points]": _gains(rows, name) for name in GAINS}
        | {
            "Hull→oracle ↑ [%]": numbers(100 * rows["hull_to_oracle_captured_mean"]),
            "Hull→Bayes ↑ [%]": numbers(100 * rows["hull_to_bayes_captured_mean"]),
            "APGR ↑": numbers(rows["apgr_mean"], digits=2),
            "AIQ ↑": numbers(rows["aiq_mean"], digits=3),
            "MCC ↑": numbers(rows["mcc_mean"], digits=2),
        }
    )
    caption = (
        "Gain in accuracy over the mixing hull of the fixed policies at 25, 50 and 75% of FULL's "
        "cost, with the paired bootstrap 95% interval (ends averaged over seeds); share of the "
        "area from the hull to the oracle and to the Bayes router that a policy captures; average "
        "performance gap recovered (APGR); area under the non-decreasing hull (AIQ); Matthews "
        "correlation of looking with need (MCC). Means over seeds."
    )
    per_seed = inputs.hull[list(HULL_COLUMNS)]
    policies = per_seed["experiment"].map(_policy_names(inputs.settings))
    return Table("hull_metrics", caption, per_seed.assign(policy=policies), text)


def _policy_names(settings: Settings) -> dict[str, str]:
    """Experiment -> the name of its policy, `vovnet` for the learned one."""
    return {
        name: policy_points(settings, name)[0].baseline_name or "vovnet"
        for name in settings.experiments
    }


def summary(inputs: Inputs, extra: tuple[str, ...] = ()) -> pd.DataFrame:
    """Every sweep point over its seeds; `accuracy_lo` and `accuracy_hi` are averaged."""
    averages = ("num_samples", *POINT_COLUMNS, "accuracy_lo", "accuracy_hi")
    return over_seeds(inputs.points, (*METHOD, "point"), (*MEASURES, *extra), averages)


def hull_summary(inputs: Inputs) -> pd.DataFrame:
    """The hull metrics over seeds; interval ends are averaged."""
    ends = tuple(name + end for name in GAINS for end in ("_lo", "_hi"))
    by = ("dataset", "experiment", "title", "role")
    return over_seeds(inputs.hull, by, (*GAINS, *HULL_SCORES), ends)


def target_cost(inputs: Inputs, points: pd.DataFrame, dataset: str) -> float | None:
    """VoVNet's mean cost at `report.target_lambda`; None where VoVNet was not evaluated."""
    name, target = inputs.main(dataset), inputs.settings.report.target_lambda
    if name is None:
        return None
    rows = of(points, dataset=dataset, experiment=name)
    there = rows[np.isclose(rows["lambda_cost"], target)]
    if there.empty:
        known = ", ".join(f"{value:g}" for value in rows["lambda_cost"])
        raise ConfigError(
            f"report.target_lambda: {target:g} is not a point of experiment {name!r} ({known})"
        )
    return float(there["avg_cost_mean"].iloc[0])


def operating_point(rows: pd.DataFrame, target_lambda: float, cost: float | None) -> int:
    """The index of the point of one method's sweep that the main table shows."""
    if rows["role"].iloc[0] in ("vovnet", "random"):
        there = rows.index[np.isclose(rows["lambda_cost"], target_lambda)]
        if len(there):
            return int(there.to_numpy()[0])
    if cost is None or rows["avg_cost_mean"].isna().all():
        return int(rows.index.to_numpy()[0])
    nearest = np.nanargmin((rows["avg_cost_mean"] - cost).abs().to_numpy())
    return int(rows.index.to_numpy()[nearest])


def _point_text(settings: Settings, rows: pd.DataFrame) -> dict[str, pd.Series]:
    points = zip(rows["experiment"], rows["point"], strict=True)
    live = rows["mode"].map({"live": " (live)"}).fillna("")
    return {
        "Dataset": rows["dataset"],
        "Method": rows["title"] + live,
        "Point": texts(rows.index, (point_label(settings, *point) or DASH for point in points)),
    }


def _accuracy_text(rows: pd.DataFrame) -> dict[str, pd.Series]:
    return {
        "Accuracy ↑ [%]": with_deviation(100 * rows["accuracy_mean"], 100 * rows["accuracy_sd"]),
        "95% interval": intervals(100 * rows["accuracy_lo"], 100 * rows["accuracy_hi"]),
    }


def _gains(rows: pd.DataFrame, name: str) -> pd.Series:
    means = numbers(rows[f"{name}_mean"])
    ends = intervals(rows[f"{name}_lo"], rows[f"{name}_hi"], empty="")
    return (means + " " + ends).str.strip()


def _shares(rows: pd.DataFrame) -> pd.Series:
    no, coarse, full = (numbers(100 * rows[f"{name}_mean"], digits=0) for name in RATES)
    return (no + " / " + coarse + " / " + full).where(rows["action_rate_no_mean"].notna(), DASH)
