"""The leakage gate, and the named sets that it stands before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vovnet.config import Settings, SplitRef
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json, read_jsonl
from vovnet.core.layout import Layout
from vovnet.core.records import ImageRef, Sample
from vovnet.data.format_prompts import LETTER, SHORT_ANSWER
from vovnet.data.leakage import KINDS, check_leakage, normalise, sample_keys
from vovnet.data.samples import SampleFile, write_samples
from vovnet.data.sets import image_paths, load_set, load_train, stored_part


def ref(name: str) -> ImageRef:
    return ImageRef(path=f"images/{name}.png", width=4, height=4, sha256=name)


def sample(name: str, dataset: str, split: str, **more: Any) -> Sample:
    value: dict[str, Any] = {"question": f"{dataset} {name}?", "images": [ref(dataset + name)]}
    return Sample(id=name, dataset=dataset, split=split, question_type="vqa", **(value | more))


def settings_for(tmp_path: Path, **data: Any) -> Settings:
    split = {"root": "raw", "files": {"train": "a", "val": "b"}}
    datasets = {"toy": {"format": "textvqa", **split}, "other": {"format": "mmbench", **split}}
    base = {
        "datasets": datasets,
        "train": [{"dataset": "toy", "split": "train"}],
        "eval_sets": {"toy_val": {"dataset": "toy", "split": "val"}},
    }
    return Settings.model_validate({"results_dir": str(tmp_path), "data": base | data})


def store(tmp_path: Path, *samples: Sample) -> None:
    layout = Layout(tmp_path)
    for key in {(item.dataset, item.split) for item in samples}:
        chosen = [item for item in samples if (item.dataset, item.split) == key]
        write_samples(layout.samples(*key), chosen)


def counts(report: dict[str, Any], name: str = "toy_val") -> dict[str, int]:
    return {kind: report["sets"][name][kind]["count"] for kind in KINDS}


# ---------------------------------------------------------------- leakage


def test_clean_sets_pass(tmp_path: Path) -> None:
    store(tmp_path, sample("1", "toy", "train"), sample("2", "toy", "val"))
    layout = Layout(tmp_path)
    report = check_leakage(settings_for(tmp_path), layout)
    assert counts(report) == dict.fromkeys(KINDS, 0)
    assert read_json(layout.leakage_report) == report
    assert (report["num_train_samples"], report["sets"]["toy_val"]["num_samples"]) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "shared"),
    [
        ("question", {"question": "WHAT  is\nthis"}),
        ("image", {"images": [ref("elsewhere"), ref("toy2")]}),
        ("id", {"id": "2"}),
    ],
)
def test_each_kind_is_found_alone(tmp_path: Path, kind: str, shared: dict[str, Any]) -> None:
    evaluated = sample("2", "toy", "val", question="what is this?")
    trained = sample("1", "toy", "train").model_copy(update=shared)
    store(tmp_path, trained, evaluated)
    settings, layout = settings_for(tmp_path, leakage={"fail_on": [kind]}), Layout(tmp_path)
    with pytest.raises(DataError) as caught:
        check_leakage(settings, layout)
    assert str(caught.value) == (
        f"leakage: evaluation set 'toy_val' shares {kind} with the training mix, 1 of 1 samples, "
        f"first toy/val/2 = toy/train/{trained.id}; "
        f"full report: {tmp_path}/data/leakage.failed.json"
    )
    assert not layout.leakage_report.exists()
    report = read_json(tmp_path / "data/leakage.failed.json")
    assert counts(report) == dict.fromkeys(KINDS, 0) | {kind: 1}


def test_a_pair_needs_question_and_image_of_one_sample(tmp_path: Path) -> None:
    evaluated = sample("9", "toy", "val", question="what?", images=[ref("x")])
    store(
        tmp_path,
        evaluated,
        sample("1", "toy", "train", question="what?"),
        sample("2", "toy", "train", images=[ref("x")]),
    )
    settings = settings_for(tmp_path, leakage={"fail_on": ["question_and_image"]})
    report = check_leakage(settings, Layout(tmp_path))
    assert counts(report) == dict.fromkeys(KINDS, 0) | {"question": 1, "image": 1}
    store(tmp_path, sample("3", "toy", "train", question="What", images=[ref("x")]))
    with pytest.raises(DataError, match="shares question_and_image"):
        check_leakage(settings, Layout(tmp_path))


@pytest.mark.parametrize("line", [SHORT_ANSWER, LETTER])
def test_how_to_answer_is_no_part_of_a_question(tmp_path: Path, line: str) -> None:
    """LLaVA's mix says it in the question itself, other datasets in their template."""
    asked = sample("1", "toy", "train", question=f"What is it?\n{line}", images=[ref("x")])
    store(tmp_path, asked, sample("9", "toy", "val", question="what is it", images=[ref("x")]))
    report = check_leakage(settings_for(tmp_path, leakage={"fail_on": []}), Layout(tmp_path))
    assert counts(report)["question"] == counts(report)["question_and_image"] == 1


