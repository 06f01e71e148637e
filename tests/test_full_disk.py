"""A disk that is full, or fails, is one line that names the file, whichever library writes to it.

A limit on the size of files stands for the disk: it reaches every writer, in whatever language.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import resource, shutil, signal, sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from vovnet.core.errors import error_line
from vovnet.core.files import (
    append_text, atomic_path, write_json, write_text, writing, writing_bytes
)

folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
"""

TAIL = """
try:
    limit(4000)
    write()
except Exception as error:
    limit(resource.RLIM_INFINITY)
    line = error_line(error)
    if line is None:
        raise
    print(line)
"""

STATE = """
from accelerate import Accelerator
from vovnet.training.checkpoints import save_state
accelerator = Accelerator(cpu=True)
model = accelerator.prepare(torch.nn.Linear(500, 500))
optimizer = accelerator.prepare(torch.optim.AdamW(model.parameters()))
model(torch.ones(1, 500)).sum().backward()
optimizer.step()
"""

WRITERS = {
    "a.json": "write_json(folder / 'a.json', list(range(10_000)))",
    "a.yaml": "write_text(folder / 'a.yaml', 'key: value\\n' * 10_000)",
    "a.jsonl": "append_text(folder / 'a.jsonl', '{}\\n' * 10_000)",
    "samples.jsonl": """
with writing(folder / "samples.jsonl") as file:
    for _ in range(10_000):
        file.write("{}\\n")
""",
    "results.csv": """
from vovnet.evaluation.columns import write_csv
write_csv(folder / "results.csv", [{"a": index} for index in range(10_000)], ["a"])
""",
    "full.parquet": """
from vovnet.core.records import write_table
ids = [str(index) for index in range(100_000)]
write_table(folder / "full.parquet", pd.DataFrame({"id": ids}), {"id": pa.string()})
""",
    "curve.png": """
from matplotlib.figure import Figure
with atomic_path(folder / "curve.png") as partial:
    Figure().savefig(partial, format="png", dpi=600)
""",
    "sheet.png": """
from PIL import Image
noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
with atomic_path(folder / "sheet.png") as partial:
    Image.fromarray(noise).save(partial, format="PNG")
""",
    ".images.": """
from io import BytesIO
from PIL import Image
from vovnet.data.image_store import ImageStore
content = BytesIO()
noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
Image.fromarray(noise).save(content, format="PNG")
store = ImageStore(folder / "images", sys.stdout)
try:
    store.add(content.getvalue(), "line 1")
finally:
    store.discard()
""",
    "model.safetensors": """
from vovnet.model.vovnet import save_weights
save_weights(None, folder / "model.safetensors", {"weight": torch.zeros(10_000)})
""",
    "checkpoint-1.pt": """
with writing_bytes(folder / "checkpoint-1.pt") as file:
    torch.save({"weight": torch.zeros(100_000)}, file)
""",
    "checkpoint-2": f"{STATE}\nsave_state(accelerator, folder / 'checkpoint-2')",
    "checkpoint-3": f"{STATE}\nlimit(1_500_000)\nsave_state(accelerator, folder / 'checkpoint-3')",
    "folder for temporary files": """
from vovnet.data.formats.source import NameCounts
names = NameCounts()
for index in range(100_000):
    names.add(f"name {index} " * 10)
""",
    "gone/log.jsonl": "append_text(folder / 'gone' / 'log.jsonl', 'line')",
    "removed/results.csv": """
with atomic_path(folder / "removed" / "results.csv") as partial:
    shutil.rmtree(folder / "removed")
""",
}
"""What the line must name -> what writes it."""


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_is_full_is_one_line(tmp_path: Path, name: str) -> None:
    body = "\n".join(f"    {line}" for line in WRITERS[name].splitlines())
    code = f"{HEAD}\ndef write():\n{body}\n{TAIL}"
    environment = os.environ | {"MPLCONFIGDIR": str(tmp_path / "config")}
    done = subprocess.run(
        # Python would keep byte code that the limit cut off.
        [sys.executable, "-B", "-W", "ignore", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert name in done.stdout and done.stdout.count("\n") == 1, done.stdout
    left = {path.name for path in tmp_path.iterdir()} - {"config", "a.jsonl"}
    assert all(name.startswith("checkpoint-") for name in left), left
