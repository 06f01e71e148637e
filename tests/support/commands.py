"""Commands as a user calls them: in this process, or by torchrun on two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import yaml

from vovnet import cli
from vovnet.config import Settings
from vovnet.core.layout import Layout


def called(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """Exit status and stderr of a command."""
    capsys.readouterr()
    try:
        status: Any = cli.main(arguments)
    except SystemExit as stopped:  # argparse
        status = stopped.code
    return status, capsys.readouterr().err


def train_on_two(settings: Settings, layout: Layout) -> str:
    """Train both stages on two processes, over gloo; what they said on stderr."""
    value = settings.model_dump(mode="json") | {"experiments": {}, "targets": {}}
    config = layout.root / "config.yaml"
    config.write_text(yaml.safe_dump(value | {"runs": {"vovnet": {}}}), encoding="utf-8")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    result = subprocess.run(
        [sys.executable, *launch, "-m", "vovnet", "train", "--config", str(config)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stderr
