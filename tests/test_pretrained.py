"""A trained model in Python: loaded, asked, saved, uploaded, and served on a page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

from support.hands import Hand
from support.hub import Hub, serve
from support.repository import TINY_MODEL
from support.worlds import SETS
from vovnet import VoVNet, cli
from vovnet.commands.ask import answering, page
from vovnet.config import load
from vovnet.core.errors import CheckpointError, ConfigError
from vovnet.core.layout import Layout
from vovnet.data.sets import image_paths, load_set
from vovnet.inference.ask import Asked
from vovnet.machine.alone import _held

FILES = {
    *("README.md", "recipe.yaml", "head.safetensors", "model.safetensors"),
    *("config.json", "generation_config.json", "preprocessor_config.json"),
    *("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"),
}


@pytest.fixture(scope="module")
def model(hand: Hand) -> VoVNet:
    return VoVNet.from_pretrained(hand.checkpoints["stage"])


@pytest.fixture(scope="module")
def saved(hand: Hand, model: VoVNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with the numbers of an evaluation, moved away from where it was written."""
    assert cli.main(hand.arguments("eval", hand.root / "eval/pareto", "--pareto", "0", "0.02")) == 0
    folder = tmp_path_factory.mktemp("saved")
    before = os.umask(0o027)
    try:
        model.save_pretrained(folder / "here")
    finally:
        os.umask(before)
    (folder / "here").rename(folder / "there")
    return folder / "there"


def questions(hand: Hand) -> tuple[list[list[str]], list[str], list[list[str]]]:
    """Pictures, texts and choices of questions of every set, some of several pictures."""
    settings, layout = load([hand.base]), Layout(hand.root)
    sets = [list(load_set(settings, layout, name)) for name in SETS]
    samples = [item for own in sets for item in own if len(item.images) > 1 or item in own[:5]]
    samples = [sample for sample in samples if not sample.hint]
    pictures = [[str(path) for path in image_paths(settings, layout, item)] for item in samples]
    texts = [sample.question for sample in samples]
    return pictures, texts, [list(sample.choices.values()) for sample in samples]


def untimed(asked: Asked | list[Asked]) -> Any:
    if isinstance(asked, Asked):
        values = {action: float(f"{value:.4g}") for action, value in asked.values.items()}
        return replace(asked, time_ms={}, values=values)
    return [untimed(item) for item in asked]


def test_a_list_is_answered_as_its_questions_are_one_by_one(hand: Hand, model: VoVNet) -> None:
    """Also where they are shown different views, and at several prices of looking."""
    pictures, texts, choices = questions(hand)
    assert len({len(shown) for shown in pictures}) > 1
    decisions = set()
    for price in (0.0, 0.02, 5.0):
        together = model.ask(pictures, texts, lambda_cost=price, choices=choices)
        alone = [
            model.ask(shown, text, lambda_cost=price, choices=own)
            for shown, text, own in zip(pictures, texts, choices, strict=True)
        ]
        assert untimed(together) == untimed(alone)
        decisions |= {tuple(asked.decision) for asked in together}
    assert len(decisions) > 1
    with pytest.raises(ConfigError, match="images: expected a list with one entry for each"):
        model.ask(pictures[:1], texts)
    with pytest.raises(ConfigError, match=r"lambda_cost: expected a number"):
        model.ask(pictures[0], texts[0], lambda_cost=-1.0)