def test_reports_replace_each_other(tmp_path: Path) -> None:
    layout, settings = Layout(tmp_path), settings_for(tmp_path)
    failed = tmp_path / "data/leakage.failed.json"
    store(tmp_path, sample("1", "toy", "train"), sample("2", "toy", "val"))
    check_leakage(settings, layout)
    store(tmp_path, sample("2", "toy", "train"))
    with pytest.raises(DataError):
        check_leakage(settings, layout)
    assert (layout.leakage_report.exists(), failed.exists()) == (False, True)
    store(tmp_path, sample("1", "toy", "train"))
    check_leakage(settings, layout)
    assert (layout.leakage_report.exists(), failed.exists()) == (True, False)


def test_the_router_set_belongs_to_the_mix_and_caps_count_for_training_only(
    tmp_path: Path,
) -> None:
    trained = [sample(str(i), "toy", "train", question=f"same {i}") for i in range(3)]
    evaluated = [sample(f"v{i}", "toy", "val", question=f"same {i}") for i in range(3)]
    store(tmp_path, *trained, *evaluated)
    part = {"dataset": "toy", "split": "train"}
    settings = settings_for(
        tmp_path,
        train=[part | {"max_samples": 1}],
        router_fit=[part | {"max_samples": 2}],
        eval_sets={"toy_val": {"dataset": "toy", "split": "val", "max_samples": 1}},
    )
    report = check_leakage(settings, Layout(tmp_path))
    assert report["train"] == [part | {"max_samples": 1}]
    assert report["router_fit"] == [part | {"max_samples": 2}]
    assert counts(report)["question"] == 2
    assert report["sets"]["toy_val"]["question"]["examples"][1] == {
        "eval": "toy/val/v1",
        "train": "toy/train/1",
        "shared": "same 1",
    }


def leaking(tmp_path: Path, **data: Any) -> Settings:
    """A mix of six samples: three share an id, an image and a near image with an evaluated one."""
    near, far = f"{0b1:0>64x}", "f" * 64
    looks = {"near": f"{0b11:0>64x}", "evaluated": near, "far": far}
    shown = {
        name: ref(name).model_copy(update={"perceptual": look}) for name, look in looks.items()
    }
    store(
        tmp_path,
        sample("1", "toy", "train"),
        sample("9", "toy", "train"),
        sample("2", "toy", "train", images=[ref("copied")]),
        sample("3", "toy", "train", images=[shown["near"]]),
        sample("4", "toy", "train", images=[shown["far"]]),
        sample("5", "toy", "train", question="asked?"),
        sample("9", "toy", "val", images=[ref("other")]),
        sample("8", "toy", "val", images=[ref("copied")]),
        sample("7", "toy", "val", images=[shown["evaluated"]], question="asked?"),
    )
    return settings_for(tmp_path, **data)


