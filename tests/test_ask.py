"""`vovnet ask`: one question to a trained model, from the shell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from support.hands import Hand
from support.live import live_settings
from support.models import make_inference
from support.worlds import SETS
from vovnet import cli
from vovnet.core.layout import Layout
from vovnet.data.sets import image_paths, load_set
from vovnet.inference.live import LivePolicy


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main(["ask", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_an_answer_is_that_of_a_live_run(
    observed: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decision, answer and cost, with several pictures and with choices; values say why."""
    settings = live_settings(observed)
    config = tmp_path / "suite.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")), encoding="utf-8")
    stage2 = observed.stage("vovnet", 0, 2)
    live = LivePolicy(make_inference(settings), observed, settings.policy)
    numbers: set[int] = set()
    for name in SETS:
        samples = load_set(settings, observed, name)
        several = [sample for sample in samples if len(sample.images) > 1]
        for sample in [*samples[:2], *several[:1]]:
            if sample.hint:
                continue
            paths = [str(path) for path in image_paths(settings, observed, sample)]
            arguments = ["--config", str(config), "--checkpoint", str(stage2)]
            arguments += ["--question", sample.question]
            arguments += [part for path in paths for part in ("--image", path)]
            arguments += [part for text in sample.choices.values() for part in ("--choice", text)]
            told, expected = asked(capsys, *arguments), live(sample).row
            assert told["decision"] == [expected["executed"]]
            for key in ("vision_tokens", "flops"):
                assert told[key] == expected[key]
            assert told["answer"] == expected["text"]
            assert max(told["values"], key=told["values"].__getitem__) == told["decision"][0]
            assert told["time_ms"]["total"] > told["time_ms"]["generation"] > 0
            never = asked(capsys, *arguments, "--lambda_cost", "inf")
            assert never["decision"] == ["no"] and never["vision_tokens"] == 0
            numbers.add(len(paths))
    assert len(numbers) > 1, "no question has several pictures"


def test_what_cannot_be_asked_is_one_line(
    hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no picture", encoding="utf-8")
    stage2 = hand.checkpoints["stage"]
    renamed = tmp_path / "stage2"
    shutil.copytree(stage2, renamed)
    manifest = json.loads((renamed / "manifest.json").read_text())
    (renamed / "manifest.json").write_text(json.dumps(manifest | {"run": "other"}))
    probe = hand.layer("probe", {"policy": {"baseline_name": "probe"}})
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    ask = ["ask", "--question", "What?", "--config", str(hand.base)]
    ask += ["--image", str(tmp_path / "red.png")]
    for arguments, fault in (
        (["--checkpoint", str(stage2), "--image", str(text)], f"{text}: not a decodable image"),
        (["--checkpoint", str(tmp_path / "none")], "no checkpoint there"),
        (["--checkpoint", str(stage2), "--config", probe], "'probe' is fitted on the outcomes"),
        (["--checkpoint", str(renamed)], "runs: no run named 'other', as which"),
    ):
        assert cli.main([*ask, *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert fault in line


def test_a_checkpoint_of_stage_1_is_asked_with_a_warning(
    hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (128, 64), "red").save(picture)
    stage1 = hand.checkpoints["stage"].with_name("stage1")
    command = ["ask", "--config", str(hand.base), "--checkpoint", str(stage1), "--question", "Who?"]
    command += ["--image", str(picture)]
    assert cli.main(command) == 0
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert "its policy head is untrained" in line
    assert printed.out.startswith("decision: ")


def test_the_run_of_the_checkpoint_and_keys_of_the_command_hold(
    hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stage folder tells its settings; given ones may name a policy that never looks."""
    picture = tmp_path / "picture.png"
    Image.new("RGB", (128, 64), "red").save(picture)
    arguments = ["--checkpoint", str(hand.checkpoints["stage"]), "--question", "Which colour?"]
    arguments += ["--image", str(picture)]
    alone = asked(capsys, *arguments)
    given = asked(capsys, *arguments, "--config", str(hand.base))
    assert alone | {"time_ms": 0} == given | {"time_ms": 0}
    never = asked(capsys, *arguments, "--set", "policy.baseline_name=no_vision")
    assert never["decision"] == ["no"] and "values" not in never
    copied = tmp_path / "stage2"
    shutil.copytree(hand.checkpoints["stage"], copied)
    assert cli.main(["ask", *arguments, "--checkpoint", str(copied)]) == 2
    assert "does not tell its settings, expected --config" in capsys.readouterr().err
