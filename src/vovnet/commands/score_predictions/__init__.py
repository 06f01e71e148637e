"""`vovnet score_predictions`: totals of published prediction files, beside official verdicts."""

from argparse import Namespace
from pathlib import Path

from vovnet.commands.common import Flag, command, folder


@command(
    "Score a folder of prediction files of MMMU, MMMU-Pro, TextVQA and MMBench, as their own code"
    " or LLaVA writes them. Each file is recognised by its content; files with gold answers or"
    " official verdicts may lie among them. Prints totals, and every row whose verdict differs"
    " from an official one.",
    Flag("folder", type=Path, help="a folder with prediction files, or one such file"),
    Flag(
        "--gold",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="gold answers, where predictions come without: MMMU's answer_dict_val.json, TextVQA's"
        " annotations (JSON), MMBench's table (TSV); may be repeated",
    ),
    Flag(
        "--verdicts",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="official verdicts (JSON, JSONL or TSV): an id, index or g_index, and correct,"
        " if_right, judge, score, hit or circular_hit; may be repeated",
    ),
    Flag(
        "--parse",
        choices=("official", "tolerant", "fuzzy"),
        default="official",
        help="how answers to questions with options are read (official if left out)",
    ),
    Flag(
        "--output_dir",
        type=folder,
        metavar="DIR",
        help="also write totals.json and rows.jsonl, with the verdict on every row",
    ),
)
def score_predictions(args: Namespace) -> None:
    from vovnet.commands.score_predictions.compare import matched, report
    from vovnet.commands.score_predictions.files import read_folder
    from vovnet.commands.score_predictions.totals import scored, write_output

    found = read_folder(args.folder, args.gold, args.verdicts, args.output_dir)
    results = [scored(predictions, args.parse) for predictions in found.sets]
    verdicts = matched(results, found.verdicts)
    reports = [report(result, verdicts.get(result.name)) for result in results]
    if args.output_dir is not None:
        write_output(args.output_dir, results, reports)
    for result, comparison in zip(results, reports, strict=True):
        print("\n".join([*result.lines(), *comparison.lines]))
    for path, reason in found.passed_over:
        print(f"{path}: passed over, {reason}")
