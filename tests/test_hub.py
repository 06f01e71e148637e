"""Downloads from the hub, against a server on the loopback address that speaks its protocol."""

from __future__ import annotations

import argparse
import logging
import os
import random
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.hub import COMMIT, SECRET, Hub, serve
from support.raw_rows import mc_row, write_tsv
from vovnet import cli
from vovnet.commands import steps
from vovnet.commands.common import Command
from vovnet.config import load
from vovnet.core.errors import ConfigError, DataError, error_line
from vovnet.core.files import read_json, sha256_bytes
from vovnet.core.redaction import redact
from vovnet.data.raw_files import FETCHED
from vovnet.pipeline.manifest import write_manifest

pytestmark = pytest.mark.slow

PIECE_BYTES = 10 << 20
TOKEN = "hf_" + "t0ken" * 6
KEPT = [
    *("max_new_tokens=8", "the token: x", "Basic units", "unexpected token: expected one"),
    *("hf_hub_download failed", "pad_token=<|endoftext|>", '"eos_token": "<|im_end|>"'),
    '{"url":"https://a.b","mail":"x@y.z"}',
]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """A repository with one split that is asked for, another split and a card."""
    write_tsv(tmp_path / "dev.tsv", [mc_row(1), mc_row(2, question="Whose?")])
    content = (tmp_path / "dev.tsv").read_bytes()
    return {"tsv/dev.tsv": content, "tsv/test.tsv": b"not asked for", "README.md": b"a card"}