def test_a_picture_may_be_a_path_or_an_image(hand: Hand, model: VoVNet, tmp_path: Path) -> None:
    """Of any mode, and turned as its data says; a file decoded by PIL counts as the file."""
    pictures, texts, _ = questions(hand)
    source, text = next(
        (Path(shown[0]), text)
        for shown, text in zip(pictures, texts, strict=True)
        if len(shown) == 1 and model.ask(shown, text, lambda_cost=0.0).vision_tokens
    )
    picture = Image.open(source)
    turned = ImageOps.mirror(picture.convert("RGB"))
    exif = turned.getexif()
    exif[0x0112] = 2  # mirrored
    turned.save(tmp_path / "turned.png", exif=exif)
    expected = untimed(model.ask(source, text, lambda_cost=0.0))
    given: list[Any] = [str(source), picture, picture.convert("RGBA"), tmp_path / "turned.png"]
    for image in [*given, Image.open(tmp_path / "turned.png"), [source]]:
        assert untimed(model.ask(image, text, lambda_cost=0.0)) == expected


def test_a_saved_model_answers_the_same_from_another_folder(
    hand: Hand, model: VoVNet, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, texts, choices = questions(hand)
    assert {path.name for path in saved.iterdir()} == FILES
    again = VoVNet.from_pretrained(str(saved))
    expected = untimed(model.ask(pictures, texts, choices=choices))
    assert untimed(again.ask(pictures, texts, choices=choices)) == expected
    shown = [part for path in pictures[0] for part in ("--image", path)]
    offered = [part for text in choices[0] for part in ("--choice", text)]
    command = ["ask", "--checkpoint", str(saved), *shown, *offered, "--question", texts[0]]
    assert cli.main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["decision"], told["answer"]) == (expected[0].decision, expected[0].answer)
    assert cli.main([*command, "--set", "policy.baseline_name=always_full"]) == 0
    assert capsys.readouterr().out.startswith("decision: full")


def test_what_is_saved_is_for_others(saved: Path, hand: Hand, tmp_path: Path) -> None:
    """Readable as the umask says, without a path of this machine, with the numbers measured."""
    assert {path.stat().st_mode & 0o777 for path in saved.iterdir()} == {0o640}
    for path in saved.iterdir():
        assert str(hand.root).encode() not in path.read_bytes(), path
        assert str(TINY_MODEL).encode() not in path.read_bytes(), path
    card = (saved / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: vovnet\n")
    rows = [line.split("|")[1:4] for line in card.splitlines() if "| synth_mmmu" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["synth_mmmu", "VoVNet", "0"],
        ["synth_mmmu", "VoVNet", "0.02"],
    ]
    assert "synth_llava/train" in card
    again = VoVNet.from_pretrained(saved)
    again.save_pretrained(tmp_path / "again")
    for name in FILES - {"tokenizer_config.json"}:  # which notes from where it was loaded
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes(), name


def test_a_used_folder_keeps_nothing_of_an_earlier_model(saved: Path, tmp_path: Path) -> None:
    """Else its adapters would be loaded over the new weights, and its page tell old numbers."""
    folder = tmp_path / "used"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "README.md", "recipe.yaml"):
        (folder / name).write_text("{}")
    VoVNet.from_pretrained(saved).save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == FILES
    VoVNet.from_pretrained(folder).save_pretrained(folder)
    assert (folder / "README.md").read_bytes() == (saved / "README.md").read_bytes()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"adapter_config\.json: adapters would change"):
        VoVNet.from_pretrained(folder)


