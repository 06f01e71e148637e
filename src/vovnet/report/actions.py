"""How the report names actions: in words, and briefly where columns are narrow."""

from __future__ import annotations

from collections.abc import Sequence


def label(view: str) -> str:
    """The name of a view for people, such as "FULL", "64 px" or "FULL+merge-cosine-0.5"."""
    return "+".join(_parts(view, {}))


def short(actions: Sequence[str]) -> list[str]:
    """Brief names, such as "N", "64" or "F+m0.5"; the names for people where two would be equal."""
    names = []
    for action in actions:
        budget, *reductions = _parts(action, {"no": "N", "coarse": "C", "full": "F"})
        brief = [f"{text[0]}{text.rpartition('-')[2]}" for text in reductions]
        names.append("+".join([budget.removesuffix(" px"), *brief]))
    return names if len(set(names)) == len(names) else [label(action) for action in actions]


def shares_heading(actions: Sequence[str]) -> str:
    """What the shares of all actions in one column are called, such as "N / C / F"."""
    return " / ".join(short(actions))


def shares_note(actions: Sequence[str]) -> str:
    """The sentence in a caption that explains `shares_heading`."""
    return f"{shares_heading(actions)}: shares of the actions {words(actions)}."


def words(actions: Sequence[str]) -> str:
    """The names of all actions in a sentence, such as "NO, COARSE and FULL"."""
    *first, last = map(label, actions)
    return f"{', '.join(first)} and {last}" if first else last


def _parts(view: str, letters: dict[str, str]) -> list[str]:
    budget, *reductions = view.split("+")
    kind, _, size = budget.partition("-")
    names = {"side": f"{size} px", "pixels": f"{size} pixels"} | letters
    return [names.get(kind, budget.upper()), *reductions]
