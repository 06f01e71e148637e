"""`vovnet inspect`: the counts it prints and the contact sheet it draws."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from support.properties import given, st
from support.samples import make_sample
from support.worlds import settings_of
from vovnet import cli
from vovnet.commands.inspect.mix import mix_lines
from vovnet.commands.inspect.sheet import (
    CELL_WIDTH,
    INNER_WIDTH,
    MAX_LINES,
    NUM_COLUMNS,
    _font,
    _width,
    _wrapped,
    write_sheet,
)
from vovnet.commands.inspect.summary import answer_type, summarise
from vovnet.config import Settings
from vovnet.core.errors import DataError
from vovnet.core.files import sha256_file
from vovnet.core.layout import Layout
from vovnet.core.records import ImageRef, Sample
from vovnet.data.format_prompts import SHORT_ANSWER
from vovnet.data.samples import read_samples
from vovnet.data.sets import load_train


def sample(name: str, **more: Any) -> Sample:
    image = ImageRef(path="a", width=100, height=60, sha256="a")
    return make_sample(name, **({"images": [image]} | more))


def test_the_summary_counts_what_is_there() -> None:
    choices = {"A": "x", "B": "y"}
    turned = {"question_type": "multiple-choice", "choices": choices, "answer": "B", "group": "1"}
    wide = ImageRef(path="b", width=300, height=30, sha256="b")
    samples = [
        sample("1", category="ocr", **turned),
        sample("1000001", category="ocr", pass_index=1, **turned),
        sample("2", answers=["a"] * 10, answer="a", images=[wide, wide]),
        sample("3"),
    ]
    toy = {"format": "textvqa", "root": "raw", "files": {"dev": "a"}}
    summary = summarise(samples, Settings.model_validate({"data": {"datasets": {"toy": toy}}}))
    lines = list(summary.lines())
    assert lines == [
        "samples: 4 in 1 circular groups",
        "question types: multiple-choice 2, vqa 2",
        "kinds: multiple-choice 2, vqa 2",
        "answer types: letter 2, 10 answers 1, none 1",
        "gold letters: B 2",
        "choices: 2 2",
        "categories: ocr 2, (none) 2",
        "images: 2 distinct, per question 1 3, 2 1",
        "image width: 100 to 300, median 100 px",
        "image height: 30 to 60, median 30 px",
        "tokens NO: 0 to 0, median 0, mean 0.0",
        # 64 x 38 px is shown as 2 x 1 tokens of 32 px, each 64 x 6 px image as 2 x 1.
        "tokens COARSE: 2 to 4, median 2, mean 2.5",
        # 100 x 60 px as 3 x 2 tokens, each 128 x 13 px image as 4 x 1.
        "tokens FULL: 6 to 8, median 6, mean 6.5",
    ]
    assert summary.num_questions == 3


@pytest.mark.parametrize("per_token_loss", [False, True])
def test_the_mix_is_told_by_kinds_lengths_and_shares_of_the_loss(per_token_loss: bool) -> None:
    toy = {"format": "llava", "root": "raw", "files": {"dev": "a"}}
    training = {"max_answer_tokens": 8, "per_token_loss": per_token_loss}
    settings = Settings.model_validate({"data": {"datasets": {"toy": toy}}, "training": training})
    samples = [
        *(sample(str(n), question=f"{n}?\n{SHORT_ANSWER}", answer_text="a") for n in range(3)),
        sample("4", question="Why?", answer_text="one two three four five six seven eight nine"),
    ]
    lines = list(mix_lines(settings, samples, lambda texts: [len(text.split()) for text in texts]))
    # Three answers of a word and their end token; one of ten tokens, of which eight are predicted.
    shares = ("25.0%", "75.0%") if per_token_loss else ("57.1%", "42.9%")
    assert lines[0] == "training mix: 4 samples"
    assert [line.split() for line in lines[1:4]] == [
        ["dataset", "kind", "samples", "share", "tokens", "median", "90%", "cut", "loss"],
        ["toy", "conversation", "1", "25.0%", "10.0", "10", "10", "100.0%", shares[0]],
        ["toy", "short_answer", "3", "75.0%", "2.0", "2", "2", "0.0%", shares[1]],
    ]


def test_answer_types() -> None:
    assert answer_type(sample("1", answer="7", answers=["7"])) == "text"
    assert answer_type(sample("1", answer="7", answers=["7", "seven"])) == "2 answers"
    assert answer_type(sample("1")) == "none"


def inspected(layout: Layout, *arguments: str) -> int:
    import yaml

    config = layout.root / "config.yaml"
    config.write_text(yaml.safe_dump(settings_of(layout).model_dump(mode="json")))
    return cli.main(["inspect", *arguments, "--config", str(config)])


@pytest.fixture
def own(world: Path, tmp_path: Path) -> Layout:
    shutil.copytree(world / "data", tmp_path / "data")
    return Layout(tmp_path)


def test_the_command_prints_and_draws(own: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspected(own, "synth_mmbench", "--split", "dev", "--samples", "6") == 0
    printed = capsys.readouterr().out.splitlines()
    samples = read_samples(own.samples("synth_mmbench", "dev"))
    assert printed[0] == "synth_mmbench/dev"
    assert printed[1].startswith(f"  samples: {len(samples)} in ")
    sheet = own.data("synth_mmbench") / "dev.sheet.png"
    assert printed[-1] == f"  sheet: {sheet}"
    with Image.open(sheet) as image:
        assert image.width == NUM_COLUMNS * CELL_WIDTH
        drawn = np.asarray(image)
    columns = [drawn[:, first : first + CELL_WIDTH] for first in range(0, 1680, CELL_WIDTH)]
    assert all((column != 255).any() for column in columns)
    before = sha256_file(sheet)
    assert inspected(own, "synth_mmbench", "--split", "dev", "--samples", "6") == 0
    assert sha256_file(sheet) == before


def test_without_a_dataset_the_command_prints_the_mix(
    own: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspected(own) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"training mix: {len(load_train(settings_of(own), own))} samples"
    assert any(line.split()[:2] == ["synth_llava", "conversation"] for line in printed)


def test_a_sheet_shows_the_pictures_themselves(own: Layout) -> None:
    """A picture of one colour that appears nowhere else is found on the sheet."""
    chosen = read_samples(own.samples("synth_textvqa", "val"))[0]
    colour = (201, 33, 119)
    Image.new("RGB", (90, 60), colour).save(own.data("synth_textvqa") / chosen.images[0].path)
    path = own.root / "sheet.png"
    write_sheet(path, settings_of(own), own, [chosen])
    with Image.open(path) as image:
        found = (np.asarray(image) == colour).all(axis=2).sum()
    assert found > 90 * 60


def test_long_words_and_many_lines_stay_inside_their_cell(own: Layout) -> None:
    chosen = read_samples(own.samples("synth_textvqa", "val"))[0]
    long = chosen.model_copy(update={"question": "w" * 500 + "\n" * 80 + "end"})
    path = own.root / "sheet.png"
    write_sheet(path, settings_of(own), own, [long])
    with Image.open(path) as image:
        drawn = np.asarray(image)
    assert image.width == CELL_WIDTH
    assert (drawn[5:-5, -8:-2] == 255).all(), "the margin is free"


@given(st.text("ab é数\t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029\x00", max_size=60))
def test_any_text_can_be_drawn(text: str) -> None:
    for line in _wrapped(text):
        ImageDraw.Draw(Image.new("RGB", (CELL_WIDTH, 20))).text((0, 0), line, font=_font())


def test_a_text_without_spaces_is_cut_at_once() -> None:
    lines = _wrapped("数据" * 500_000)
    assert len(lines) == MAX_LINES and lines[-1] == "..."
    assert all(_width(line) <= INNER_WIDTH for line in lines)
    assert "".join(_wrapped("w" * 500)) == "w" * 500


def test_what_is_not_there_is_one_line(own: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspected(own, "nothing") == 2
    assert "no dataset named 'nothing'" in capsys.readouterr().err
    assert inspected(own, "synth_mmbench", "--split", "none") == 2
    assert "none.jsonl: file not found" in capsys.readouterr().err
    shutil.rmtree(own.data("synth_mmmu"))
    assert inspected(own, "synth_mmmu") == 2
    assert "no split is prepared, run `vovnet prepare`" in capsys.readouterr().err
    chosen = read_samples(own.samples("synth_textvqa", "val"))[0]
    (own.data("synth_textvqa") / chosen.images[0].path).write_bytes(b"junk")
    with pytest.raises(DataError, match="not a decodable image"):
        write_sheet(own.root / "sheet.png", settings_of(own), own, [chosen])
    assert not (own.root / "sheet.png").exists()