def test_a_base_model_is_loaded_from_safetensors_alone(
    hand: Hand, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    shutil.copytree(TINY_MODEL, base)
    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    picture = next(world.glob("data/synth_textvqa/images/*.*"))
    command = ["ask", "--checkpoint", str(hand.checkpoints["stage"]), "--image", str(picture)]
    command += ["--question", "What?", "--set", f"model.base_model_name={base}"]
    assert cli.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.base_model_name: cannot load" in line and "model.safetensors" in line


def test_the_vision_language_model_loads_in_transformers(saved: Path) -> None:
    from transformers import AutoModelForImageTextToText

    loaded = AutoModelForImageTextToText.from_pretrained(saved)
    stored = VoVNet.from_pretrained(saved).inference.vlm.model.state_dict()
    for name, value in loaded.state_dict().items():
        assert value.equal(stored[name]), name


def test_nothing_in_a_folder_is_run(saved: Path, tmp_path: Path) -> None:
    ran, folder = tmp_path / "ran", tmp_path / "model"
    shutil.copytree(saved, folder)
    (folder / "code.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: pass\n")
    for name in ("config.json", "tokenizer_config.json"):
        original = (folder / name).read_text()
        value = json.loads(original) | {"auto_map": {"AutoConfig": "code.Config"}}
        (folder / name).write_text(json.dumps(value))
        with pytest.raises(CheckpointError, match=rf"{name}: names code \(auto_map\)"):
            VoVNet.from_pretrained(folder)
        (folder / name).write_text(original)
    for name in ("head", "model"):
        (folder / f"{name}.safetensors").rename(folder / f"{name}.bin")
        with pytest.raises(CheckpointError, match=rf"there is no {name}\.safetensors"):
            VoVNet.from_pretrained(folder)
        (folder / f"{name}.bin").rename(folder / f"{name}.safetensors")
    (folder / "head.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        VoVNet.from_pretrained(folder)
    assert not ran.exists()


def python(code: str, tmp_path: Path, hub: Hub, *arguments: Path) -> str:
    """What code prints in a process of its own: the client reads its environment on import."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_token"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = known | own | {"HF_HUB_DISABLE_XET": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


UPLOAD = """
import sys
from vovnet import VoVNet
def show(model):
    asked = model.ask(sys.argv[2], "What does the sign say?", lambda_cost=0)
    print(asked.decision, asked.answer, asked.values)
model = VoVNet.from_pretrained(sys.argv[1])
show(model)
print(model.push_to_hub("org/bench"))
show(VoVNet.from_pretrained("org/bench"))
"""


def test_a_model_goes_to_the_hub_and_comes_back(saved: Path, world: Path, tmp_path: Path) -> None:
    picture = next(world.glob("data/synth_textvqa/images/*.*"))
    earlier = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"", "README.md": b""}
    with serve(Hub(earlier, models=True)) as hub:
        before, url, after = python(UPLOAD, tmp_path, hub, saved, picture).splitlines()
    first, *_ = (path for _, path, _ in hub.requests if path != "/api/agent-harnesses")
    assert first == "/api/repos/create", "asking sent something; the client's own list comes first"
    assert url == f"{hub.address}/org/bench/commit/c0ffee{'0' * 34}"
    assert hub.files.keys() == FILES and hub.count("POST", "/commit/main") == 1
    assert before == after


ADAPTERS = """
import sys, torch
from pathlib import Path
from vovnet import VoVNet
from vovnet.config import load
from vovnet.model.vovnet import VoVNet as Network, save_weights
base, folder, picture = map(Path, sys.argv[1:])
settings = load([base], ["model.base_model_name=org/bench", "model.lora={r: 4, dropout: 0}"])
torch.manual_seed(0)
network = Network(settings)
for name, value in network.named_parameters():
    if "lora_B" in name or name.startswith("head.out"):
        torch.nn.init.normal_(value, std=0.3)
(folder / "run").mkdir()
save_weights(network, folder / "run/model.safetensors")
trained = VoVNet.of_checkpoint(folder / "run", settings)
trained.save_pretrained(folder / "saved")
for model in (trained, VoVNet.from_pretrained(folder / "saved")):
    asked = model.ask(picture, "What does the sign say?", lambda_cost=0)
    print(asked.decision, asked.answer, asked.values)
from peft import PeftModel
from transformers import AutoModelForImageTextToText
inner = AutoModelForImageTextToText.from_pretrained("org/bench", dtype=torch.float32)
inner = PeftModel.from_pretrained(inner, folder / "saved").merge_and_unload()
stored = trained.inference.vlm.model.state_dict()
print(all(value.allclose(stored[name], atol=1e-6) for name, value in inner.state_dict().items()))
from vovnet.model.loading import base_model_digest
print(base_model_digest(settings.model))
from safetensors.torch import load_file, save_file
from vovnet.core.errors import CheckpointError
path = folder / "saved/adapter_model.safetensors"
stored = load_file(path)
name, value = stored.popitem()
for changed in (stored, stored | {name: value * float("nan")}):
    save_file(changed, path)
    try:
        VoVNet.from_pretrained(folder / "saved")
    except CheckpointError as error:
        print(error)
"""


def test_adapters_over_a_model_of_the_hub_are_saved_alone(
    hand: Hand, world: Path, tmp_path: Path
) -> None:
    """In peft's own layout, for exactly the commit of the base that they were trained over."""
    files = {path.name: path.read_bytes() for path in TINY_MODEL.iterdir() if path.suffix != ".md"}
    picture = next(world.glob("data/synth_textvqa/images/*.*"))
    with serve(Hub(files, models=True, large=frozenset({"model.safetensors"}))) as hub:
        printed = python(ADAPTERS, tmp_path, hub, hand.base, tmp_path, picture)
    before, after, same, known_as, missing, infinite = printed.splitlines()
    assert before == after and same == "True"
    assert known_as == f"org/bench@c0ffee{'0' * 34}"
    assert "is missing in adapter_model.safetensors" in missing and "is not finite" in infinite
    folder = tmp_path / "saved"
    assert not (folder / "model.safetensors").exists()
    assert (folder / "tokenizer.json").exists() and (folder / "preprocessor_config.json").exists()
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/bench"
    assert config["revision"] == f"c0ffee{'0' * 34}"
    assert "base_model: org/bench" in (folder / "README.md").read_text()


def test_importing_the_package_loads_nothing_heavy_and_asking_nothing_unused() -> None:
    code = (
        "import sys, vovnet\n"
        "assert not {'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "assert vovnet.VoVNet.from_pretrained and 'torch' in sys.modules\n"
        "unused = {'peft', 'matplotlib', 'sklearn', 'gradio', 'torchvision', 'vovnet.training'}\n"
        "assert not unused & set(sys.modules), unused & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- the page ----------------------------------------------------------------------------


def test_the_page_shows_what_the_model_answers(model: VoVNet, world: Path) -> None:
    picture, text = next(world.glob("data/synth_textvqa/images/*.*")), "What does the sign say?"
    asked = model.ask(picture, text, lambda_cost=0.0)
    answer, decision, values, cost = answering(model)(str(picture), text, 0.0)
    assert (answer, decision, values) == (asked.answer, asked.decision[0], asked.values)
    assert cost["vision_tokens"] == asked.vision_tokens
    assert answering(model)(None, text, 0.0)[1] == "an image and a question are needed"


def test_the_page_is_at_work_only_while_it_answers(
    saved: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timed run beside a page that nobody asks is alone."""
    picture, seen = next(world.glob("data/synth_textvqa/images/*.*")), []
    ask = VoVNet.ask

    def watched(*arguments: Any, **named: Any) -> Any:
        seen.append(len(_held))
        return ask(*arguments, **named)

    class Page:
        def __init__(self, gradio: Any, model: VoVNet) -> None:
            self.model = model

        def launch(self, **_: Any) -> None:
            seen.append(len(_held))
            answering(self.model)(str(picture), "What?", 0.0)

    monkeypatch.setattr(VoVNet, "ask", watched)
    monkeypatch.setattr("vovnet.commands.ask.page", Page)
    monkeypatch.setitem(sys.modules, "gradio", ModuleType("gradio"))
    assert cli.main(["demo", "--checkpoint", str(saved)]) == 0
    assert seen == [0, 1]


def test_the_page_needs_gradio(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: VoVNet
) -> None:
    if find_spec("gradio") is not None:
        import gradio

        assert "lambda_cost" in str(page(gradio, model).get_config_file())
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert cli.main(["demo", "--checkpoint", str(saved)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'vovnet[demo]'" in line
