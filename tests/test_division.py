"""MMBench's training part, and the perceptual hash by which the leakage gate knows copies."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.properties import given, st
from support.worlds import settings_of
from vovnet.config import Settings, validate
from vovnet.core.errors import DataError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.core.records import ImageRef, Sample
from vovnet.data.formats.mmbench import train_groups
from vovnet.data.leakage import check_leakage
from vovnet.data.perceptual_hash import MAX_DISTANCE, SIDE, NearHashes, perceptual_hash
from vovnet.data.prepare import prepare
from vovnet.data.samples import read_samples, write_samples
from vovnet.pipeline.keys import step_settings

TRAIN = {"dataset": "bench", "split": "dev_train"}


def sample(group: str, turn: int, image: str) -> Sample:
    return Sample(
        id=str(int(group) + 1_000_000 * turn),
        dataset="bench",
        split="dev",
        question_type="multiple-choice",
        question=f"{group}?",
        images=[ImageRef(path=image, width=1, height=1, sha256=image)],
        group=group,
        pass_index=turn,
    )


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), min_size=1, max_size=60),
    st.floats(0, 0.99),
    st.integers(0, 3),
)
def test_no_group_and_no_image_is_on_both_sides(
    pairs: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    samples = [sample(str(group), turn, f"i{image}") for turn, (group, image) in enumerate(pairs)]
    chosen = train_groups(samples, fraction, seed)
    images = [
        {item.images[0].sha256 for item in samples if (item.group in chosen) == side}
        for side in (True, False)
    ]
    assert not images[0] & images[1]
    assert len(chosen) <= fraction * len({item.group for item in samples})
    assert chosen == train_groups(samples[::-1], fraction, seed), "file order does not count"


def test_the_fraction_and_the_seed_are_kept() -> None:
    samples = [sample(str(number), 0, f"i{number}") for number in range(200)]
    halves = [train_groups(samples, 0.5, seed) for seed in (0, 1)]
    assert [len(half) for half in halves] == [100, 100]
    assert halves[0] != halves[1]
    assert train_groups(samples, 0, 0) == set()


# ---- in the pipeline -------------------------------------------------------------------


def settings_for(layout: Layout, world: Path, fraction: float, **data: Any) -> Settings:
    """A dataset whose three splits are one rendered file: all of it, and its two parts."""
    file = "synth_mmbench_dev.tsv"
    bench = {
        "format": "mmbench",
        "root": str(world / "raw/synth_mmbench"),
        "files": {"dev": file, "dev_train": file, "dev_eval": file},
    }
    change = {
        "datasets": {"bench": bench},
        "train": [TRAIN, {"dataset": "synth_textvqa", "split": "train"}],
        "eval_sets": {"bench": {"dataset": "bench", "split": "dev_eval"}},
        "mmbench_train_fraction": fraction,
    }
    value = settings_of(layout).model_dump()
    value["data"]["eval_sets"] = {}
    value["data"]["router_fit"] = []
    value["data"] = value["data"] | change | data
    value["data"]["datasets"] |= settings_of(layout).model_dump()["data"]["datasets"]
    return validate(value, "test")


def test_a_file_is_divided_into_two_parts_without_leakage(world: Path, fresh: Layout) -> None:
    (fresh.root / "data").unlink()
    (fresh.root / "data").mkdir()
    (fresh.root / "data/synth_textvqa").symlink_to(world / "data/synth_textvqa")
    settings = settings_for(fresh, world, 0.5)
    parts = {}
    for split in ("dev", "dev_train", "dev_eval"):
        prepare(settings, "bench", split, fresh)
        parts[split] = read_samples(fresh.samples("bench", split))
    assert len(parts["dev_train"]) + len(parts["dev_eval"]) == len(parts["dev"])
    groups = {split: {item.group for item in samples} for split, samples in parts.items()}
    assert groups["dev_train"] and not groups["dev_train"] & groups["dev_eval"]
    manifest = read_json(fresh.data_manifest("bench", "dev_train"))
    assert manifest["division"] == {"base": "dev", "part": "train", "fraction": 0.5, "seed": 0}
    report = check_leakage(settings, fresh)
    assert [report["sets"]["bench"][kind]["count"] for kind in ("image", "id")] == [0, 0]


def test_a_fraction_of_zero_trains_without_it(world: Path, fresh: Layout) -> None:
    settings = settings_for(fresh, world, 0, router_fit=[TRAIN])
    assert [part.dataset for part in settings.data.train] == ["synth_textvqa"]
    assert settings.data.router_fit == []
    assert len(settings_for(fresh, world, 0.3).data.train) == 2


def test_steps_know_the_division_of_the_parts_they_read(world: Path, fresh: Layout) -> None:
    settings = settings_for(fresh, world, 0.3)
    steps: list[tuple[str, dict[str, Any]]] = [
        ("prepare", {"dataset": "bench", "split": "dev_eval"}),
        ("leakage", {}),
        ("train", {"run": "vovnet", "seed": 0, "stage": 1}),
    ]
    for step, selection in steps:
        assert step_settings(settings, step, **selection)["data"]["mmbench_train_fraction"] == 0.3
    untouched = step_settings(settings, "prepare", dataset="bench", split="dev")
    assert "mmbench_train_fraction" not in untouched["data"]


# ---- the perceptual hash ---------------------------------------------------------------


def drawn(seed: int, side: int = 320) -> Image.Image:
    """A smooth picture, as photographs are."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_near_and_others_are_far(seed: int) -> None:
    image = drawn(seed)
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=70)
    copies = [Image.open(buffer), image.resize((200, 200)), image.convert("L")]
    hashes = [perceptual_hash(copy) for copy in copies]
    assert all(distance(perceptual_hash(image), copy) <= MAX_DISTANCE for copy in hashes)
    others = [perceptual_hash(drawn(other)) for other in range(5, 30)]
    assert min(distance(perceptual_hash(image), other) for other in others) > 4 * MAX_DISTANCE


