"""Checks that two ways to the same answer agree: live and replay, with and without cache reuse.

In float32 on the CPU they are equal, and a difference is a fault. Elsewhere rounding depends on
the shapes of batches, and in bf16 may turn a near tie between two tokens: there a share of
differing answers is tolerated, and more are reported.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

from vovnet.config import policy_points, run_settings
from vovnet.config.experiments import experiment_seeds, experiment_sets
from vovnet.core.files import read_json
from vovnet.core.records import read_table
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS as COLUMNS
from vovnet.report.checks import Finding, NotRunError, Rules
from vovnet.report.inputs import Inputs, of, per_seed
from vovnet.report.live_runs import profiles
from vovnet.report.render import percent

ORDER = 40
MAX_DIFFERENT = 0.01
"""Share of the answers that may differ where equality is no contract."""


def live_equals_replay(inputs: Inputs, *, exact: bool) -> Iterator[Finding]:
    live = {name: item for name, item in inputs.settings.experiments.items() if item.mode == "live"}
    if not live:
        raise NotRunError("no experiment has the mode 'live'")
    for name, item in live.items():
        if item.match or (_is_exact(inputs, name) and _observed_exactly(inputs, name)) != exact:
            continue
        for point, policy in enumerate(policy_points(inputs.settings, name)):
            twin = next(inputs.twins("replay", item.run, policy), None)
            if twin is not None:
                yield from _compare_samples(inputs, (name, point), twin, exact)


def cache_reuse_changes_nothing(inputs: Inputs, *, exact: bool) -> Iterator[Finding]:
    rows = profiles(inputs)
    rows = rows[rows["num_different"].notna()]
    if rows.empty:
        raise NotRunError("no experiment has compare_cache_reuse: true")
    for _, row in rows.iterrows():
        if _is_exact(inputs, row["experiment"]) == exact:
            text = f"{row['num_different']:g} of {row['num_samples']:g} answers differ"
            text += f", time ratio {row['latency_ratio']:.2f}"
            passed = _agree(row["num_different"], row["num_samples"], exact)
            yield Finding(f"{row['dataset']} {row['experiment']}", passed, text)


def _agree(different: float, samples: float, exact: bool) -> bool:
    return bool(different <= (0 if exact else MAX_DIFFERENT) * samples)


def _is_exact(inputs: Inputs, name: str) -> bool:
    """Whether a live experiment ran in float32 on the CPU."""
    run = run_settings(inputs.settings, inputs.settings.experiments[name].run)
    summary = read_json(inputs.layout.eval(name) / "summary.json")
    return run.model.dtype == "float32" and summary.get("device") == "cpu"


def _observed_exactly(inputs: Inputs, name: str) -> bool:
    """Whether what a live experiment is compared with was observed on the CPU."""
    run, settings = inputs.settings.experiments[name].run, inputs.settings
    return all(
        read_json(inputs.layout.observation_manifest(run, *place, "actions")).get("device") == "cpu"
        for place in product(experiment_seeds(settings, name), experiment_sets(settings, name))
    )


def _compare_samples(
    inputs: Inputs, live: tuple[str, int], replay: tuple[str, int], exact: bool
) -> Iterator[Finding]:
    by, compared = ["dataset", "seed", "id"], ["prediction", "action", "cost"]
    left, right = (
        of(read_table(inputs.layout.eval(name) / "samples.parquet", COLUMNS), point=point)[
            [*by, *compared]
        ]
        for name, point in (live, replay)
    )
    joined = left.merge(right, on=by, how="left", suffixes=("", "_replay"), indicator=True)
    equal = joined["_merge"] == "both"
    for column in compared:
        equal &= joined[column] == joined[f"{column}_replay"]
    for dataset, seed, rows in per_seed(joined.assign(equal=equal)):
        same = int(rows["equal"].sum())
        text = f"{same} of {len(rows)} samples equal {replay[0]}"
        passed = _agree(len(rows) - same, len(rows), exact)
        yield Finding(f"{dataset} {live[0]}", passed, text, seed)


def _compare(look: Callable[..., Iterator[Finding]], exact: bool, inputs: Inputs) -> list[Finding]:
    findings = list(look(inputs, exact=exact))
    if not findings:
        where = "in" if exact else "in other than"
        raise NotRunError(f"nothing was compared {where} float32 on the CPU")
    return findings


RULES = Rules()
SAME_TOKENS = "with and without cache reuse the generated tokens are the same"
for _block, _name, _look in (
    ("live", "live equals replay, sample by sample", live_equals_replay),
    ("F2", SAME_TOKENS, cache_reuse_changes_nothing),
):
    RULES.invariant(_block, f"{_name} (float32 on the CPU)")(partial(_compare, _look, True))
    RULES.expectation(_block, f"{_name}, {percent(1 - MAX_DIFFERENT)} or more (elsewhere)")(
        partial(_compare, _look, False)
    )