def test_a_leak_stops_the_run_or_is_dropped(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(DataError, match="shares image with the training mix, 1 of 3 samples"):
        check_leakage(leaking(tmp_path), layout)
    assert not layout.left_out.exists()
    drops = leaking(tmp_path, leakage={"on_hit": "drop"})
    report = check_leakage(drops, layout)
    assert counts(report) == dict.fromkeys(KINDS, 0) | {"question": 1}, "stays: it fails nothing"
    assert report["left_out"]["train"] == {"toy_val": {"id": 1, "image": 1, "near_image": 1}}
    assert [item.id for item in load_train(drops, layout)] == [
        f"toy/train/{name}" for name in ("1", "4", "5")
    ]
    listed = [value for _, value in read_jsonl(layout.left_out)]
    assert listed[1] == {
        "mix": "train",
        "dataset": "toy",
        "split": "train",
        "row": 2,
        "id": "2",
        "set": "toy_val",
        "kind": "image",
        "shared_with": "toy/val/8",
    }
    part = {"dataset": "toy", "split": "train", "max_samples": 5}
    drawn = [part | {"draw_seed": seed} for seed in (0, 1)]
    twice = check_leakage(leaking(tmp_path, train=drawn, leakage={"on_hit": "drop"}), layout)
    assert [value["row"] for _, value in read_jsonl(layout.left_out)] == [1, 2, 3], "each once"
    assert (twice["num_train_samples"], sum(twice["left_out"]["train"]["toy_val"].values())) == (
        6,
        3,
    )
    check_leakage(leaking(tmp_path, leakage={"fail_on": []}), layout)
    assert not layout.left_out.exists(), "the list belongs to the report beside it"
    with pytest.raises(
        DataError, match=r"left_out\.jsonl: file not found; `vovnet leakage` writes"
    ):
        load_train(drops, layout)


def test_a_list_of_other_samples_is_refused(tmp_path: Path) -> None:
    layout, drops = Layout(tmp_path), leaking(tmp_path, leakage={"on_hit": "drop"})
    check_leakage(drops, layout)
    store(tmp_path, *(sample(f"new {row}", "toy", "train") for row in range(6)))
    with pytest.raises(DataError, match=r"expected '9' in row 1 of .*train\.jsonl, got 'new 1'"):
        load_train(drops, layout)


def test_a_list_that_is_damaged_or_made_for_other_settings_is_refused(tmp_path: Path) -> None:
    """Otherwise what leaks stays in the mix, and nobody is told."""
    part = {"dataset": "toy", "split": "train", "max_samples": 4, "draw_seed": 0}
    chosen = {"train": [part], "router_fit": [part], "leakage": {"on_hit": "drop", "fail_on": []}}
    layout, settings = Layout(tmp_path), leaking(tmp_path, **chosen)
    check_leakage(settings, layout)
    once = load_train(settings, layout)
    fewer = settings_for(tmp_path, **chosen | {"train": [part | {"max_samples": 2}]})
    assert {item.id for item in load_train(fewer, layout)} < {item.id for item in once}
    job = settings_for(tmp_path, **chosen | {"leakage": {"on_hit": "drop"}})
    assert len(load_train(job, layout)) == len(once), "a job's own settings leave fail_on out"
    for key, change in {
        "train": {"train": [part | {"draw_seed": 1}]},
        "router_fit": {"router_fit": [part | {"max_samples": 5}], "router_fit_held_out": True},
        "router_fit_held_out": {"router_fit_held_out": True},
        "leakage.fail_on": {"leakage": {"on_hit": "drop", "fail_on": ["id"]}},
    }.items():
        said = rf"left_out\.jsonl: made for another data\.{key}, .*; run `vovnet leakage` again"
        with pytest.raises(DataError, match=said):
            load_train(settings_for(tmp_path, **chosen | change), layout)
    drops = leaking(tmp_path, leakage={"on_hit": "drop"})
    check_leakage(drops, layout)
    lines = layout.left_out.read_text().splitlines(keepends=True)
    layout.left_out.write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match=r"left_out\.jsonl: damaged, its content is not what leak"):
        load_train(drops, layout)
    layout.leakage_report.write_text("[1]")
    with pytest.raises(DataError, match=r"leakage\.json: expected a JSON object, got list"):
        load_train(drops, layout)


