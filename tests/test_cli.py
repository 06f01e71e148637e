"""The command line: discovery, exit statuses, and what it must not import."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

from vovnet import cli
from vovnet.commands.common import Command, Flag
from vovnet.core.errors import ConfigError


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_registered_command_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main([name, "--help"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: vovnet {name}")


def test_help_lists_every_command_and_imports_none_of_them() -> None:
    result = run_python(
        "import sys; from vovnet.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "loaded = {'torch', 'pandas', 'numpy', 'pydantic', 'vovnet.config'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in cli.COMMANDS)


def test_the_help_of_a_command_loads_nothing_heavy() -> None:
    result = run_python(
        "import sys; from vovnet.cli import COMMANDS, main\n"
        "heavy = {'torch', 'transformers', 'accelerate', 'pandas', 'pyarrow', 'matplotlib'}\n"
        "for name in COMMANDS:\n"
        "    try: main([name, '--help'])\n"
        "    except SystemExit: pass\n"
        "    assert not heavy & set(sys.modules), (name, heavy & set(sys.modules))"
    )
    assert result.returncode == 0, result.stderr


def test_a_command_that_ends_looks_for_no_garbage() -> None:
    """Python would look through what torch and transformers made, for seconds."""
    result = run_python(
        "import atexit, gc; from vovnet.cli import main\n"
        "atexit.register(lambda: print(gc.get_freeze_count()))\n"
        "main(['--version'])"
    )
    assert result.returncode == 0 and int(result.stdout.split()[-1]) > 0


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_flag_is_described(name: str) -> None:
    parser = argparse.ArgumentParser()
    module, _ = cli.COMMANDS[name]
    getattr(import_module(f"vovnet.commands.{module}"), name).add_arguments(parser)
    for action in parser._actions:
        assert action.help, action.option_strings


def fake_command(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    """Register a command `fake` that raises `error`."""
    module = ModuleType("vovnet.commands.fakes")

    def run(args: object) -> None:
        if error is not None:
            raise error

    fake = Command("fake", [Flag("--number", type=int)], run)
    module.fake = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(cli.COMMANDS, "fake", ("fakes", "a fake"))


def test_success_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_command(monkeypatch, None)
    assert cli.main(["fake", "--number", "3"]) == 0


def test_an_expected_error_is_one_line_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_command(monkeypatch, ConfigError("config.yaml: seeds: no seed"))
    assert cli.main(["fake"]) == 2
    assert capsys.readouterr().err == "vovnet: error: config.yaml: seeds: no seed\n"


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_command(monkeypatch, KeyboardInterrupt())
    assert cli.main(["fake"]) == 130


@pytest.mark.parametrize(
    "arguments", [[], ["no_such"], ["fake", "--number", "x"], ["fake", "--numb", "1"]]
)
def test_wrong_arguments_are_one_line_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    fake_command(monkeypatch, None)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(arguments)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_python_m_vovnet_passes_the_exit_status_on() -> None:
    arguments = ["prepare", "--config", "missing.yaml", "--dataset", "d", "--split", "s"]
    result = subprocess.run(
        [sys.executable, "-m", "vovnet", *arguments],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stderr == "vovnet: error: missing.yaml: file not found\n"
