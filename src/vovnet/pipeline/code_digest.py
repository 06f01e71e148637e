"""Which modules compute a result, and a hash of what they say.

Snakemake does not see that an imported module was edited. Each rule therefore carries the
digest of the modules that compute its result: editing a plot must not train again. These are
the modules that the computing module imports, and the plug-ins that the step's settings name.
Modules that cannot change a result are left out: declarations (settings enter a key by value),
and what only carries a result around.

Every job asks for such hashes, and taking all sources apart takes seconds. What one source says
is therefore kept beside its byte code, and holds for exactly the same source.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path

from vovnet.core.errors import DataError
from vovnet.core.files import read_json, sha256_bytes, write_json
from vovnet.pipeline.catalogue import FAMILIES, FORMATS, POLICIES, REDUCTIONS, SCORERS

PACKAGE = __name__.split(".")[0]
ROOT = Path(__file__).resolve().parents[1]

LEFT_OUT = (
    *("vovnet.core.errors", "vovnet.core.files", "vovnet.core.layout", "vovnet.core.progress"),
    *("vovnet.core.recorded", "vovnet.core.registry"),
    *("vovnet.config", "vovnet.pipeline", "vovnet.machine", "vovnet.commands", "vovnet.cli"),
)
"""Modules and packages that are in no digest, except in that of a step which they compute."""

REGISTRIES = {FORMATS, SCORERS, FAMILIES, POLICIES, REDUCTIONS}
"""Modules that hold a table of names to modules; a new entry must not change other results."""


@cache
def code_digest(module: str, plugins: tuple[str, ...] = ()) -> str:
    """SHA-256 over the syntax trees of the modules that compute a result.

    Comments and docstrings do not count. `plugins` are further modules, which settings name.
    """
    digest = hashlib.sha256()
    for path in code_files(module, plugins):
        for text in (path.relative_to(ROOT).as_posix(), _facts(path).code):
            digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def code_files(module: str, plugins: Iterable[str] = ()) -> list[Path]:
    """Source files of `module`, of `plugins` and of all that they import, in a stable order.

    The walk is static. It follows imports anywhere in a file except those for type checkers,
    and the `__init__` of each package on the way. What is left out is not followed either; of a
    registry, imports are followed, and its table is not.
    """
    found: set[str] = set()
    waiting = [module, *plugins]
    for name in waiting:
        if _source(name) is None:
            raise ValueError(f"{name}: no such module in {PACKAGE}")
    own = _package_of(_file(module)) if _is_left_out(module) else ""
    while waiting:
        name = waiting.pop()
        if name not in found and (_is_in(name, own) or not _is_left_out(name)):
            found.add(name)
            waiting.extend(_imported(name))
    counted = found - {PACKAGE, *REGISTRIES}
    return sorted(path for name in counted if (path := _source(name)) is not None)


@cache
def plugin_module(registry: str, name: str | None) -> str | None:
    """The module that a registry names for `name`; None where it has no module of its own.

    The table is read from the registry's source, a dictionary of names to dotted modules. An
    entry that is not in a table is the module `<registry>.<name>`.
    """
    table = _table(registry)
    if name in table:
        return table[name]
    module = f"{registry}.{name}"
    return module if name is not None and _source(module) is not None else None


@cache
def declared_text(module: str, keyword: str) -> str | None:
    """The text that a declaration in a module's source gives for a keyword, None if there is none.

    Only the source is read, because a lower room cannot import the plug-ins of a higher one.
    """
    for node in ast.walk(_code(_file(module))):
        match node:
            case ast.keyword(arg=name, value=ast.Constant(value=str(text))) if name == keyword:
                return text
    return None


@cache
def package_modules(package: str) -> tuple[str, ...]:
    """The modules of a package whose modules are all in use; a leading `_` marks a helper."""
    folder = ROOT.joinpath(*package.split(".")[1:])
    return tuple(f"{package}.{path.stem}" for path in sorted(folder.glob("[!_]*.py")))


def _is_left_out(name: str) -> bool:
    return any(_is_in(name, other) for other in LEFT_OUT)


def _is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _table(registry: str) -> dict[object, str]:
    """Name -> module of every dictionary in a registry's source that names modules."""
    table: dict[object, str] = {}
    for node in ast.walk(_code(_file(registry))):
        for entry in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
            match entry:
                case ast.Constant(value=name), ast.Constant(value=str(module)) if _source(module):
                    table[name] = module
    return table


def _source(module: str) -> Path | None:
    """The file of a module of the package, None for every other name."""
    parts = module.split(".")
    if parts[0] != PACKAGE or not all(part.isidentifier() for part in parts):
        return None
    path = ROOT.joinpath(*parts[1:])
    candidates = [path / "__init__.py", path.with_suffix(".py")]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _file(module: str) -> Path:
    path = _source(module)
    assert path is not None, module
    return path


@cache
def _imported(module: str) -> tuple[str, ...]:
    """Modules of the package that `module` imports itself, and the packages that hold it."""
    names = {module, *_facts(_file(module)).names}
    parents = {name.rsplit(".", depth)[0] for name in names for depth in range(name.count(".") + 1)}
    return tuple(sorted(name for name in parents if _source(name) is not None))


@dataclass(frozen=True)
class _Facts:
    """What one source file says."""

    source: str
    """Hash of the file, and of this module, which takes it apart."""
    code: str
    """Hash of its syntax tree without what cannot change a result."""
    names: list[str]
    """Dotted names that may be those of imported modules."""


_OWN_SOURCE = Path(__file__).read_bytes()


@cache
def _facts(path: Path) -> _Facts:
    """What a file says, as it was kept where the file is still the same."""
    content = path.read_bytes()
    source = sha256_bytes(content + _OWN_SOURCE)
    kept = Path(cache_from_source(str(path))).with_suffix(".facts.json")
    with suppress(DataError, OSError, TypeError):
        if (facts := _Facts(**read_json(kept))).source == source:
            return facts
    tree, package = _stripped(content, path), _package_of(path)
    names = {name for node in ast.walk(tree) for name in _names(node, package)}
    facts = _Facts(source, sha256_bytes(ast.dump(tree).encode()), sorted(names))
    if not sys.dont_write_bytecode:
        with suppress(OSError):  # as Python does where its byte code cannot be kept
            write_json(kept, asdict(facts), durable=False)
    return facts


def _package_of(path: Path) -> str:
    """The package in which a source file lies."""
    return ".".join((PACKAGE, *path.parent.relative_to(ROOT).parts))


def _names(node: ast.AST, package: str) -> Iterator[str]:
    """Texts that may name an imported module; those that do not are sorted out later."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
        base = ".".join(filter(None, [above if node.level else "", node.module]))
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _stripped(content: bytes, path: Path) -> ast.AST:
    """The tree of a source without what cannot change a result."""
    tree: ast.AST = _Stripper().visit(ast.parse(content, str(path)))
    return tree


@cache
def _code(path: Path) -> ast.AST:
    return _stripped(path.read_bytes(), path)


class _Stripper(ast.NodeTransformer):
    """Removes texts that stand alone, which are docstrings, and what only type checkers read."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        value = node.value
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
        return None if is_text else node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        test = ast.unparse(node.test)
        return node.orelse if test in ("TYPE_CHECKING", "typing.TYPE_CHECKING") else node
