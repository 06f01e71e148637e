"""The parts of the pages under docs/ that follow from the code; `make docs` writes them.

Such a part stands in a page between `<!-- generated: NAME -->` and `<!-- end -->`. To add one,
write its function, give it an entry in `PARTS`, and put the two marks where it belongs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path

from vovnet.core.files import read_text, write_text
from vovnet.data.formats import FORMATS, load_format
from vovnet.evaluation.columns import RESULTS, Column
from vovnet.evaluation.scoring import SCORERS, load_scorer
from vovnet.policies import MODULES, named_kind
from vovnet.report.discovery import discover
from vovnet.views.reductions import REDUCTIONS, reduction_class
from workflow.flops import flop_rows, saving_rows
from workflow.settings_reference import setting_tables, step_names

REPORTED = [f"vovnet.report.{name}" for name in ("tables", "figures", "reliability", "ablations")]
DOCS = Path(__file__).resolve().parents[1] / "docs"
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def dataset_formats() -> str:
    """The table of docs/datasets.md, a row for each format."""
    rows = []
    for name in FORMATS:
        found = load_format(name)
        scorer = f"`{found.scorer}`"
        rows.append([f"`{name}`", found.files, found.answers, scorer, found.category])
    return table(["format", "files that are read", "answers", "scored by", "category"], rows)


def scorers() -> str:
    """The table of docs/datasets.md, a row for each scorer."""
    found = {name: load_scorer(name) for name in SCORERS}
    rows = [[f"`{name}`", scorer.title, scorer.follows] for name, scorer in found.items()]
    return table(["scorer", "how it scores", "whose verdicts it gives"], rows)


def result_columns() -> str:
    """The table of results.csv in docs/architecture.md, a row for each column."""
    rates = Column("action_rate_<action>", meaning="share of questions with this action")
    place = [column.name for column in RESULTS].index("action_ratio")
    columns = [*RESULTS[:place], rates, *RESULTS[place:]]
    return table(["column", "meaning"], [[f"`{item.name}`", item.meaning] for item in columns])


def flops() -> str:
    """The table of docs/backbones.md, a row for each model and view."""
    headings = ["model", "view", "vision tokens", "text pass", "vision tower"]
    headings += ["language model after it", "language model alone"]
    return table(headings, flop_rows())


def reductions() -> str:
    """The table of docs/policies.md, a row for each reduction."""
    found = [reduction_class(name) for name in REDUCTIONS]
    rows = [[f"`{item.example}`", item.summary, f"`{item.column}`"] for item in found]
    return table(["spelled as", "what it does", "column of results.csv"], rows)


def savings() -> str:
    """What reductions save of docs/views.md, a row for each view."""
    headings = ["view", "vision tokens", "vision tower", "language model", "together", "of FULL's"]
    return table(headings, saving_rows())


def policies() -> str:
    """The table of docs/policies.md, a row for each policy."""
    rows = []
    for name in MODULES:
        kind = named_kind(name)
        options = kind.options.model_fields if kind.options else ()
        keys = [*kind.settings, *(f"options.{key}" for key in options)]
        reads = [f"`{key}`" for key in keys]
        reads += ["correctness"] if kind.reads_correctness else []
        reads += ["`data.router_fit`"] if kind.router else []
        rows.append([f"`{name}`" if name else "(none)", kind.description, ", ".join(reads)])
    return table(["`policy.baseline_name`", "what it does", "reads"], rows)


def report_tables() -> str:
    """What the tables of a report are about, in docs/results.md."""
    return table(["table", "what it tells"], _discovered("table"))


def report_figures() -> str:
    """What the figures of a report show, in docs/results.md."""
    return table(["figure", "what it shows"], _discovered("figure"))


def _discovered(kind: str) -> list[list[str]]:
    """Name and first sentence of the tables or figures of a report, in their order."""
    found = [item for package in REPORTED for item in discover(package) if item.kind == kind]
    texts = {item.name: import_module(item.module).__doc__ or "" for item in found}
    return [[f"`{name}`", " ".join(text.split("\n\n")[0].split())] for name, text in texts.items()]


def settings() -> str:
    """docs/settings.md: a table for each section of the configuration."""
    headings = ["setting", "what it says", "values", "default", "read by"]
    tables = (
        f"## {title}\n{text}\n\n{table(headings, rows)}" for title, text, rows in setting_tables()
    )
    return f"{step_names()}\n\n{chr(10).join(tables)}"


PARTS: dict[str, Callable[[], str]] = {
    "dataset_formats": dataset_formats,
    "flops": flops,
    "reductions": reductions,
    "savings": savings,
    "result_columns": result_columns,
    "policies": policies,
    "report_figures": report_figures,
    "report_tables": report_tables,
    "scorers": scorers,
    "settings": settings,
}


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def current(page: str) -> str:
    """The text of a page with all its generated parts as the code has them now."""
    return PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}{found[3]}", page)


if __name__ == "__main__":
    for path in sorted(DOCS.glob("*.md")):
        write_text(path, current(read_text(path)))
