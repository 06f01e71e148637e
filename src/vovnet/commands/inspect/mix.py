"""What a training mix is made of: kinds of tasks, lengths of answers, shares of the loss.

The shares of the loss are those of the tokens that training predicts, as if every token were
equally hard. With `training.per_token_loss` every answer counts the same.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from vovnet.config import Settings
from vovnet.core.records import Sample
from vovnet.data.formats import format_of

CHUNK = 1000
"""Answers that are cut into tokens at once."""

HEADINGS = ("dataset", "kind", "samples", "share", "tokens", "median", "90%", "cut", "loss")

CountTokens = Callable[[Sequence[str]], list[int]]


def kind_of(settings: Settings, sample: Sample) -> str:
    """The kind of task that a sample is, as its format tells it; else its question type."""
    kind = format_of(settings, sample.dataset).kind
    return kind(sample) if kind else sample.question_type


def mix_lines(
    settings: Settings, samples: Sequence[Sample], count_tokens: CountTokens
) -> Iterator[str]:
    """A table with a row for each dataset and kind, and a line about its columns."""
    answers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for start in range(0, len(samples), CHUNK):
        some = list(samples[start : start + CHUNK])
        counts = count_tokens([sample.answer_text for sample in some])
        for sample, count in zip(some, counts, strict=True):
            answers[sample.dataset, kind_of(settings, sample)].append(count + 1)  # the end token
    limit = settings.training.max_answer_tokens
    lengths = {key: np.array(counts) for key, counts in answers.items()}
    per_token = settings.training.per_token_loss
    weights = {
        key: len(counts) if per_token else int(counts.clip(max=limit).sum())
        for key, counts in lengths.items()
    }
    num_samples, whole = sum(map(len, lengths.values())), sum(weights.values())
    rows = [
        (
            *key,
            str(len(counts)),
            _percent(len(counts) / num_samples),
            f"{counts.mean():.1f}",
            f"{np.median(counts):.0f}",
            f"{np.quantile(counts, 0.9):.0f}",
            _percent((counts > limit).mean()),
            _percent(weights[key] / whole),
        )
        for key, counts in sorted(lengths.items())
    ]
    yield f"training mix: {num_samples} samples"
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    for row in (HEADINGS, *rows):
        texts, numbers = row[:2], row[2:]
        cells = [text.ljust(width) for text, width in zip(texts, widths, strict=False)]
        cells += [text.rjust(width) for text, width in zip(numbers, widths[2:], strict=True)]
        yield "  " + "  ".join(cells)
    yield (
        "  tokens: mean, median and 90% quantile of the answers with their end token; cut: longer"
        f" than training.max_answer_tokens ({limit}); loss: share of all tokens that are predicted"
        + (", each answer's divided by their number" if per_token else "")
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