def config(tmp_path: Path, **change: Any) -> Path:
    dataset = {
        "format": "mmbench",
        "source": "hub",
        "repo_id": "org/bench",
        "revision": "main",
        "root": str(tmp_path / "raw"),
        "files": {"dev": "tsv/dev.tsv"},
    }
    value = {
        "results_dir": str(tmp_path / "results"),
        "data": {"datasets": {"bench": dataset | change}},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path


def vovnet(
    tmp_path: Path, hub: Hub, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own: the client reads its environment when it is imported."""
    path = config(tmp_path) if not (tmp_path / "config.yaml").exists() else tmp_path / "config.yaml"
    known = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN}
    result = subprocess.run(
        [sys.executable, "-m", "vovnet", *arguments, "--config", str(path), "--dataset", "bench"],
        capture_output=True,
        text=True,
        env=known | own | environment,
    )
    printed = result.stdout + result.stderr
    assert "Traceback" not in printed, printed
    assert TOKEN not in printed and SECRET not in printed
    return result


def fetched(tmp_path: Path, hub: Hub, **environment: str) -> dict[str, Any]:
    result = vovnet(tmp_path, hub, "fetch", **environment)
    assert result.returncode == 0, result.stderr
    manifest = read_json(tmp_path / "raw" / FETCHED)
    assert isinstance(manifest, dict)
    return manifest


def refused(tmp_path: Path, hub: Hub, **environment: str) -> str:
    """The one line of a failed download, which leaves nothing below the root."""
    result = vovnet(tmp_path, hub, "fetch", **environment)
    assert result.returncode == 2, result.stdout + result.stderr
    assert not (tmp_path / "raw").exists()
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("vovnet: error: ")]
    return line.removeprefix("vovnet: error: ")


def test_a_dataset_is_fetched_at_its_commit_and_prepared(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with serve(Hub(files, large=frozenset({"tsv/dev.tsv"}))) as hub:
        manifest = fetched(tmp_path, hub)
    content = files["tsv/dev.tsv"]
    assert (manifest["repo_id"], manifest["revision"]) == ("org/bench", "main")
    assert manifest["commit"] == COMMIT
    assert manifest["files"] == {
        "tsv/dev.tsv": {"sha256": sha256_bytes(content), "size": len(content)}
    }
    link = tmp_path / "raw/tsv/dev.tsv"
    assert link.read_bytes() == content
    assert link.resolve().is_relative_to(tmp_path / "home"), "HF_HOME holds the file itself"
    assert hub.count("GET", "test.tsv") == hub.count("GET", "README") == 0
    result = vovnet(tmp_path, hub, "prepare", "--split", "dev")
    assert result.returncode == 0, result.stderr
    prepared = read_json(tmp_path / "results/data/bench/dev.manifest.json")
    assert prepared["hub"] == {"repo_id": "org/bench", "revision": "main", "commit": COMMIT}
    assert prepared["num_samples"] == 2


def test_finished_files_are_not_downloaded_again_and_offline_reads_the_cache(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with serve(Hub(files)) as hub:
        first = fetched(tmp_path, hub)
        assert hub.count("GET", "resolve") == 1
        (tmp_path / "raw" / FETCHED).unlink()
        assert fetched(tmp_path, hub) == first
        assert hub.count("GET", "resolve") == 1
        asked = len(hub.requests)
        assert fetched(tmp_path, hub, HF_HUB_OFFLINE="1") == first
        assert len(hub.requests) == asked


def test_offline_without_a_complete_cache_is_refused(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with serve(Hub(files)) as hub:
        message = refused(tmp_path, hub, HF_HUB_OFFLINE="1")
        assert message == (
            "data.datasets.bench: org/bench at revision 'main': is not complete in the cache, "
            "and HF_HUB_OFFLINE forbids a download"
        )
        assert not hub.requests


@pytest.mark.parametrize("large", [False, True])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(tmp_path: Path, large: bool) -> None:
    """The client keeps whole pieces of ten mebibytes, so the file is larger than one."""
    name = "tsv/dev.tsv"
    files = {name: random.Random(0).randbytes(PIECE_BYTES + 2000)}
    chosen = frozenset({name}) if large else frozenset()
    with serve(Hub(files, large=chosen, cut={name: PIECE_BYTES + 1000})) as hub:
        result = vovnet(tmp_path, hub, "fetch")
    assert result.returncode == 0, result.stderr
    assert "Trying to resume download" in result.stderr
    assert hub.ranges() == [f"bytes={PIECE_BYTES}-"]
    assert (tmp_path / "raw/tsv/dev.tsv").read_bytes() == files[name]


def test_a_file_that_is_shorter_than_listed_is_refused(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    name = "tsv/dev.tsv"
    short = {name: files[name][:-30]}
    with serve(Hub(files, large=frozenset({name}), corrupt=short)) as hub:
        assert "a download broke off; fetch again" in refused(tmp_path, hub)
    with serve(Hub(files, large=frozenset({name}))) as hub:
        fetched(tmp_path, hub)


@pytest.mark.parametrize("large", [False, True])
def test_a_file_with_other_bytes_than_listed_is_refused_and_fetched_anew(
    tmp_path: Path, files: dict[str, bytes], large: bool
) -> None:
    name = "tsv/dev.tsv"
    other = {name: files[name].replace(b"Whose", b"Who's")}
    chosen = frozenset({name}) if large else frozenset()
    with serve(Hub(files, large=chosen, corrupt=other)) as hub:
        message = refused(tmp_path, hub)
        assert f"{name} is not what the repository lists" in message
        hub.corrupt.clear()
        fetched(tmp_path, hub)


@pytest.mark.parametrize(
    ("change", "status", "code", "message"),
    [
        ({"revision": "v9"}, None, "", "org/bench at revision 'v9': no such revision"),
        ({"repo_id": "org/none"}, None, "", "org/none at revision 'main': no such dataset"),
        ({}, 403, "GatedRepo", "is gated: accept its terms on the hub and set HF_TOKEN"),
        ({}, 418, "", "the hub answered with status 418"),
        ({"files": {"dev": "*.csv"}}, None, "", "files.dev: no file of org/bench@c0ffee"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    tmp_path: Path,
    files: dict[str, bytes],
    change: dict[str, Any],
    status: int | None,
    code: str,
    message: str,
) -> None:
    config(tmp_path, **change)
    with serve(Hub(files, status=status, error_code=code)) as hub:
        assert message in refused(tmp_path, hub)


def test_a_hub_that_cannot_be_reached_is_no_licence_to_use_the_cache(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with serve(Hub(files)) as hub:
        fetched(tmp_path, hub)
    result = vovnet(tmp_path, hub, "fetch")
    assert result.returncode == 2
    assert "org/bench at revision 'main': ConnectError" in result.stderr


def test_files_of_ones_own_are_not_overwritten(tmp_path: Path, files: dict[str, bytes]) -> None:
    own = tmp_path / "raw/tsv/dev.tsv"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with serve(Hub(files)) as hub:
        result = vovnet(tmp_path, hub, "fetch")
    assert result.returncode == 2
    assert f"{own}: is a file of your own" in result.stderr
    assert own.read_text() == "mine"


def test_links_of_files_that_are_no_longer_asked_for_go(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    config(tmp_path, files={"dev": "tsv/*.tsv"})
    with serve(Hub(files)) as hub:
        fetched(tmp_path, hub)
        assert (tmp_path / "raw/tsv/test.tsv").exists()
        config(tmp_path)
        fetched(tmp_path, hub)
    assert sorted(path.name for path in (tmp_path / "raw/tsv").iterdir()) == ["dev.tsv"]


def test_preparation_needs_the_fetched_revision(tmp_path: Path, files: dict[str, bytes]) -> None:
    with serve(Hub(files)) as hub:
        result = vovnet(tmp_path, hub, "prepare", "--split", "dev")
        assert result.returncode == 2
        assert "run `vovnet fetch --dataset bench`" in result.stderr
        fetched(tmp_path, hub)
        config(tmp_path, revision=COMMIT)
        result = vovnet(tmp_path, hub, "prepare", "--split", "dev")
    assert f"is not of org/bench at revision '{COMMIT}'" in result.stderr


def test_progress_is_shown_in_a_log(tmp_path: Path, files: dict[str, bytes]) -> None:
    with serve(Hub(files)) as hub:
        result = vovnet(tmp_path, hub, "fetch")
    assert "Fetching 1 files: 100%" in result.stderr
    assert result.stdout == f"bench: org/bench@{COMMIT}, 1 files, 0.0 MB\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://me:pass@cdn.org/a.bin?X-Sig={SECRET}&b=1, next", "https://cdn.org/a.bin next"),
        ("https://me:p@ss@cdn.org/a@b and me@cdn.org", "https://cdn.org/a@b and me@cdn.org"),
        (f"(Bearer abc.def, {TOKEN}, api_org_a1B2)", "(Bearer ***, hf_***, api_org_***)"),
        ("Basic bWU6cGFzcw==", "Basic ***"),
        ("{'Authorization': 'Digest a, b'}", "{'Authorization': '***'}"),
        ('token=a1 {"api_key": "b2"}', 'token=*** {"api_key": "***"}'),
        ('ACCESS_TOKEN="c3"', 'ACCESS_TOKEN="***"'),
        ("AWS_SECRET_ACCESS_KEY=a/b+c", "AWS_SECRET_ACCESS_KEY=***"),
        ("password='correct horse'", "password='***'"),
        ('{"password": "a,b;c)d", "n": 1}', '{"password": "***", "n": 1}'),
        ("token: abcdef123", "token: ***"),
        ("--password hunter22 --x-api-key: abcdefg", "--password *** --x-api-key: ***"),
        (f"ghp_{'a1' * 18} sk-{'b2' * 18}", "ghp_*** sk-***"),
        *[(text, text) for text in KEPT],
    ],
)
def test_secrets_are_kept_out_of_messages(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert error_line(DataError(text)) == str(DataError(text)) == shown
    assert shown in error_line(OSError(f"{text}: No space left on device")) or ""


def test_secrets_of_the_environment_are_kept_out_of_logs_and_manifests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    password = "pass%40word"
    monkeypatch.setenv("HF_ENDPOINT", f"https://me:{password}@hub.local/path")
    monkeypatch.setenv("WANDB_API_KEY", "0123abcd")
    monkeypatch.setenv("MY_SECRET_KEY", 'say "yes"')
    monkeypatch.setenv("DB_PASSWORD", "num_samples")

    def leak(arguments: argparse.Namespace) -> None:
        print("pass@word and 0123abcd", file=sys.stderr)
        logging.StreamHandler().emit(logging.makeLogRecord({"msg": os.environ["HF_ENDPOINT"]}))
        raise RuntimeError(password)

    monkeypatch.setattr(steps, "tables", Command("leaks", (), leak))
    try:
        cli.main(["tables"])
    except RuntimeError:
        traceback.print_exc()
    shown = capsys.readouterr().err
    assert "https://hub.local/path" in shown and "RuntimeError: ***" in shown
    settings = load([config(tmp_path)])
    facts = {"note": [password, 'say "yes"'], "num_samples": 3}
    write_manifest(tmp_path / "manifest.json", step="fetch", settings=settings, **facts)
    written = read_json(tmp_path / "manifest.json")
    assert written["note"] == ["***", "***"] and written["num_samples"] == 3
    for text in (shown, (tmp_path / "manifest.json").read_text()):
        assert not any(secret in text for secret in (password, "pass@word", "0123abcd"))


def test_a_hub_dataset_needs_a_repository(tmp_path: Path) -> None:
    path = config(tmp_path, repo_id=None)
    with pytest.raises(ConfigError, match="source 'hub' needs a repo_id"):
        load([path])
