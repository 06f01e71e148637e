"""One run of `vovnet bench_gpu`: all measurements of one card, or training on several."""

import argparse
import gc
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from vovnet.commands.bench_gpu import measures
from vovnet.commands.bench_gpu.page import draw_kernels, markdown
from vovnet.commands.bench_gpu.subject import (
    bench_settings,
    write_model,
    write_photos,
)
from vovnet.config import Settings
from vovnet.core.errors import ConfigError
from vovnet.core.files import json_ready, read_json, read_text, write_json, write_text
from vovnet.core.records import Sample
from vovnet.data.sets import load_set
from vovnet.inference.engine import Inference
from vovnet.model.product import matrix_product
from vovnet.model.vovnet import VoVNet, device_name, merge_adapters
from vovnet.pipeline.manifest import package_versions

Numbers = dict[str, Any]

COMPARED, AGREEING, LIVE, PLAIN, PREFILLED = 64, 64, 40, 4, 16
"""Questions: by `generate` in batches, batched against single, answered live, one by one by
`generate`, and in a batch of prefill."""


def run_bench_gpu(settings: Settings, args: argparse.Namespace) -> None:
    """Measure and write the files, anew after each part, so that what was measured stays."""
    if not torch.cuda.is_available():
        raise ConfigError("bench_gpu: this machine has no GPU that torch can use")
    least = measures.WARM_STEPS + measures.PROFILED_STEPS + 2
    if args.steps < least:
        raise ConfigError(f"--steps: expected at least {least}, got {args.steps}")
    state = PartialState()
    alone = state.num_processes == 1
    observes = alone and not args.training_only
    if not alone and not (args.output / "bench_gpu.json").exists():
        raise ConfigError(f"{args.output}/bench_gpu.json: measure one card first, for comparison")
    with tempfile.TemporaryDirectory() as name:
        # Every process needs the same photos; they are on one machine.
        folder = Path(name) if alone else Path(tempfile.gettempdir()) / "vovnet_bench_gpu"
        if state.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
            write_model(settings, folder / "model")
        own = bench_settings(settings, folder, state.num_processes)
        if state.is_main_process:
            counts = {
                "train": args.steps * own.training.batch_size,
                "val": args.questions if observes else 1,
            }
            write_photos(own, own.layout, counts)
        state.wait_for_everyone()
        stages = _train(own, folder, args.steps)
        if not alone:
            if state.is_main_process:
                _add_scaling(settings, args.output, stages, state.num_processes)
                shutil.rmtree(folder, ignore_errors=True)
            state.destroy_process_group()
            return
        found = {"training": stages}
        paths = _write(settings, args.output, found)
        if observes:
            samples = load_set(own, own.layout, "photos")[: args.questions]
            for measure in (_own, _plain):
                found |= measure(own, samples)
                _free()
                paths = _write(settings, args.output, found)
    print(read_text(args.output / "bench_gpu.md"))
    for path in paths:
        print(path)


def _train(settings: Settings, folder: Path, steps: int) -> Numbers:
    found: Numbers = {"matmul_tflops": matrix_product()}
    for stage in (1, 2):
        path = folder / f"stage{stage}"
        _tell(f"training, stage {stage}")
        found[f"stage{stage}"] = measures.train(settings, settings.layout, path, stage, steps)
        _free()
    return found


def _own(settings: Settings, samples: Sequence[Sample]) -> Numbers:
    """What the project itself does with a model that is loaded once."""
    model = VoVNet(settings).to("cuda").eval()
    merge_adapters(model)
    measured = (Inference(model, settings), settings.layout)
    found = {}
    for name, measure, chosen in (
        ("observation", measures.observe, samples),
        ("prefill", measures.prefill, samples[:PREFILLED]),
        ("live", measures.live, samples[:LIVE]),
        ("agreement", measures.agreement, samples[:AGREEING]),
    ):
        _tell(name)
        found[name] = measure(*measured, chosen)
    return found


def _plain(settings: Settings, samples: Sequence[Sample]) -> Numbers:
    """What transformers' own `generate` does with the same model."""
    model = settings.model.model_copy(
        update={"attn_implementation": "sdpa", "compile": False, "lora": None}
    )
    plain_settings = settings.model_copy(update={"model": model})
    plain = Inference(VoVNet(plain_settings).to("cuda").eval(), plain_settings)
    found = {}
    for name, count, batch_size in (("batched", COMPARED, COMPARED), ("single", PLAIN, 1)):
        _tell(f"transformers' generate, {name}")
        chosen = samples[:count]
        found[f"generate_{name}"] = measures.generate(plain, settings.layout, chosen, batch_size)
    return found


def _free() -> None:
    """Forget what was measured before, and its compiled layers, as a process of its own would."""
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()


def _tell(what: str) -> None:
    if PartialState().is_main_process:
        print(f"bench_gpu: measuring {what}", file=sys.stderr, flush=True)


def _write(settings: Settings, folder: Path, found: Numbers) -> list[Path]:
    """The file that `vovnet plan` reads, with all that was measured under `measured`."""
    training = found["training"]
    contract: Numbers = {
        "device": device_name(),
        "model": settings.model.base_model_name,
        "source": "vovnet bench_gpu",
        "matmul_tflops": training["matmul_tflops"],
        "training": {
            f"stage{stage}_tflops": training[f"stage{stage}"]["tflops"] for stage in (1, 2)
        },
    }
    if "observation" in found:
        live = found["live"]
        looked = live["always_full"]["parts_ms"]
        contract |= {
            "observation": {
                "prefill_tflops": found["prefill"]["prefill_tflops"],
                "questions_per_s": found["observation"]["questions_per_s"],
                "tflops": found["observation"]["tflops"],
                "decode_ms_per_step": live["no_vision"]["token_ms"],
            },
            "live": {
                "text_pass_ms": live["read_then_no"]["parts_ms"]["text_pass"],
                "token_ms": live["no_vision"]["token_ms"],
                "prefill_full_ms": looked["vision_encoding"] + looked["prefill"],
            },
        }
    value = contract | {"measured": found, "versions": package_versions()}
    write_json(folder / "bench_gpu.json", json_ready(value))
    write_text(folder / "bench_gpu.md", markdown(value))
    return [folder / "bench_gpu.json", folder / "bench_gpu.md", *draw_kernels(value, folder)]


def _add_scaling(settings: Settings, folder: Path, stages: Numbers, cards: int) -> None:
    """What each card keeps of one card's FLOP/s, in the stage that keeps less.

    Several cards are shown more samples than one, of which each asks for other work.
    """
    path = folder / "bench_gpu.json"
    value = read_json(path)
    here = (device_name(), settings.model.base_model_name)
    if (value["device"], value["model"]) != here:
        raise ConfigError(
            f"{path}: of {value['model']} on {value['device']}, not {here[1]} on {here[0]}"
        )
    alone = value["measured"]["training"]
    kept = {
        stage: stages[stage]["tflops"] / alone[stage]["tflops"] for stage in ("stage1", "stage2")
    }
    value.setdefault("scaling", {})[str(cards)] = min(1.0, *kept.values())
    value["measured"].setdefault("scaling", {})[str(cards)] = {"kept": kept, "stages": stages}
    write_json(path, json_ready(value))
    write_text(folder / "bench_gpu.md", markdown(value))
    print(markdown(value))
