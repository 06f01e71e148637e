"""Folders of base models with damaged or odd files: each is one line that names the model."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from support.repository import TINY_MODEL
from vovnet.config import ModelSettings, VisionBudget
from vovnet.core.errors import CheckpointError, error_line
from vovnet.model import chat_template
from vovnet.model.loading import load_vlm

Change = Callable[[Path], object]
WEIGHTS, TEMPLATE = "model.safetensors", "chat_template.jinja"


def changed(name: str, change: Callable[[bytes], bytes]) -> Change:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def content(name: str, text: str) -> Change:
    return changed(name, lambda _: text.encode())


def keys(name: str, **values: Any) -> Change:
    return changed(name, lambda old: json.dumps(json.loads(old) | values).encode())


def template(text: str) -> Change:
    return content(TEMPLATE, text)


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["model.visual.blocks.0.attn.proj.bias"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def without_weights(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY_MODEL, tmp_path / "base"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (changed(WEIGHTS, lambda old: old[: len(old) // 2]), "SafetensorError"),
        (content(WEIGHTS, ""), "header too small"),
        (without_a_weight, "lack 1 weights of the model, such as 'model.visual.blocks.0"),
        (without_weights, "KeyError: 'weight_map'"),
        (content("tokenizer.json", "{}"), "KeyError: 'added_tokens'"),
        (content("tokenizer_config.json", "[]"), "AttributeError"),
        (keys("tokenizer_config.json", model_max_length="x"), "TypeError"),
        (keys("tokenizer_config.json", eos_token="<new>"), "a tokenizer of another model"),
        (keys("config.json", image_token_id=10**6), "a tokenizer of another model"),
        (keys("config.json", dtype="half a bit"), "AttributeError"),
        (content("preprocessor_config.json", "[]"), "AttributeError"),
        (keys("preprocessor_config.json", patch_size=0), "has the patch_size 0"),
        (template("{% for a in range(9**5) %}{% for b in range(9**5) %}{% endfor %}{% endfor %}"),
         "took more than 1 s"),
        (template("{% for a in range(9**5) %}{{ 'x' * 10**6 }}{% endfor %}"), "MemoryError"),
        (template("{{ raise_exception('no system prompt') }}"), "TemplateError: no system prompt"),
        (template("{% for %}"), "TemplateSyntaxError"),
        (template("{{ messages.system.text }}"), "UndefinedError"),
        (template("hello"), "shows a question 0 times, expected once"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Change, reason: str
) -> None:
    monkeypatch.setattr(chat_template, "MAX_S", 1)
    change(folder)
    with pytest.raises(CheckpointError) as raised:
        load_vlm(ModelSettings(base_model_name=str(folder)), VisionBudget()).prompt("What?")
    line = error_line(raised.value) or ""
    assert line.startswith("model.base_model_name: ") and str(folder) in line
    assert reason in line and "\n" not in line


@pytest.mark.parametrize(
    "auto_map",
    [
        keys("config.json", auto_map={"AutoConfig": "code.Config"}),
        keys("tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Slow", "code.Fast"]}),
        keys("preprocessor_config.json", auto_map={"AutoImageProcessor": "code.Images"}),
    ],
)
def test_a_models_own_code_is_neither_run_nor_asked_about(
    folder: Path, monkeypatch: pytest.MonkeyPatch, auto_map: Change
) -> None:
    auto_map(folder)
    (folder / "code.py").write_text(f"open({str(folder / 'was-run')!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks on standard input"))
    load_vlm(ModelSettings(base_model_name=str(folder)), VisionBudget()).prompt("What?")
    assert not (folder / "was-run").exists()


def test_a_template_counts_only_where_it_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    write, pipe = os.write, os.pipe

    def killed(end: int, said: bytes) -> int:
        write(end, said[:3])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def high_pipe() -> list[int]:
        low = pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 1024) for end in low]
        for end in low:
            os.close(end)
        return high

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", killed)
        assert chat_template._limited(lambda: "a text").startswith(b"-took more than")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 1026:
        monkeypatch.setattr(os, "pipe", high_pipe)
    assert chat_template._limited(lambda: "a text") == b"+a text"
    monkeypatch.setattr(chat_template, "WAIT_S", 0)
    assert b"the machine may be too busy" in chat_template._limited(lambda: time.sleep(9) or "")