def test_routers_are_fitted_on_what_no_model_was_trained_on(tmp_path: Path) -> None:
    """A router's question takes everything about its image out of the mix, near copies too."""
    look = {"perceptual": f"{0b1:0>64x}"}
    near = {"perceptual": f"{0b11:0>64x}"}
    store(
        tmp_path,
        sample("1", "toy", "train", images=[ref("shown").model_copy(update=look)]),
        sample("2", "toy", "train", images=[ref("shown")]),
        sample("3", "toy", "train"),
        sample("1", "toy", "val"),
        sample("a", "other", "train", images=[ref("smaller").model_copy(update=near)]),
        sample("b", "other", "train"),
        sample("1", "other", "train"),
    )
    parts = [{"dataset": name, "split": "train"} for name in ("toy", "other")]
    settings = settings_for(
        tmp_path,
        train=parts,
        router_fit=[parts[0] | {"max_samples": 1}],
        router_fit_held_out=True,
        leakage={"on_hit": "drop", "fail_on": []},
    )
    layout = Layout(tmp_path)
    report = check_leakage(settings, layout)
    assert report["left_out"] == {
        "train": {"router_fit": {"id": 1, "image": 1, "near_image": 1}},
        "router_fit": {},
    }
    trained = [item.id for item in load_train(settings, layout)]
    assert trained == ["toy/train/3", "other/train/b", "other/train/1"]
    assert [item.id for item in load_set(settings, layout, "router_fit")] == ["toy/train/1"]


def test_examples_are_ten_at_most(tmp_path: Path) -> None:
    store(
        tmp_path,
        *(sample(f"v{i}", "toy", "val", question="same") for i in range(12)),
        sample("1", "toy", "train", question="same"),
    )
    found = check_leakage(settings_for(tmp_path), Layout(tmp_path))["sets"]["toy_val"]["question"]
    assert (found["count"], len(found["examples"])) == (12, 10)


def test_circular_replicas_share_their_id_and_their_question() -> None:
    first = sample("5", "toy", "val", question="q", choices={"A": "x", "B": "y"}, group="5")
    turned = {"choices": {"A": "Y", "B": "x."}, "id": "1000005", "pass_index": 1}
    assert sample_keys(first) == sample_keys(first.model_copy(update=turned))
    other = first.model_copy(update={"choices": {"A": "x", "B": "z"}})
    assert sample_keys(other)["question"] != sample_keys(first)["question"]


def test_ids_of_different_datasets_are_different(tmp_path: Path) -> None:
    store(tmp_path, sample("1", "toy", "val"), sample("1", "other", "train"))
    settings = settings_for(tmp_path, train=[{"dataset": "other", "split": "train"}])
    assert counts(check_leakage(settings, Layout(tmp_path)))["id"] == 0


def test_normalise() -> None:
    assert normalise("  What's\tTHE\n“Straße”? ") == "what s the strasse"
    assert normalise("\uff26\uff55ll_width") == "full width"
    assert normalise(" ?! ") == "?!"
    assert normalise("7 + 3?") == "7 + 3" != normalise("7 - 3")


def test_missing_samples_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"toy/val\.jsonl: file not found"):
        check_leakage(settings_for(tmp_path), Layout(tmp_path))


# ---------------------------------------------------------------- sets


def circular(split: str = "val") -> list[Sample]:
    order = [("1", 0), ("2", 0), ("1", 1), ("2", 1), ("3", 0)]
    return [
        sample(str(int(group) + 1_000_000 * turn), "other", split, group=group, pass_index=turn)
        for group, turn in order
    ]


def loaded(tmp_path: Path, quick: int | None = None, **chosen: Any) -> list[str]:
    value = {"dataset": "other", "split": "val"} | chosen
    settings = settings_for(tmp_path, eval_sets={"set": value}).model_copy(update={"quick": quick})
    return [item.id for item in load_set(settings, Layout(tmp_path), "set")]


def test_passes_and_caps_of_an_evaluation_set(tmp_path: Path) -> None:
    store(tmp_path, *circular())
    assert loaded(tmp_path) == ["1", "2", "3"]
    assert loaded(tmp_path, max_samples=2) == ["1", "2"]
    assert loaded(tmp_path, max_samples=2, quick=1) == ["1"]
    assert loaded(tmp_path, quick=5) == ["1", "2", "3"]
    assert loaded(tmp_path, passes="all") == ["1", "2", "1000001", "1000002", "3"]
    assert loaded(tmp_path, passes="all", max_samples=1) == ["1", "1000001"]
    drawn = [loaded(tmp_path, passes="all", max_samples=1, draw_seed=seed) for seed in (0, 2)]
    assert drawn == [["3"], ["1", "1000001"]]


