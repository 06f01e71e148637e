"""Preparation of any format: its images, its manifest and its errors."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

import pytest
from PIL import Image

from support.raw_rows import (
    b64,
    failure,
    mc_row,
    picture,
    prepared,
    raw,
    settings_for,
    write_tsv,
)
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json, sha256_bytes
from vovnet.core.layout import Layout
from vovnet.data.image_store import ImageStore
from vovnet.data.prepare import prepare
from vovnet.data.samples import read_samples

# ---------------------------------------------------------------- images


def test_truncated_images_are_refused(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG"):
        content = picture(size=(300, 300), kind=kind)
        write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1, image=b64(content[: len(content) // 2]))])
        assert "row 1, column 'image': not a decodable image" in failure(
            tmp_path, "mmbench", "dev.tsv"
        )


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1)])
    assert failure(tmp_path, "mmbench", "dev.tsv") == (
        "dev.tsv, row 1, column 'image': the image has more than 100 pixels"
    )


def test_images_keep_their_bytes_and_get_the_extension_of_their_format(tmp_path: Path) -> None:
    contents = [picture(kind=kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP")]
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(i, image=b64(c)) for i, c in enumerate(contents)])
    refs = [sample.images[0] for sample in prepared(tmp_path, "mmbench", "dev.tsv")]
    assert [ref.sha256 for ref in refs] == [sha256_bytes(content) for content in contents]
    assert [ref.path for ref in refs] == [
        f"images/{ref.sha256}.{kind}"
        for ref, kind in zip(refs, ["png", "jpg", "gif", "webp", "bmp"], strict=True)
    ]


def test_images_that_did_not_arrive_leave_no_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process removes what lies aside, as one would with a name of its own."""
    rows = [mc_row(i, image=b64(picture(colour))) for i, colour in enumerate(["red", "blue"])]
    write_tsv(raw(tmp_path, "dev.tsv"), rows)
    arrives = ImageStore.publish

    def removed(store: ImageStore, digests: Collection[str]) -> None:
        next(tmp_path.rglob(".images.*.partial/*.png")).unlink()
        arrives(store, digests)

    monkeypatch.setattr(ImageStore, "publish", removed)
    assert "images: 1 of 2 images did not arrive" in failure(tmp_path, "mmbench", "dev.tsv")
    assert list(tmp_path.rglob("*.manifest.json")) == []


def test_preparing_again_heals_a_damaged_image(tmp_path: Path) -> None:
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1, image=b64(picture(kind="BMP")))])
    (sample,) = prepared(tmp_path, "mmbench", "dev.tsv")
    (image,) = tmp_path.rglob("*.bmp")
    image.write_bytes(image.read_bytes()[:60] + bytes(len(image.read_bytes()) - 60))
    assert prepared(tmp_path, "mmbench", "dev.tsv") == [sample]
    assert sha256_bytes(image.read_bytes()) == sample.images[0].sha256


# ---------------------------------------------------------------- prepare


def test_prepare_is_deterministic_and_says_what_it_read(tmp_path: Path) -> None:
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1), mc_row(2, image=b64(picture("blue")))])
    settings, layout = settings_for(tmp_path, "mmbench", "dev.tsv"), Layout(tmp_path / "results")
    counts = prepare(settings, "toy", "dev", layout)
    assert counts == {"num_samples": 2, "num_images": 2, "skipped": {}}
    files = sorted(path for path in layout.data("toy").rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in files}
    assert prepare(settings, "toy", "dev", layout) == counts
    assert {path: path.read_bytes() for path in files} == before
    assert len(files) == 4
    manifest = read_json(layout.data_manifest("toy", "dev"))
    assert manifest["step"] == "prepare"
    source = (tmp_path / "raw/dev.tsv").read_bytes()
    assert manifest["inputs"]["dev.tsv"]["sha256"] == sha256_bytes(source)
    jsonl = layout.samples("toy", "dev").read_bytes()
    assert manifest["outputs"]["dev.jsonl"]["sha256"] == sha256_bytes(jsonl)
    hashes = sorted(
        image.sha256 for s in read_samples(layout.samples("toy", "dev")) for image in s.images
    )
    assert manifest["images_sha256"] == sha256_bytes("\n".join(hashes).encode())


def test_a_failed_preparation_leaves_no_manifest_of_an_earlier_one(tmp_path: Path) -> None:
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1)])
    prepared(tmp_path, "mmbench", "dev.tsv")
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1, answer="Z")])
    with pytest.raises(DataError):
        prepared(tmp_path, "mmbench", "dev.tsv")
    assert not Layout(tmp_path / "results").data_manifest("toy", "dev").exists()


def test_wrong_names_are_clear(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "results")
    settings = settings_for(tmp_path, "mmbench", "gone.tsv")
    with pytest.raises(ConfigError, match="no dataset named 'x', expected one of"):
        prepare(settings, "x", "dev", layout)
    with pytest.raises(ConfigError, match=r"data\.datasets\.toy\.files\.y: no such split"):
        prepare(settings, "toy", "y", layout)
    with pytest.raises(DataError, match=r"gone\.tsv: file not found \(data\.datasets\.toy\.files"):
        prepare(settings, "toy", "dev", layout)
    with pytest.raises(DataError, match="run `vovnet fetch --dataset toy`"):
        hub = settings_for(tmp_path, "mmbench", "a.tsv", source="hub", repo_id="org/bench")
        prepare(hub, "toy", "dev", layout)
    for name in ("a.tsv", "b.tsv"):
        write_tsv(raw(tmp_path, name), [mc_row(1)])
    with pytest.raises(DataError, match="split 'dev' takes one file, got"):
        prepare(settings_for(tmp_path, "mmbench", "*.tsv"), "toy", "dev", layout)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = raw(tmp_path, "dev.tsv")
    write_tsv(path, [mc_row(1)])
    digests = {name: hashlib.new(name, path.read_bytes()).hexdigest() for name in ("md5", "sha256")}
    for name, digits in digests.items():
        assert prepared(tmp_path, "mmbench", "dev.tsv", checksums={"dev": f"{name}:{digits}"})
    path.write_text(path.read_text() + "\n")
    (tmp_path / "results/data/toy/dev.jsonl").unlink()
    (tmp_path / "results/data/toy/dev.manifest.json").unlink()
    message = failure(tmp_path, "mmbench", "dev.tsv", checksums={"dev": f"md5:{digests['md5']}"})
    assert message.startswith("dev.tsv: is another version, or damaged: its md5 is ")
