"""What good results show. A failure is reported and stops nothing."""

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from vovnet.config import policy_points, run_settings
from vovnet.config.experiments import fallback_of
from vovnet.evaluation.columns import GAIN_SHARES, rate_columns
from vovnet.policies.base import read_options
from vovnet.policies.cascade import CascadeOptions
from vovnet.report.checks import Finding, NotRunError, Rules, baseline_rows, beside_oracle
from vovnet.report.inputs import TOLERANCE, Inputs, each, of, over_seeds, per_seed
from vovnet.report.render import label, number, percent
from vovnet.report.training_logs import load_calibration, load_train_log, train_logs

MAX_SEED_SD = 0.02
MIN_GAIN = 3.0
MIN_BAYES_CAPTURED = 0.7
MIN_FULL_ACCURACY = 0.85
MAX_ECE_NATS = 0.25
SLOPES = (0.7, 1.4)
MIN_SHARE_DIFFERENCE = 0.05

Place = tuple[str, int, pd.DataFrame]
"""What is looked at (a dataset and an experiment), its seed, and its rows."""

ORDER = 20
RULES = Rules()


@RULES.expectation("A0", "checkpoints are kept every training.save_every steps")
def checkpoints_on_schedule(inputs: Inputs) -> Iterator[Finding]:
    for run, seeds in inputs.trained_runs().items():
        every = run_settings(inputs.settings, run).training.save_every
        log = load_train_log(inputs, run, seeds)
        for path, seed, stage in train_logs(inputs, run, seeds):
            names = [item.stem.rpartition("-")[2] for item in path.parent.glob("checkpoint-*")]
            steps = sorted(int(name) for name in names if name.isdigit())
            if not steps:
                continue
            last = int(of(log, seed=seed, folder_stage=stage)["step"].max())
            regular = all(step % every == 0 or step == last for step in steps)
            text = f"kept at {steps}, every {every}, last step {last}"
            yield Finding(f"{run} stage {stage}", regular, text, seed)


@RULES.expectation("A1", "avg_cost decreases as lambda_cost increases")
def cost_falls(inputs: Inputs) -> Iterator[Finding]:
    for where, seed, rows in _lambda_sweeps(inputs):
        costs = rows["avg_cost"].to_numpy()
        falls = bool((np.diff(costs) <= TOLERANCE).all() and costs[-1] < costs[0])
        yield Finding(where, falls, f"{costs[0]:.2f} to {costs[-1]:.2f}", seed)


@RULES.expectation("A1", "FULL becomes rarer and NO more frequent as lambda_cost increases")
def shares_shift(inputs: Inputs) -> Iterator[Finding]:
    blind = inputs.blind_rate
    for where, seed, rows in _lambda_sweeps(inputs):
        no, full = (rows[rate].to_numpy() for rate in (blind, "action_rate_full"))
        monotone = (np.diff(full) <= TOLERANCE).all() and (np.diff(no) >= -TOLERANCE).all()
        text = f"FULL {percent(full[0])} to {percent(full[-1])}"
        yield Finding(where, monotone and full[-1] < full[0], text, seed)


@RULES.expectation("A2", f"accuracy varies by at most {100 * MAX_SEED_SD:g} points (sd) over seeds")
def seeds_agree(inputs: Inputs) -> Iterator[Finding]:
    by = ["dataset", "experiment", "point"]
    for dataset in filter(inputs.main, inputs.datasets()):
        rows = of(inputs.points, dataset=dataset, experiment=inputs.main(dataset))
        spread = over_seeds(rows, by, ["accuracy"])
        if (spread["num_seeds"] < 2).any():
            raise NotRunError("it needs two seeds or more")
        worst = float(spread["accuracy_sd"].max())
        text = f"largest sd {number(100 * worst, 2)} points over {len(spread)} values of lambda"
        yield Finding(dataset, worst <= MAX_SEED_SD, text)


@RULES.expectation("B2", "a threshold that looks more often costs more")
def cost_follows_threshold(inputs: Inputs) -> Iterator[Finding]:
    """Entropy looks above the threshold, margin below it: lower entropy, more FULL actions."""
    first = inputs.blind_rate
    for name in baseline_rows(inputs, "uncertainty_threshold")["experiment"].unique():
        policy = policy_points(inputs.settings, name)[0]
        order = 1 if policy.baseline_uncertainty == "entropy" else -1
        for where, seed, rows in _sweeps(of(inputs.points, experiment=name), "threshold"):
            costs, blind = rows["avg_cost"].to_numpy(), rows[first].to_numpy()
            steps = (np.diff(costs[::order]), -np.diff(blind[::order]))
            text = (
                f"{costs[0]:.2f} to {costs[-1]:.2f}, {label(policy.baseline_vision)}"
                f" {percent(1 - blind[0])} to {percent(1 - blind[-1])} as the threshold rises"
            )
            yield Finding(where, all((step <= TOLERANCE).all() for step in steps), text, seed)


