"""`vovnet inspect`: counts of a prepared dataset with a picture of some questions, or the mix."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vovnet.commands.common import Flag, configured, count
from vovnet.core.errors import DataError

if TYPE_CHECKING:
    from vovnet.config import Settings
    from vovnet.core.layout import Layout
    from vovnet.core.records import Sample

DEFAULT_SAMPLES = 12


@configured(
    "print what a prepared dataset holds and draw a contact sheet of its questions, or print what"
    " the training mix is made of",
    Flag("dataset", nargs="?", help="a key of data.datasets; the training mix if left out"),
    Flag("--split", help="one split; every prepared one if left out"),
    Flag(
        "--samples",
        type=count,
        default=DEFAULT_SAMPLES,
        metavar="N",
        help=f"questions on the sheet, spread over the split ({DEFAULT_SAMPLES} if left out)",
    ),
)
def inspect(settings: Settings, args: Namespace) -> None:
    if args.dataset is None:
        _inspect_mix(settings)
        return

    from vovnet.commands.inspect.sheet import write_sheet
    from vovnet.commands.inspect.summary import summarise
    from vovnet.data.samples import read_samples

    layout = settings.layout
    for split in _splits(settings, layout, args.dataset, args.split):
        path = layout.samples(args.dataset, split)
        samples = read_samples(path)
        summary = summarise(samples, settings)
        print(f"{args.dataset}/{split}")
        for line in summary.lines():
            print(f"  {line}")
        sheet = path.with_name(f"{split}.sheet.png")
        if not summary.num_questions:
            raise DataError(f"{path}: no sample is a first pass of its circular group")
        questions = _spread(samples, summary.num_questions, args.samples)
        write_sheet(sheet, settings, layout, questions)
        print(f"  sheet: {sheet}")


def _inspect_mix(settings: Settings) -> None:
    from vovnet.commands.inspect.mix import mix_lines
    from vovnet.data.sets import load_train
    from vovnet.model.loading import load_tokenizer

    tokenizer = load_tokenizer(settings.model)

    def count_tokens(texts: Sequence[str]) -> list[int]:
        plain = {"add_special_tokens": False, "split_special_tokens": True}
        return [len(ids) for ids in tokenizer(list(texts), **plain)["input_ids"]]

    for line in mix_lines(settings, load_train(settings, settings.layout), count_tokens):
        print(line)


def _splits(settings: Settings, layout: Layout, dataset: str, split: str | None) -> list[str]:
    known = settings.data.dataset(dataset).files
    if split is not None:
        return [split]
    prepared = [name for name in known if layout.samples(dataset, name).exists()]
    if not prepared:
        raise DataError(
            f"{layout.data(dataset)}: no split is prepared, run `vovnet prepare` for one of"
            f" {sorted(known)}"
        )
    return prepared


def _spread(samples: Iterable[Sample], num_questions: int, count: int) -> list[Sample]:
    """`count` questions at equal distances in the file; all of them if there are no more."""
    count = min(count, num_questions)
    wanted = {index * num_questions // count for index in range(count)}
    questions = (sample for sample in samples if sample.pass_index == 0)
    return [sample for index, sample in enumerate(questions) if index in wanted]
