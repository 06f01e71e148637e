"""Write envs/environment.yaml and envs/Dockerfile from envs/requirements.txt, the one source of
versions: `make environments`."""

from __future__ import annotations

import re
from pathlib import Path

ENVS = Path(__file__).resolve().parents[1] / "envs"
PYTHON = "3.11"
IMAGE = "sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7"
"""The content of the base image, python:3.11-slim with Python 3.11.16."""

CONDA = """\
# For `snakemake --software-deployment-method conda`: the versions of requirements.txt.
name: vovnet
channels:
  - conda-forge
dependencies:
  - python={python}
  - pip
  - pip:
"""

CONTAINER = """\
# The project with the versions of requirements.txt. Written by `make environments`.
#
#   docker build --file envs/Dockerfile --tag vovnet .
#   docker run --rm --gpus all --ipc host --user "$(id -u):$(id -g)" --env HOME=/work \\
#     --env USER=vovnet --volume "$PWD:/work" --volume /tmp:/tmp vovnet snakemake
#
# Without --user it runs as the user `vovnet`, never as root.
#
# On machines without docker, --nv shows the GPUs; data elsewhere needs a --bind of its own:
#
#   apptainer build vovnet.sif docker-daemon:vovnet:latest       (where docker is)
#   apptainer exec --nv --bind "$PWD:/work" --bind /tmp --pwd /work vovnet.sif snakemake
#
# In /tmp are the locks by which users of one machine share its GPUs.
FROM python:{python}-slim@{image}
RUN apt-get update \\
    && apt-get install --yes --no-install-recommends git \\
    && rm -rf /var/lib/apt/lists/*
COPY envs/requirements.txt envs/requirements.in envs/own.in /opt/vovnet/envs/
RUN pip install --no-cache-dir --requirement /opt/vovnet/envs/requirements.txt
COPY pyproject.toml LICENSE README.md /opt/vovnet/
COPY src /opt/vovnet/src
RUN pip install --no-cache-dir --no-deps --no-build-isolation \\
        /opt/vovnet/src/gpu_leases /opt/vovnet/src/snakemake_scheduler_plugin_gpu /opt/vovnet
RUN useradd --create-home vovnet
USER vovnet
WORKDIR /work
"""


def pinned() -> list[str]:
    """The lines `name==version` of requirements.txt."""
    text = (ENVS / "requirements.txt").read_text(encoding="utf-8")
    return re.findall(r"^[\w.-]+==\S+$", text, re.MULTILINE)


def environment_files() -> dict[Path, str]:
    """Path -> text of the files that are made from requirements.txt."""
    conda = CONDA.format(python=PYTHON) + "".join(f"      - {item}\n" for item in pinned())
    return {
        ENVS / "environment.yaml": conda,
        ENVS / "Dockerfile": CONTAINER.format(python=PYTHON, image=IMAGE),
    }


if __name__ == "__main__":
    for path, text in environment_files().items():
        path.write_text(text, encoding="utf-8")
        print(path)
