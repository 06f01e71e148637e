"""What preparing costs: rows, seconds and peak memory, on made-up data of real size.

    python workflow/bench_prepare.py mmbench              4,329 rows, 1,164 images of 30 kB
    python workflow/bench_prepare.py llava 50000 100000   rows with an image each

Each case is prepared in a process of its own, whose peak of resident memory is that of the
preparation alone. The rows are written below a temporary folder and removed.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

MMBENCH_ROWS, MMBENCH_IMAGES = 4329, 1164
IMAGES_PER_FOLDER = 1000


def photograph(rng: np.random.Generator) -> bytes:
    """A JPEG of 512 x 384 pixels and about 30 kB."""
    coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((512, 384), Image.Resampling.BICUBIC)
    noise = rng.integers(-9, 10, (384, 512, 1))
    noisy = np.clip(np.asarray(image, dtype=np.int64) + noise, 0, 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(noisy).save(buffer, format="JPEG", quality=75)
    return buffer.getvalue()


def write_mmbench(root: Path, num_rows: int) -> dict[str, object]:
    """Circular groups whose replicas refer to the image of the first pass."""
    rng = np.random.default_rng(0)
    num_groups = max(1, num_rows * MMBENCH_IMAGES // MMBENCH_ROWS)
    lines = ["index\tquestion\tA\tB\tC\tD\tanswer\tcategory\timage"]
    for row in range(num_rows):
        turn, group = divmod(row, num_groups)
        image = str(group) if turn else base64.b64encode(photograph(rng)).decode()
        index = group + turn * 1_000_000
        lines.append(f"{index}\tWhat is {group}?\tone\ttwo\tthree\tfour\tA\tocr\t{image}")
    (root / "dev.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"format": "mmbench", "files": {"dev": "dev.tsv"}}


def write_llava(root: Path, num_rows: int) -> dict[str, object]:
    """An image of its own for every row, small so that rows and not pixels are measured."""
    with (root / "mix.json").open("w", encoding="utf-8") as file:
        for number in range(num_rows):
            name = f"coco/{number // IMAGES_PER_FOLDER}/{number}.png"
            path = root / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            colour = tuple(number.to_bytes(3, "big"))
            Image.new("RGB", (16, 16), colour).save(path, format="PNG")
            turns = [
                {"from": "human", "value": f"<image>\nWhat is picture {number}? " + "Say. " * 40},
                {"from": "gpt", "value": "A colour. " * 20},
            ]
            row = {"id": f"{number:012d}", "image": name, "conversations": turns}
            file.write(("[" if number == 0 else ",\n") + json.dumps(row))
        file.write("]\n")
    return {"format": "llava", "files": {"dev": "mix.json"}, "image_root": "images"}


CASES: dict[str, Callable[[Path, int], dict[str, object]]] = {
    "mmbench": write_mmbench,
    "llava": write_llava,
}


def peak_mib() -> float:
    """The most memory that this process held.

    What `getrusage` tells is at least what its parent held when it started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(config: Path) -> None:
    """Prepare and print what it cost; called in a process of its own."""
    from vovnet.config import load
    from vovnet.core.layout import Layout
    from vovnet.data.prepare import prepare

    settings = load([config])
    began, cpu_began = time.perf_counter(), time.process_time()
    counts = prepare(settings, "bench", "dev", Layout(Path(settings.results_dir)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    print(
        f"rows {counts['num_samples']:>7}  images {counts['num_images']:>7}"
        f"  seconds {seconds:7.1f} ({cpu:.1f} of CPU)  peak RSS {peak_mib():6.0f} MiB",
        flush=True,
    )


def bench(case: str, num_rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dataset = CASES[case](root, num_rows) | {"root": str(root)}
        value = {"results_dir": str(root / "results"), "data": {"datasets": {"bench": dataset}}}
        config = root / "config.yaml"
        config.write_text(yaml.safe_dump(value), encoding="utf-8")
        print(f"{case:8}", end="", flush=True)
        subprocess.run([sys.executable, __file__, "--measure", str(config)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what `vovnet prepare` costs.")
    parser.add_argument("case", nargs="?", choices=CASES)
    parser.add_argument("rows", nargs="*", type=int, help="numbers of rows to try")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure)
        return
    if args.case is None:
        parser.error(f"expected one of {list(CASES)}")
    for num_rows in args.rows or [MMBENCH_ROWS]:
        bench(args.case, num_rows)


if __name__ == "__main__":
    main()
