"""The sanity report: what must hold (invariants) and what good results show (expectations).

A failed invariant means that the numbers cannot be trusted: the report is then called
`sanity.failed.md`, `sanity.md` does not exist and the command fails. A failed expectation is
only reported.
"""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from vovnet.config import Settings
from vovnet.core.errors import VovnetError
from vovnet.core.files import write_json, write_text
from vovnet.core.layout import Layout
from vovnet.report.checks._check import BLOCKS, Check, Rule, run_check
from vovnet.report.discovery import load
from vovnet.report.inputs import finish, load_inputs
from vovnet.report.render import to_markdown

PASSED, FAILED = "sanity", "sanity.failed"
WORDS = {True: "pass", False: "**FAIL**", None: "not run"}


def write_sanity(settings: Settings, layout: Layout) -> list[Check]:
    """Run every check and write `sanity.md` and `sanity.json`; raises if an invariant fails."""
    inputs = load_inputs(settings, layout)
    checks = [run_check(rule, inputs) for rule in all_rules()]
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
    return f"# Sanity checks: {title}\n\n{'; '.join(counts)}.\n\n{to_markdown(table)}"
