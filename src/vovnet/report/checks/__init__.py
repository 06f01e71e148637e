"""The sanity report: what must hold (invariants) and what good results show (expectations).

A check is a function from the report's inputs to findings, one per place it looked at. Its module
adds it to its `RULES` by a decorator. A check whose experiments are not in the configuration raises
`NotRunError` with the reason.

What fails is listed first, then what was not run. A failed invariant means that the numbers cannot
be trusted: the report is then called `sanity.failed.md`, `sanity.md` does not exist and the command
fails. A failed expectation is only reported.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from vovnet.config import Settings
from vovnet.core.errors import VovnetError
from vovnet.core.files import write_json, write_text
from vovnet.core.layout import Layout
from vovnet.report.discovery import load
from vovnet.report.inputs import SAME, Inputs, finish, load_inputs, per_seed
from vovnet.report.render import to_markdown

Kind = Literal["invariant", "expectation"]

BLOCKS = (
    *("run", "A0", "A1", "A2", "B1", "B2", "B3", "B4", "B5", "B6", "B7"),
    *("C1", "D2", "D3", "E1", "F2", "H1", "live", "hull", "score", "need"),
)
"""The order of checks: the run, the specification's blocks, then what the design adds."""

MAX_LISTED = 9
PASSED, FAILED = "sanity", "sanity.failed"
WORDS = {False: "**FAIL**", None: "not run", True: "pass"}
"""The outcomes of a check in the order in which they are listed."""


class NotRunError(Exception):
    """Why a check cannot be run on these results."""


@dataclass(frozen=True)
class Finding:
    """What a check found at one place, such as a dataset, and in one seed if it looks at each."""

    where: str
    passed: bool | np.bool_
    numbers: str
    seed: int | None = None


Look = Callable[[Inputs], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """A registered check."""

    block: str
    name: str
    kind: Kind
    look: Look


@dataclass(frozen=True)
class Check:
    """The outcome of a check; `passed` is None where it was not run."""

    block: str
    name: str
    kind: Kind
    passed: bool | None
    numbers: str


class Rules(list[Rule]):
    """The checks of a module; `invariant` and `expectation` decorate a function that is one."""

    def invariant(self, block: str, name: str) -> Callable[[Look], Look]:
        return partial(self._add, block, name, "invariant")

    def expectation(self, block: str, name: str) -> Callable[[Look], Look]:
        return partial(self._add, block, name, "expectation")

    def _add(self, block: str, name: str, kind: Kind, look: Look) -> Look:
        self.append(Rule(block, name, kind, look))
        return look


def write_sanity(settings: Settings, layout: Layout) -> list[Check]:
    """Run every check and write `sanity.md` and `sanity.json`; raises if an invariant fails."""
    inputs = load_inputs(settings, layout)
    found, order = (run_check(rule, inputs) for rule in all_rules()), list(WORDS)
    checks = sorted(found, key=lambda check: (order.index(check.passed), check.kind != "invariant"))
    broken = [check for check in checks if check.kind == "invariant" and check.passed is False]
    for name in (PASSED, FAILED):
        for suffix in (".md", ".json", ".manifest.json"):
            (layout.paper / f"{name}{suffix}").unlink(missing_ok=True)
    name = FAILED if broken else PASSED
    written = [layout.paper / f"{name}.json", layout.paper / f"{name}.md"]
    write_json(written[0], [asdict(check) for check in checks])
    write_text(written[1], to_report(checks, settings.report.title))
    if broken:
        rest = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise VovnetError(
            f"sanity: invariant {broken[0].block} {broken[0].name!r} fails{rest} "
            f"({broken[0].numbers}); see {layout.paper / FAILED}.md"
        )
    manifest = layout.paper / f"{PASSED}.manifest.json"
    finish(manifest, "sanity", settings, layout, inputs.files, written)
    return checks


def all_rules() -> list[Rule]:
    """The rules of every module, block by block; a block that `BLOCKS` lacks comes last."""
    rules = [rule for module in load("vovnet.report.checks").values() for rule in module.RULES]
    return sorted(rules, key=lambda rule: [*BLOCKS, rule.block].index(rule.block))


def to_report(checks: list[Check], title: str) -> str:
    """The checks as a Markdown page with a count of what failed."""
    rows = [(item.block, item.name, item.kind, WORDS[item.passed], item.numbers) for item in checks]
    table = pd.DataFrame(rows, columns=["Block", "Check", "Kind", "Result", "Numbers"])
    counts = []
    for kind in ("invariant", "expectation"):
        found = [check.passed for check in checks if check.kind == kind]
        told = f"{found.count(True)} pass, {found.count(False)} fail, {found.count(None)} not run"
        counts.append(f"{kind}s: {told}")
    return f"# Sanity checks: {title}\n\n{'; '.join(counts)}.\n\n{to_markdown(table, padded=False)}"


def run_check(rule: Rule, inputs: Inputs) -> Check:
    """Run one check; where it fails, its numbers name the places that failed."""
    found, reason = [], "no results to compare"
    try:
        found = list(rule.look(inputs))
    except NotRunError as error:
        reason = str(error)
    if not found:
        return Check(rule.block, rule.name, rule.kind, None, f"not run: {reason}")
    failed = [finding for finding in found if not finding.passed]
    numbers = f"{len(found) - len(failed)} of {len(found)} hold. {_listed(failed or found)}"
    return Check(rule.block, rule.name, rule.kind, not failed, numbers)


def _listed(findings: list[Finding]) -> str:
    """One text per place: its seeds side by side, or only one of them where they agree."""
    places: dict[str, list[Finding]] = {}
    for finding in findings:
        places.setdefault(finding.where, []).append(finding)
    listed = []
    for where, found in places.items():
        seeds = [str(item.seed) for item in found if item.seed is not None]
        told = f" (seed{'s'[: len(seeds) - 1]} {', '.join(seeds)})" if seeds else ""
        texts = [item.numbers for item in found]
        texts = texts[:1] if len(set(texts)) == 1 else texts
        listed.append(f"{where}{told}: {' / '.join(texts)}")
    more = [f"and {len(listed) - MAX_LISTED} more"] if len(listed) > MAX_LISTED else []
    return "; ".join([*listed[:MAX_LISTED], *more])


# ---- rows that checks look at ------------------------------------------------------------


def baseline_rows(inputs: Inputs, baseline: str) -> pd.DataFrame:
    """The points of a baseline as it is."""
    own = inputs.points["experiment"].isin(inputs.experiments(baseline))
    rows = inputs.plain(inputs.points[own])
    if rows.empty:
        raise NotRunError(
            f"no experiment has the policy {baseline} as it is, without fallback and reduction"
        )
    return rows


def beside_oracle(inputs: Inputs) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """VoVNet's points beside the oracle over the same model and samples, per dataset and seed."""
    oracle = baseline_rows(inputs, "oracle")[[*SAME, "accuracy", "avg_cost"]]
    names = [name for name in map(inputs.main, inputs.datasets()) if name is not None]
    vovnet = inputs.points[inputs.points["experiment"].isin(names)]
    return per_seed(vovnet.merge(oracle, on=SAME, suffixes=("", "_oracle")))
