"""Which modules are the code of a result, on a small package made for the test and on this one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vovnet.pipeline import code_digest as code
from vovnet.pipeline.catalogue import STEPS

FILES = {
    "__init__.py": '__version__ = "1"\n',
    "core/__init__.py": "",
    "core/errors.py": "class E(Exception):\n    pass\n",
    "core/records.py": "from vovnet.core.errors import E\n",
    "config/__init__.py": "from vovnet.core import hidden\n",
    "core/hidden.py": "",
    "evaluation/__init__.py": "",
    "evaluation/scoring/__init__.py": "from vovnet.evaluation import names\n"
    "TABLE = {'vqa': 'vovnet.evaluation.scoring.vqa', 'exact': 'vovnet.evaluation.words'}\n",
    "evaluation/scoring/vqa.py": "import math\nfrom .. import words\n",
    "evaluation/scoring/mmmu.py": "",
    "evaluation/names.py": "",
    "evaluation/words.py": "WORDS = 1\n",
    "evaluation/score.py": "from vovnet.core import records\n\n"
    "def f():\n    import vovnet.config\n    from vovnet.evaluation.scoring import TABLE\n",
    "commands/__init__.py": "",
    "commands/bench/__init__.py": "",
    "commands/bench/parts.py": "from vovnet.commands.bench import rows\n"
    "from vovnet.commands import common\n",
    "commands/bench/rows.py": "",
    "commands/common.py": "",
    "report/__init__.py": "",
    "report/plot.py": "from typing import TYPE_CHECKING\nimport vovnet.core.records as records\n"
    "if TYPE_CHECKING:\n    from vovnet.evaluation import words\n",
}
SCORE = "vovnet.evaluation.score"
VQA = ("vovnet.evaluation.scoring.vqa",)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package in place of vovnet's own source."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    clear_caches()
    yield tmp_path
    clear_caches()


def clear_caches() -> None:
    functions = (code.code_digest, code.plugin_module, code.package_modules, code._imported)
    for function in (*functions, code._code, code._facts):
        function.cache_clear()


def names(root: Path, module: str, *plugins: str) -> set[str]:
    return {path.relative_to(root).as_posix() for path in code.code_files(module, plugins)}


def test_declarations_infrastructure_and_registries_are_left_out(package: Path) -> None:
    """The table of a registry is not followed, and what is left out leads nowhere."""
    expected = {"core/__init__.py", "core/records.py", "evaluation/__init__.py"}
    expected |= {"evaluation/score.py", "evaluation/names.py"}
    assert names(package, SCORE) == expected


def test_a_plug_in_counts_with_all_that_it_imports(package: Path) -> None:
    added = names(package, SCORE, *VQA) - names(package, SCORE)
    assert added == {"evaluation/scoring/vqa.py", "evaluation/words.py"}


def test_a_command_that_computes_a_result_counts_with_its_own_package(package: Path) -> None:
    expected = {"commands/bench/__init__.py", "commands/bench/parts.py", "commands/bench/rows.py"}
    assert names(package, "vovnet.commands.bench.parts") == expected


def test_imports_for_type_checkers_lead_nowhere(package: Path) -> None:
    assert "evaluation/words.py" not in names(package, "vovnet.report.plot")


def test_a_registry_names_the_module_of_a_plug_in(package: Path) -> None:
    registry = "vovnet.evaluation.scoring"
    assert code.plugin_module(registry, "vqa") == "vovnet.evaluation.scoring.vqa"
    assert code.plugin_module(registry, "exact") == "vovnet.evaluation.words"
    assert code.plugin_module(registry, "mmmu") == "vovnet.evaluation.scoring.mmmu", "by its name"
    assert code.plugin_module(registry, "other") is code.plugin_module(registry, None) is None


def test_the_modules_of_a_package_are_all_but_its_helpers(package: Path) -> None:
    (package / "report" / "_style.py").write_text("")
    assert code.package_modules("vovnet.report") == ("vovnet.report.plot",)


def test_an_unknown_module_is_refused(package: Path) -> None:
    with pytest.raises(ValueError, match=r"vovnet\.nothing"):
        code.code_files("vovnet.nothing")


@pytest.mark.parametrize(
    ("edited", "text", "changed"),
    [
        ("evaluation/words.py", "WORDS = 2\n", {"scored"}),
        ("evaluation/words.py", '"""Words."""\n# more\nWORDS  =  1\n"""Text."""\n', set()),
        ("evaluation/names.py", "NAMES = 2\n", {"score", "scored"}),
        ("evaluation/scoring/__init__.py", "TABLE = {}\n", set()),
        ("core/errors.py", "class E(ValueError):\n    pass\n", set()),
        ("core/records.py", "COLUMNS = 1\n", {"score", "scored", "plot"}),
        ("config/__init__.py", "NEW = 1\n", set()),
        ("__init__.py", '__version__ = "2"\n', set()),
        ("report/plot.py", "import vovnet.core\n", {"plot"}),
    ],
)
def test_a_digest_changes_with_the_meaning_of_its_modules_alone(
    package: Path, edited: str, text: str, changed: set[str]
) -> None:
    # The names in the registry's own source are read once more below, from the edited one.
    modules = {"score": (SCORE, ()), "scored": (SCORE, VQA), "plot": ("vovnet.report.plot", ())}
    before = {name: code.code_digest(*parts) for name, parts in modules.items()}
    original = (package / edited).read_text()
    if edited == "evaluation/scoring/__init__.py":
        text = original.partition("TABLE")[0] + text
    (package / edited).write_text(text)
    clear_caches()
    after = {name: code.code_digest(*parts) for name, parts in modules.items()}
    assert {name for name in modules if before[name] != after[name]} == changed


@pytest.mark.parametrize("kept", ["as it was written", "{", "[]", '{"source": "of another"}'])
def test_what_was_kept_of_a_source_holds_for_that_source_alone(
    package: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """It saves taking the source apart; a file that is damaged or old is written anew."""
    monkeypatch.setattr(code.sys, "dont_write_bytecode", False)
    digest = code.code_digest(SCORE, VQA)
    files = {path: path.read_text() for path in package.rglob("*.facts.json")}
    assert len(files) >= len(code.code_files(SCORE, VQA))
    clear_caches()
    if kept == "as it was written":
        monkeypatch.setattr(code, "ast", None)
    else:
        for path in files:
            path.write_text(kept)
    assert code.code_digest(SCORE, VQA) == digest
    assert {path: path.read_text() for path in package.rglob("*.facts.json")} == files


# ---- this package ----------------------------------------------------------------------


@pytest.mark.parametrize("name", STEPS)
def test_the_modules_of_every_step_exist(name: str) -> None:
    files = {path.relative_to(code.ROOT).parts for path in code.code_files(STEPS[name].computed_by)}
    assert not {parts[0] for parts in files} & {"config", "pipeline", "machine", "cli.py"}
    for registry in STEPS[name].plugins:
        assert code._source(registry), registry


def test_a_table_is_not_made_of_training_and_a_training_not_of_tables() -> None:
    def rooms(step: str) -> set[str]:
        made_by = STEPS[step].computed_by
        files = code.code_files(
            made_by, code.package_modules(made_by) if STEPS[step].discovers else ()
        )
        return {path.relative_to(code.ROOT).parts[0] for path in files}

    assert not rooms("tables") & {"training", "model", "inference"}
    assert not rooms("train") & {"report", "evaluation", "policies"}
    # Whatever policies a suite shows, questions are compared with what fitted heads expect.
    compared = code.code_files(STEPS["hull_metrics"].computed_by)
    assert code.ROOT / "policies" / "heads.py" in compared
    assert not rooms("prepare") & {"model", "views", "policies", "evaluation"}
