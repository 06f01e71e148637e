"""The paper's tables, each as .csv (numbers), .md and .tex (compact, for people).

Means and standard deviations (ddof 1) are taken over seeds. The 95% interval is the average
over seeds of the bootstrap interval that each seed's row of results.csv carries. A value that
was not measured is empty in CSV and an en dash elsewhere. The .tex files need booktabs and
graphicx, and longtable (one-column pages) for those of more rows than fit on a page.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from vovnet.config import Settings, policy_points
from vovnet.core.layout import Layout
from vovnet.pipeline.manifest import write_manifest
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
from vovnet.report.live_runs import live_latency, profiling
from vovnet.report.points import (
    METHOD,
    RATES,
    accuracy_text,
    operating_points,
    shares_text,
    summary,
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
from vovnet.report.tables.cross_benchmark import cross_benchmark
from vovnet.report.tables.equal_cost import resolution_test
from vovnet.report.tables.oracles import oracle

PROFILE = ("latency_ms", "latency_p50_ms", "latency_p90_ms", "mem_peak_p50_mb", "mem_peak_p90_mb")
SEEDS_NOTE = (
    "Accuracy: mean ± standard deviation over seeds; 95% interval: average over seeds of each "
    "seed's bootstrap interval."
)


def write_tables(settings: Settings, layout: Layout) -> list[Path]:
    """Write every table and, last, `tables.manifest.json`; returns the tables' files."""
    inputs = load_inputs(settings, layout)
    made: list[Callable[[Inputs], Table]] = [
        main_table,
        cross_benchmark,
        pareto,
        action_ratio,
        hull_metrics,
        resolution_test,
        oracle,
        profiling,
    ]
    tables = [make(inputs) for make in made]
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
    """One row per dataset and method, at its operating point; latency where it was run live."""
    gain = [f"gain_at_50{end}" for end in ("_mean", "_sd", "_lo", "_hi")]
    by = ["dataset", "experiment"]
    rows = operating_points(inputs).merge(
        hull_summary(inputs)[[*by, *gain]], on=by, how="left", validate="one_to_one"
    )
    rows["latency_p50_ms"] = live_latency(inputs, rows)
    text = pd.DataFrame(
        _point_text(inputs.settings, rows)
        | _accuracy_text(rows)
        | {
            "Cost ↓": numbers(rows["avg_cost_mean"]),
            "N / C / F [%]": shares_text(rows),
            "P50 ↓ [ms]": numbers(rows["latency_p50_ms"]),
            "Gain at 50% ↑": _gains(rows, "gain_at_50"),
            "Seeds": rows["num_seeds"].astype(str),
        }
    )
    caption = (
        f"Main results. VoVNet and the matched random policy at "
        f"λ = {inputs.settings.report.target_lambda:g}; other sweeps at the point nearest to "
        f"VoVNet in mean cost. {SEEDS_NOTE} N / C / F: shares of the actions NO, COARSE and FULL. "
        "P50: median latency of the same policy run live, question by question. Gain: points of "
        "accuracy over random mixing of the fixed policies at 50% of FULL's cost, with its 95% "
        "interval."
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
        {("", "Dataset"): rows["dataset"], ("", "Method"): rows["title"]}
        | {("Gain ↑ [points]", f"at {name[-2:]}%"): _gains(rows, name) for name in GAINS}
        | {
            ("Captured ↑ [%]", "to oracle"): numbers(100 * rows["hull_to_oracle_captured_mean"]),
            ("Captured ↑ [%]", "to Bayes"): numbers(100 * rows["hull_to_bayes_captured_mean"]),
            ("", "APGR ↑"): numbers(rows["apgr_mean"], digits=2),
            ("", "AIQ ↑"): numbers(rows["aiq_mean"], digits=3),
            ("", "MCC ↑"): numbers(rows["mcc_mean"], digits=2),
        }
    )
    caption = (
        "Gain in accuracy over the mixing hull of the fixed policies at 25, 50 and 75% of FULL's "
        "cost, with the paired bootstrap 95% interval (ends averaged over seeds); share of the "
        "area from the hull to the oracle's curve (a perfect choice at every cost, cheap right "
        "answers first) and to the Bayes router's that a policy captures; average performance gap "
        "recovered (APGR); area under the non-decreasing hull (AIQ); Matthews correlation of "
        "looking with need (MCC). The oracles' own rows are of one point each, joined to not "
        "looking and to FULL by lines. Means over seeds."
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


def hull_summary(inputs: Inputs) -> pd.DataFrame:
    """The hull metrics over seeds; interval ends are averaged."""
    ends = tuple(name + end for name in GAINS for end in ("_lo", "_hi"))
    by = ("dataset", "experiment", "title", "role")
    return over_seeds(inputs.hull, by, (*GAINS, *HULL_SCORES), ends)


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
        "Accuracy ↑ [%]": accuracy_text(rows),
        "95% interval": intervals(100 * rows["accuracy_lo"], 100 * rows["accuracy_hi"]),
    }


def _gains(rows: pd.DataFrame, name: str) -> pd.Series:
    means = numbers(rows[f"{name}_mean"])
    ends = intervals(rows[f"{name}_lo"], rows[f"{name}_hi"], empty="")
    return (means + " " + ends).str.strip()