@RULES.expectation("cascade", "a cascade that is content less often costs more")
def cost_follows_doubt(inputs: Inputs) -> Iterator[Finding]:
    """It goes on where the entropy is above the threshold, or another confidence below."""
    for name in baseline_rows(inputs, "cascade")["experiment"].unique():
        if "options.threshold" not in inputs.settings.experiments[name].sweep:
            continue
        options = read_options(policy_points(inputs.settings, name)[0], CascadeOptions)
        order = 1 if options.confidence == "entropy" else -1
        swept = of(inputs.points, experiment=name).dropna(subset="threshold")
        for where, seed, rows in _sweeps(swept, "threshold"):
            costs = rows["avg_cost"].to_numpy()
            text = f"{costs[0]:.2f} to {costs[-1]:.2f} as the threshold rises"
            yield Finding(where, bool((np.diff(costs[::order]) <= TOLERANCE).all()), text, seed)


@RULES.expectation("B3", "the matched random policy takes each action as often as its target")
def random_matches_shares(inputs: Inputs) -> Iterator[Finding]:
    """Four standard errors of a share are allowed."""
    for where, seed, rows in _matched(inputs):
        rates = rate_columns(inputs.actions)
        gaps = [(rows[rate] - rows[f"{rate}_target"]).abs().max() for rate in rates]
        allowed = 2 / math.sqrt(rows["num_samples"].min())
        text = f"largest difference {max(gaps):.4f}, allowed {allowed:.4f}"
        yield Finding(where, max(gaps) <= allowed, text, seed)


@RULES.expectation("B3", "the matched random policy costs as much as its target")
def random_matches_cost(inputs: Inputs) -> Iterator[Finding]:
    """Four standard errors of a cost between 0 and FULL's are allowed."""
    full = baseline_rows(inputs, "always_full").groupby(["dataset", "seed"])["avg_cost"].first()
    for where, seed, rows in _matched(inputs):
        key = (rows["dataset"].iloc[0], seed)
        if key not in full.index:
            continue
        gap = float((rows["avg_cost"] - rows["avg_cost_target"]).abs().max())
        allowed = 2 / math.sqrt(rows["num_samples"].min()) * float(full[key])
        text = f"largest difference {gap:.4f}, allowed {allowed:.4f}"
        yield Finding(where, gap <= allowed, text, seed)


@RULES.expectation("B3", "the matched random policy gains nothing over the mixing hull")
def random_gains_nothing(inputs: Inputs) -> Iterator[Finding]:
    """It may lose: at a point of the hull that mixes two actions, it shows a third one, too."""
    rows = baseline_rows(inputs, "random_policy_matched")
    names = [name for name in rows["experiment"].unique() if not _matches_buckets(inputs, name)]
    for dataset, seed, row in each(inputs.hull[inputs.hull["experiment"].isin(names)]):
        for name in GAIN_SHARES:
            low, high = row[f"{name}_lo"], row[f"{name}_hi"]
            if math.isnan(low) or math.isnan(high):
                continue
            yield Finding(f"{dataset} {name}", low <= 0, _gain(row, name), seed)


@RULES.expectation("H1", "the oracle costs at most as much as VoVNet at the target lambda")
def oracle_is_cheaper(inputs: Inputs) -> Iterator[Finding]:
    for _, _, rows in beside_oracle(inputs):
        for dataset, seed, row in each(inputs.at_target(rows)):
            text = f"{row['avg_cost_oracle']:.2f} against {row['avg_cost']:.2f}"
            passed = row["avg_cost_oracle"] <= row["avg_cost"] + TOLERANCE
            yield Finding(dataset, passed, text, seed)


@RULES.expectation("hull", f"VoVNet gains {MIN_GAIN:g} points or more at 50% of FULL's cost")
def vovnet_gains(inputs: Inputs) -> Iterator[Finding]:
    """The lower end of the interval must lie above 0."""
    for dataset, seed, row in each(_vovnet_hull(inputs)):
        passed = row["gain_at_50"] >= MIN_GAIN and row["gain_at_50_lo"] > 0
        yield Finding(dataset, passed, _gain(row, "gain_at_50"), seed)


@RULES.expectation("hull", f"VoVNet captures {MIN_BAYES_CAPTURED:.0%} of what the router gains")
def vovnet_captures(inputs: Inputs) -> Iterator[Finding]:
    for dataset, seed, row in each(_vovnet_hull(inputs)):
        captured = row["hull_to_bayes_captured"]
        if math.isnan(captured):
            continue
        yield Finding(dataset, captured >= MIN_BAYES_CAPTURED, percent(captured), seed)


