"""Import closures, on a small package made for the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from vovnet.pipeline import code_digest as closure

FILES = {
    "__init__.py": "",
    "errors.py": "class E(Exception):\n    pass\n",
    "config.py": "from vovnet.errors import E\n",
    "scoring/__init__.py": '"""Scoring."""\n',
    "scoring/vqa.py": "import math\nfrom . import words\n",
    "scoring/words.py": "WORDS = 1\n",
    "families/__init__.py": "TABLE = {'a': 'vovnet.families.a'}\n",
    "families/a.py": "from vovnet.errors import E\n",
    "evaluate.py": "from vovnet.scoring import vqa\n\ndef f():\n    import vovnet.config\n",
    "observe.py": "from vovnet import families\n",
    "plot.py": "import vovnet.errors as errors\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in place of vovnet's own source."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(closure, "ROOT", tmp_path)
    clear_caches()
    yield tmp_path
    clear_caches()


def clear_caches() -> None:
    for function in (closure.closure_digest, closure._imported, closure._read):
        function.cache_clear()


def names(root: Path, module: str) -> set[str]:
    return {path.relative_to(root).as_posix() for path in closure.import_closure(module)}


def test_follows_packages_relative_imports_and_imports_in_functions(package: Path) -> None:
    assert names(package, "vovnet.evaluate") == {
        "__init__.py",
        "config.py",
        "errors.py",
        "evaluate.py",
        "scoring/__init__.py",
        "scoring/vqa.py",
        "scoring/words.py",
    }


def test_follows_modules_named_in_a_table(package: Path) -> None:
    assert "families/a.py" in names(package, "vovnet.observe")


def test_an_unknown_module_is_refused(package: Path) -> None:
    with pytest.raises(ValueError, match=r"vovnet\.nothing"):
        closure.import_closure("vovnet.nothing")


@pytest.mark.parametrize(
    ("edited", "text", "changed"),
    [
        ("scoring/words.py", "WORDS = 2\n", {"vovnet.evaluate"}),
        ("scoring/words.py", '"""Words."""\n# more\nWORDS  =  1\n', set()),
        ("errors.py", "class E(Exception):\n    '''Doc.'''\n    pass\n", set()),
        ("errors.py", "class E(ValueError):\n    pass\n", {"evaluate", "observe", "plot"}),
        ("plot.py", "import vovnet.errors\n", {"plot"}),
    ],
)
def test_a_digest_changes_with_the_meaning_of_its_closure_alone(
    package: Path, edited: str, text: str, changed: set[str]
) -> None:
    modules = ("evaluate", "observe", "plot")
    before = {name: closure.closure_digest(f"vovnet.{name}") for name in modules}
    (package / edited).write_text(text)
    clear_caches()
    after = {name: closure.closure_digest(f"vovnet.{name}") for name in modules}
    expected = {name.removeprefix("vovnet.") for name in changed}
    assert {name for name in modules if before[name] != after[name]} == expected


def test_a_report_is_not_made_of_training_or_scoring() -> None:
    """The real package: editing a model must not touch a table, nor a table a training."""
    module = "vovnet.report.tables.main_table"
    tables = {path.parent.name for path in closure.import_closure(module)}
    training = {path.parent.name for path in closure.import_closure("vovnet.training.loop")}
    assert not tables & {"training", "model", "scoring", "policies"}
    assert "report" not in training
