"""Tables, figures and checks are discovered: a module of a package is one of them.

The module's name is that of the files it makes; names that start with `_` are helpers. A table's
module has a function `table`, a figure's `figure`, and either may have `ORDER`, its place in a
document. Both are read from the source, so that planning imports neither pandas nor matplotlib.
"""

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from vovnet.core.errors import VovnetError
from vovnet.core.files import read_text

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {
    "table": (".csv", ".md", ".tex", "_appendix.tex"),
    "figure": (".pdf", ".png", "_column.pdf", "_column.png"),
    "checks": (),
}
LAST = 1000
"""The place of a module without `ORDER`."""


@dataclass(frozen=True)
class Found:
    """A discovered module: its kind, of `SUFFIXES`, and its place among the others."""

    module: str
    kind: str
    order: int

    @property
    def name(self) -> str:
        return self.module.rpartition(".")[2]

    @property
    def files(self) -> list[str]:
        return [self.name + suffix for suffix in SUFFIXES[self.kind]]


def discover(package: str) -> list[Found]:
    """The modules of a package in their order, read from its folder without importing them."""
    found = []
    for path in ROOT.joinpath(*package.split(".")[1:]).glob("[!_]*.py"):
        text = read_text(path)
        kind = re.search(r"^def (table|figure)\(|^(RULES)\b", text, re.MULTILINE)
        if kind is None:
            raise VovnetError(f"{path}: expected a function `table` or `figure`, or a list `RULES`")
        order = re.search(r"^ORDER = (\d+)$", text, re.MULTILINE)
        place = int(order[1]) if order else LAST
        found.append(Found(f"{package}.{path.stem}", kind[1] or "checks", place))
    return sorted(found, key=lambda item: (item.order, item.name))


def made_by(package: str) -> list[str]:
    """Names of the files that a package's tables and figures are written to."""
    return [name for item in discover(package) for name in item.files]


def load(package: str) -> dict[str, ModuleType]:
    """The modules of a package, imported: the name of what each makes -> the module."""
    return {item.name: import_module(item.module) for item in discover(package)}