@RULES.expectation("score", "score differences are calibrated against loss differences")
def scores_are_calibrated(inputs: Inputs) -> Iterator[Finding]:
    bins = load_calibration(inputs)
    for _, row in bins.drop_duplicates(["seed", "pair"]).iterrows():
        passed = row["ece"] <= MAX_ECE_NATS and SLOPES[0] <= row["slope"] <= SLOPES[1]
        text = f"slope {row['slope']:.2f}, ECE {row['ece']:.3f} nats"
        yield Finding(row["pair"], passed, text, int(row["seed"]))


@RULES.expectation("need", f"FULL answers {MIN_FULL_ACCURACY:.0%} or more")
def full_answers(inputs: Inputs) -> Iterator[Finding]:
    for dataset, seed, row in each(baseline_rows(inputs, "always_full")):
        accuracy = row["accuracy"]
        yield Finding(dataset, accuracy >= MIN_FULL_ACCURACY, percent(accuracy), seed)


@RULES.expectation("need", "the need for FULL differs between datasets, and VoVNet follows it")
def vovnet_follows_need(inputs: Inputs) -> Iterator[Finding]:
    """Need is the oracle's share of FULL; VoVNet must order the datasets alike."""
    need = _full_shares(baseline_rows(inputs, "oracle"))
    shares = _full_shares(inputs.at_target(inputs.points[inputs.is_main(inputs.points)]))
    known = [name for name in need.index if name in shares.index]
    if len(known) < 2:
        raise NotRunError("it needs two datasets or more")
    spread = float(need[known].max() - need[known].min())
    text = ", ".join(f"{name} {percent(need[name])}" for name in known)
    yield Finding("oracle's FULL share", spread >= MIN_SHARE_DIFFERENCE, text)
    for first, second in combinations(known, 2):
        wanted, got = need[second] - need[first], shares[second] - shares[first]
        if abs(wanted) >= MIN_SHARE_DIFFERENCE:
            text = f"need {_signed(wanted)}, VoVNet {_signed(got)} points"
            yield Finding(f"{second} against {first}", wanted * got > 0, text)


def _sweeps(points: pd.DataFrame, key: str) -> Iterator[Place]:
    """Rows in the order of `key` of every sweep of two points or more."""
    for name, found in points.groupby("experiment", sort=False):
        for dataset, seed, rows in per_seed(found):
            if len(rows) > 1:
                yield f"{dataset} {name}", seed, rows.sort_values(key)


def _lambda_sweeps(inputs: Inputs) -> Iterator[Place]:
    stanzas = inputs.settings.experiments
    names = [
        name
        for name in inputs.experiments("")
        if "lambda_cost" in stanzas[name].sweep and fallback_of(inputs.settings, name) is None
    ]
    if not names:
        raise NotRunError("no experiment sweeps lambda_cost of the learned policy")
    points = inputs.points[inputs.points["experiment"].isin(names)]
    return _sweeps(points, "lambda_cost")


def _matches_buckets(inputs: Inputs, name: str) -> bool:
    """Ratios per bucket of entropy carry what entropy knows, so they may gain."""
    match = inputs.settings.experiments[name].match
    return match is not None and match.buckets is not None


def _matched(inputs: Inputs) -> Iterator[Place]:
    """Rows of each matched policy beside those of its target, in columns `*_target`."""
    for name in baseline_rows(inputs, "random_policy_matched")["experiment"].unique():
        match = inputs.settings.experiments[name].match
        if match is None:
            continue
        by = ["dataset", "seed", match.column]
        target = of(inputs.points, experiment=match.experiment)
        joined = of(inputs.points, experiment=name).merge(target, on=by, suffixes=("", "_target"))
        for dataset, seed, rows in per_seed(joined):
            yield f"{dataset} {name}", seed, rows


def _vovnet_hull(inputs: Inputs) -> pd.DataFrame:
    if not any(map(inputs.main, inputs.datasets())):
        raise NotRunError("no experiment has the role 'vovnet'")
    return inputs.hull[inputs.is_main(inputs.hull)]


def _full_shares(rows: pd.DataFrame) -> pd.Series:
    return rows.groupby("dataset", sort=False)["action_rate_full"].mean()


def _signed(share: float) -> str:
    return ("+" if share > 0 else "") + number(100 * share)


def _gain(row: pd.Series, name: str) -> str:
    ends = ", ".join(number(row[f"{name}{end}"]) for end in ("_lo", "_hi"))
    return f"{number(row[name])} points [{ends}]"
