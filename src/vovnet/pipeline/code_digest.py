"""Which modules a command is made of, and a hash of what they say.

Snakemake does not see that an imported module was edited. Each rule therefore carries the
digest of exactly the modules that its command imports: editing a plot must not train again.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = __name__.split(".")[0]
ROOT = Path(__file__).resolve().parents[1]

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_Naming = ast.Import | ast.ImportFrom | ast.Constant


def import_closure(module: str) -> list[Path]:
    """Source files of `module` and of every module of the package that it can import.

    The walk is static. It follows imports anywhere in a file, the `__init__` of each package
    on the way, and string constants that name a module, as in a table for `import_module`.
    """
    if _source(module) is None:
        raise ValueError(f"{module}: no such module in {PACKAGE}")
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_imported(name))
    return sorted(path for name in found if (path := _source(name)) is not None)


@cache
def closure_digest(module: str) -> str:
    """SHA-256 over the syntax trees of a module's closure; comments and docstrings do not count."""
    digest = hashlib.sha256()
    for path in import_closure(module):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        digest.update(_read(path)[1].encode() + b"\0")
    return digest.hexdigest()


def _source(module: str) -> Path | None:
    """The file of a module of the package, None for every other name."""
    parts = module.split(".")
    if parts[0] != PACKAGE or not all(part.isidentifier() for part in parts):
        return None
    path = ROOT.joinpath(*parts[1:])
    candidates = [path / "__init__.py", path.with_suffix(".py")]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


@cache
def _imported(module: str) -> tuple[str, ...]:
    """Modules of the package that `module` imports itself, and the packages that hold it."""
    path = _source(module)
    assert path is not None, module
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    nodes = _read(path)[0]
    names = {module, *(name for node in nodes for name in _names(node, package))}
    parents = {name.rsplit(".", depth)[0] for name in names for depth in range(name.count(".") + 1)}
    return tuple(sorted(name for name in parents if _source(name) is not None))


def _names(node: ast.AST, package: str) -> Iterator[str]:
    """Texts that may name an imported module; those that do not are sorted out later."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            base = f"{above}.{base}" if base else above
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


@cache
def _read(path: Path) -> tuple[list[ast.AST], str]:
    """The nodes of a file that may name a module, and its dumped tree without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, _Documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return [node for node in nodes if isinstance(node, _Naming)], ast.dump(tree)
