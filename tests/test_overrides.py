"""Nothing in the environment overrides the settings: such variables are dropped."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.hands import Hand
from support.properties import given, st
from vovnet import cli
from vovnet.machine.overrides import LAUNCHED, PLACING, drop_overrides

WANTED = {
    "CUDA_VISIBLE_DEVICES": "0",
    "HF_HOME": "/cache",
    "HF_HUB_OFFLINE": "1",
    "LOCAL_RANK": "0",
    "MASTER_PORT": "29500",
    "OMP_NUM_THREADS": "2",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCH_NCCL_BLOCKING_WAIT": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "GPU_LEASES_PRETEND": "2",
    "WORLD_SIZE": "2",
}
"""Where a process stands among others, what it may use, and where files are cached."""

CHANGING = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_USE_CPU": "no",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_MEGATRON_LM": "true",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
    "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "ACCELERATE_DEBUG_MODE": "true",
    "ACCELERATE_FP8_BACKEND": "TE",
    "PARALLELISM_CONFIG_TP_SIZE": "2",
    "FSDP_VERSION": "2",
    "NVIDIA_TF32_OVERRIDE": "1",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "TRANSFORMERS_SDPA_FORCE_GQA": "1",
    "USE_HUB_KERNELS": "1",
    "MPLBACKEND": "nonsense",
}


@cache
def names_in(package: str, pattern: str) -> list[str]:
    """The environment variables of a package, read from its source."""
    found = find_spec(package)
    assert found is not None and found.origin is not None
    texts = (path.read_text() for path in Path(found.origin).parent.rglob("*.py"))
    return sorted({name for text in texts for name in re.findall(pattern, text)})


def test_every_variable_of_accelerate_is_dropped() -> None:
    """Those that its source names as texts, and by the prefixes of its plug-ins."""
    names = names_in("accelerate", r"[\"'](ACCELERATE_[A-Z0-9_]+|PARALLELISM_CONFIG_[A-Z0-9_]+)")
    names += names_in("accelerate", r"env_prefix = [\"']([A-Z0-9_]+_)[\"']")
    names += names_in("accelerate", r"\bprefix = [\"']([A-Z0-9_]+_)[\"']")
    assert {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "FSDP_", "MEGATRON_LM_"} <= set(names)
    environ = dict.fromkeys(names, "1") | CHANGING | WANTED
    drop_overrides(environ)
    assert environ == WANTED


def test_a_place_among_other_processes_counts_where_a_launcher_has_set_it() -> None:
    names = [*PLACING, "PMI_RANK", "OMPI_COMM_WORLD_SIZE"]
    assert {"WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR"} <= set(names)
    by_another = dict.fromkeys(names, "2")
    launched = by_another | {LAUNCHED: "none"}
    for environ, left in ((by_another, {}), (launched, dict(launched))):
        drop_overrides(environ)
        assert environ == left


@given(
    st.sampled_from(["ACCELERATE_", "FSDP_", "MEGATRON_LM_", "TORCHINDUCTOR_", "ONEDNN_"]),
    st.text("ABCXYZ_019", min_size=1, max_size=12),
    st.text("ABCXYZ_019", min_size=1, max_size=12),
)
def test_further_names_of_a_family_are_dropped_and_others_stay(
    family: str, name: str, other: str
) -> None:
    environ = {family + name: "1", "MY_" + other: "1", **WANTED}
    drop_overrides(environ)
    assert environ == {"MY_" + other: "1", **WANTED}


def test_training_gives_the_same_weights_whatever_the_environment_says(
    hand: Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**CHANGING, "WORLD_SIZE": "2", "PMI_SIZE": "2", "RANK": "x"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "data").symlink_to(hand.root / "data", target_is_directory=True)
    layer = hand.layer("elsewhere", {"results_dir": str(tmp_path)})
    assert cli.main(["train", "--config", str(hand.base), "--config", layer]) == 0
    weights = "runs/vovnet/seed0/stage2/model.safetensors"
    assert (tmp_path / weights).read_bytes() == (hand.root / weights).read_bytes()
