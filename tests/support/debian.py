"""Programs that tests install by themselves, as Debian packages and as root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence


class MissingError(Exception):
    """A program is not there and cannot be installed; the text says why."""


def install(what: str, packages: Sequence[str], limit_s: float) -> None:
    """Install packages, also while another test installs others."""
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise MissingError(f"there is no {what}, and no root with apt-get to install it")
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]
    command = [*apt, "install", "-y", "-qq", "--no-install-recommends", *packages]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for step in ([*apt, "update", "-qq"], command):
        try:
            done = subprocess.run(
                step, capture_output=True, text=True, env=environment, timeout=limit_s
            )
        except subprocess.TimeoutExpired:
            raise MissingError(f"apt-get cannot install {what}: it takes too long") from None
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise MissingError(f"apt-get cannot install {what}: {lines[-1]}")
