"""Dataset formats and scorers as plug-ins: what an entry brings along, and what it leaves alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.projects import copy_project, plan
from support.raw_rows import picture
from support.worlds import settings_of
from vovnet.config import DatasetSettings, Settings, load, yaml_text
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.formats import FORMATS, format_of, load_format
from vovnet.data.samples import SampleSet, read_samples
from vovnet.evaluation.questions import scorer_of
from vovnet.evaluation.scoring import SCORERS, load_scorer
from vovnet.evaluation.scoring.base import OURS
from vovnet.pipeline.code_digest import declared_text
from vovnet.pipeline.keys import step_code

NEW_FORMAT = '''\
"""Questions of a quiz: a JSONL of rows with id, question, reply and picture."""

from __future__ import annotations

from collections.abc import Iterator

from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.formats.base import DatasetFormat
from vovnet.data.formats.json_rows import iter_rows
from vovnet.data.formats.source import Source


def read(source: Source) -> Iterator[Sample]:
    for row in iter_rows(source.file):
        image = source.images.add_file(source.image_root, row.text("picture"), row.at("picture"))
        yield Sample(
            id=source.claim(row, "id", row.identifier("id")),
            dataset=source.dataset,
            split=source.split,
            question_type="open",
            question=row.text("question"),
            images=[image],
            answer=row.text("reply"),
            answer_text=row.text("reply"),
        )


FORMAT = DatasetFormat(
    read=read,
    scorer="exact",
    question_types=("open",),
    files="JSONL of a quiz",
    answers="the reply",
    category="none",
)
'''


def settings_for(**definition: Any) -> Settings:
    toy = {"format": "mmbench", "root": "raw", "files": {"dev": "a"}} | definition
    return Settings.model_validate({"data": {"datasets": {"toy": toy}}})


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_declares_what_is_asked_of_it(name: str) -> None:
    found = load_format(name)
    assert found.scorer in SCORERS and found.question_types
    assert all([found.files, found.answers, found.category])
    assert set(found.file_options) <= set(found.options.model_fields)
    assert not set(found.options.model_fields) & set(DatasetSettings.model_fields)
    assert declared_text(FORMATS[name], "scorer") == found.scorer, "as keys read it"


def test_a_format_yields_the_types_of_questions_that_it_declares(world: Path) -> None:
    settings, layout = settings_of(Layout(world)), Layout(world)
    for dataset, definition in settings.data.datasets.items():
        samples = [item for split in definition.files for item in stored(layout, dataset, split)]
        types = {sample.question_type for sample in samples}
        assert types and types <= set(format_of(settings, dataset).question_types)


def stored(layout: Layout, dataset: str, split: str) -> SampleSet:
    return read_samples(layout.samples(dataset, split))


@pytest.mark.parametrize("name", SCORERS)
def test_every_scorer_says_how_it_scores_and_after_whom(name: str) -> None:
    scorer = load_scorer(name)
    assert scorer.title
    assert scorer.follows == OURS or re.fullmatch(r"\S+/\S+, \S+, commit \w{7}", scorer.follows)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"format": "mmbnch"}, "data.datasets.toy.format: expected one of ['mmbench', "),
        (
            {"ocr_files": {"dev": "a"}},
            "data.datasets.toy.ocr_files: unknown key (format 'mmbench')",
        ),
        ({"image_rot": "a"}, "data.datasets.toy.image_rot: unknown key"),
        ({"format": "textvqa", "ocr_files": {"dev": 3}}, "data.datasets.toy.ocr_files.dev: "),
        (
            {"format": "textvqa", "ocr_files": {"val": "b"}},
            "data.datasets.toy.ocr_files: there is no split 'val', expected one of ['dev']",
        ),
    ],
)
def test_wrong_names_and_options_are_refused_before_any_job(
    definition: dict[str, Any], message: str
) -> None:
    settings = settings_for(**definition)
    with pytest.raises(ConfigError, match=re.escape(message)):
        format_of(settings, "toy")
    with pytest.raises(ConfigError, match=re.escape(message)):
        plan({"data": {"datasets": settings.model_dump()["data"]["datasets"]}})


def test_an_answer_is_scored_by_the_scorer_that_the_format_names() -> None:
    sample = Sample(
        id="1", dataset="toy", split="dev", question_type="open", question="?", images=[]
    )
    for name, scorer in (("mmmu", "mmmu"), ("llava", "exact")):
        assert scorer_of(settings_for(format=name), sample.dataset) == scorer


def test_a_format_is_one_module_and_one_entry(project: Path, tmp_path: Path) -> None:
    """In a copy of the source; and no other dataset is prepared again."""
    folder = tmp_path / "project"
    copy_project(folder, project)
    (folder / "src/vovnet/data/formats/quiz.py").write_text(NEW_FORMAT)
    registry = folder / "src/vovnet/data/formats/__init__.py"
    entry = '    "quiz": "vovnet.data.formats.quiz",\n}\n'
    registry.write_text(registry.read_text().replace("}\n", entry, 1))
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "quiz.jsonl").write_text(
        '{"id": 7, "question": "Which animal?", "reply": "a cat", "picture": "7.png"}\n'
    )
    (raw / "7.png").write_bytes(picture())
    definition = {"format": "quiz", "root": str(raw), "files": {"dev": "quiz.jsonl"}}
    quiz = {"data": {"datasets": {"quiz": definition}}, "results_dir": str(tmp_path / "results")}
    config = tmp_path / "quiz.yaml"
    config.write_text(yaml_text(Settings.model_validate(quiz).model_dump(mode="json")))
    script = (
        "import sys; from vovnet import cli; from vovnet.config import load;"
        "from vovnet.pipeline.keys import step_code;"
        f"assert not cli.main(['prepare', '--config', {str(config)!r}, '--dataset', 'quiz',"
        " '--split', 'dev']);"
        "settings = load(['config/test.yaml']);"
        "print(step_code(settings, 'prepare', dataset='synth_mmmu', split='validation'))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src"), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert '"answer_text":"a cat"' in (tmp_path / "results/data/quiz/dev.jsonl").read_text()
    settings = load([folder / "config/test.yaml"])
    unchanged = step_code(settings, "prepare", dataset="synth_mmmu", split="validation")
    assert result.stdout.splitlines()[-1] == unchanged