def test_plain_images_have_no_hash() -> None:
    plain = np.random.default_rng(0).integers(254, 256, (300, 300), dtype=np.uint8)
    assert perceptual_hash(Image.fromarray(plain)) == ""


@given(st.integers(0, 2**SIDE**2 - 1), st.sets(st.integers(0, SIDE**2 - 1), max_size=12))
def test_near_hashes_are_found_up_to_the_distance(value: int, flipped: set[int]) -> None:
    other = value
    for bit in flipped:
        other ^= 1 << bit
    texts = [f"{number:064x}" for number in (value, other)]
    assert NearHashes(texts[:1]).near(texts[1]) == (
        texts[:1] if len(flipped) <= MAX_DISTANCE else []
    )


def test_flat_margins_that_many_images_have_do_not_make_them_candidates() -> None:
    """Charts and documents: content in six of sixteen rows. Few share a band and are compared."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 1 << 16, (1000, 6))
    texts = ["0" * 20 + "".join(f"{row:04x}" for row in own) + "0" * 20 for own in rows.tolist()]
    index = NearHashes(texts)
    assert max(map(len, index._by_band.values())) < 25
    assert all(index.near(text) == [text] for text in texts[:10])


def test_the_gate_knows_an_image_by_its_look(tmp_path: Path) -> None:
    """The same picture, once as PNG and once as JPEG of another size."""
    value = {
        "datasets": {"toy": {"format": "textvqa", "root": "raw", "files": {"a": "a", "b": "b"}}},
        "train": [{"dataset": "toy", "split": "a"}],
        "eval_sets": {"toy": {"dataset": "toy", "split": "b"}},
    }
    settings = Settings.model_validate({"results_dir": str(tmp_path), "data": value})
    layout = Layout(tmp_path)
    looks = [drawn(1), drawn(1).resize((250, 250))]
    for split, image in zip("ab", looks, strict=True):
        ref = ImageRef(
            path=split, width=1, height=1, sha256=split, perceptual=perceptual_hash(image)
        )
        item = sample("1", 0, "x").model_copy(
            update={"id": split, "group": "", "images": [ref], "dataset": "toy", "split": split}
        )
        write_samples(layout.samples("toy", split), [item])
    with pytest.raises(DataError, match=r"shares near_image .* first toy/b/b = toy/a/a"):
        check_leakage(settings, layout)