def test_a_set_without_first_passes_is_an_error(tmp_path: Path) -> None:
    store(tmp_path, *[item for item in circular() if item.pass_index])
    with pytest.raises(DataError, match="no sample is left of set 'set'"):
        loaded(tmp_path)


def test_mixes_have_unique_ids_and_groups(tmp_path: Path) -> None:
    store(tmp_path, *circular("train"), *(sample(str(i), "toy", "train") for i in (1, 2)))
    parts = [
        {"dataset": "toy", "split": "train", "max_samples": 1},
        {"dataset": "other", "split": "train", "max_samples": 2},
    ]
    settings, layout = settings_for(tmp_path, train=parts, router_fit=parts), Layout(tmp_path)
    mix = load_train(settings, layout)
    assert [item.id for item in mix] == ["toy/train/1", "other/train/1", "other/train/2"]
    assert [item.group for item in mix] == ["", "other/train/1", "other/train/2"]
    assert list(load_set(settings, layout, "router_fit")) == list(mix)
    quick = settings.model_copy(update={"quick": 1})
    assert [item.id for item in load_set(quick, layout, "router_fit")] == [
        "toy/train/1",
        "other/train/1",
    ]
    assert list(load_train(quick, layout)) == list(mix)
    assert image_paths(settings, layout, mix[0]) == [tmp_path / "data/toy/images/toy1.png"]


def test_a_draw_checks_no_sample_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take long, in every process. A line without an id is found nevertheless."""
    talk = sample("7", "toy", "train", conversation="talk")
    store(tmp_path, *circular("train"), *(sample(str(i), "toy", "train") for i in range(6)), talk)
    layout = Layout(tmp_path)
    for dataset in ("toy", "other"):
        stored = SampleFile(layout.samples(dataset, "train"))
        rows = range(len(stored))
        assert [stored.unit(row) for row in rows] == [stored.sample(row).unit for row in rows]
    part = SplitRef(dataset="toy", split="train", max_samples=2, draw_seed=0)
    with monkeypatch.context() as patched:
        patched.setattr(SampleFile, "sample", lambda *_: pytest.fail("a sample was checked"))
        assert stored_part(layout, part).rows_N.size == 2
    path = layout.samples("toy", "train")
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(DataError, match=r"train\.jsonl, line 8, id: Field required"):
        stored_part(layout, part)


def test_a_drawn_part_has_whole_conversations_from_the_whole_file(tmp_path: Path) -> None:
    """A seed draws the same ones always, another one others; a lower cap takes a part of them."""
    talks = [
        sample(f"{row}#{turn}", "toy", "train", conversation=str(row))
        for row in range(40)
        for turn in range(4)
    ]
    store(tmp_path, *talks)

    def drawn(max_samples: int, seed: int) -> list[str]:
        part = {"dataset": "toy", "split": "train", "max_samples": max_samples, "draw_seed": seed}
        settings = settings_for(tmp_path, train=[part])
        return [item.id.rpartition("/")[2] for item in load_train(settings, Layout(tmp_path))]

    chosen = drawn(20, 0)
    rows = [int(name.partition("#")[0]) for name in chosen]
    assert sorted(set(rows)) == rows[::4] and len(chosen) == 20
    assert max(rows) > 20, "not the first rows of the file"
    assert set(drawn(10, 0)) < set(chosen) == set(drawn(20, 0)) != set(drawn(20, 1))


def test_unknown_and_empty_sets_are_clear(tmp_path: Path) -> None:
    settings, layout = settings_for(tmp_path, train=[]), Layout(tmp_path)
    with pytest.raises(ConfigError, match=r"no set named 'x', expected one of \['toy_val', "):
        load_set(settings, layout, "x")
    with pytest.raises(ConfigError, match=r"data\.router_fit: expected at least one part"):
        load_set(settings, layout, "router_fit")
    with pytest.raises(ConfigError, match=r"data\.train: expected at least one part"):
        load_train(settings, layout)
