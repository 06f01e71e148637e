"""The table and the figure of `vovnet bench_gpu`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from vovnet.report import style

Numbers = dict[str, Any]

COLORS = {
    "matrix products": style.BLUE,
    "attention": style.ORANGE,
    "other kernels": style.SKY,
    "other cards": style.VERMILLION,
    "idle": style.GREY,
}


def markdown(value: Numbers) -> str:
    """One line for each figure, with its ratio to the matrix product where it is a speed."""
    table = pd.DataFrame(_lines(value), columns=["what", "value", "of the product"])
    versions = value["versions"]
    head = (
        f"{value['model']} with random weights on {value['device']}: a bf16 matrix product runs at"
        f" {value['matmul_tflops']:.0f} TFLOP/s in the same process (torch {versions['torch']},"
        f" transformers {versions['transformers']})."
    )
    return f"{head}\n\n{table.to_markdown(index=False, disable_numparse=True)}\n"


def _lines(value: Numbers) -> Iterator[tuple[str, str, str]]:
    found, product = value["measured"], value["matmul_tflops"]

    def share(tflops: float) -> str:
        return f"{tflops / product:.0%}"

    for stage in ("stage1", "stage2"):
        item = found["training"][stage]
        text = f"{item['samples_per_s']:.1f} samples/s, {item['tflops']:.0f} TFLOP/s,"
        yield (
            f"training, {stage[:5]} {stage[5:]}",
            f"{text} {item['peak_memory_gib']:.0f} GiB",
            share(item["tflops"]),
        )
    for cards, item in found.get("scaling", {}).items():
        kept = ", ".join(f"{share:.1%}" for share in item["kept"].values())
        yield f"each of {cards} cards keeps of one (both stages)", kept, ""
    if "observation" not in found:
        return
    item = found["observation"]
    text = f"{item['questions_per_s']:.1f} questions/s, {item['tflops']:.0f} TFLOP/s,"
    text = f"{text} busy {1 - item['kernels']['idle']:.0%} of the time"
    yield "observing three views, files to tables", text, share(item["tflops"])
    for name in (name for name in ("generate_batched", "generate_single") if name in found):
        what = f"the same by transformers' generate, {name.removeprefix('generate_')}"
        yield what, f"{found[name]['questions_per_s']:.2f} questions/s", ""
    item = found["prefill"]
    for name in ("tower", "prefill"):
        tflops = item[f"{name}_tflops"]
        text = f"{item[f'{name}_ms']:.1f} ms a photo, {tflops:.0f} TFLOP/s"
        yield f"{name} of FULL, in batches", text, share(tflops)
    for name in ("no_vision", "read_then_no", "read_then_full", "always_full"):
        live = found["live"][name]
        parts = ", ".join(f"{part} {ms:.1f}" for part, ms in live["parts_ms"].items() if ms >= 0.05)
        yield f"live, {name.replace('_', ' ')}", f"p50 {live['p50_ms']:.1f} ms ({parts})", ""
    yield "live, a token", f"{found['live']['no_vision']['token_ms']:.1f} ms", ""
    for name, ratio in found["live"]["ratios"].items():
        yield f"live, {name.replace('_', ' ')}", f"{ratio:.2f}", ""
    item = found["agreement"]
    for name in ("batched_and_single_differ", "single_and_live_differ"):
        yield name.replace("_", " "), f"{item[name]} of {item['answers']} answers", ""


def draw_kernels(value: Numbers, folder: Path) -> list[Path]:
    """Where the card's time goes, one bar for each measurement."""
    found = value["measured"]
    bars = {f"training, stage {stage}": found["training"][f"stage{stage}"] for stage in (1, 2)}
    if "observation" in found:
        bars["observing"] = found["observation"]
    with style.paper_style():
        figure, (panel,) = style.panel_grid(1, 1.6, columns=1)
        for row, item in enumerate(bars.values()):
            start = 0.0
            for kind, share in item["kernels"].items():
                panel.barh(row, share, left=start, color=COLORS[kind], height=0.6)
                start += share
        panel.set_yticks(range(len(bars)), list(bars))
        panel.invert_yaxis()
        panel.set_xlim(0, 1)
        panel.set_xlabel(f"share of the time on {value['device']}")
        handles = [style.handle(kind, color=color, linewidth=6) for kind, color in COLORS.items()]
        style.legend_below(figure, handles, len(handles))
        return style.save(figure, folder, "bench_gpu")
