"""The command blocks of the experiments' specification, cut into what a shell would run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE, OPENING = "```", "```bash"
HEREDOC = re.compile(r"<<'(\w+)'")
ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
BACKGROUND = re.compile(r"\s*&\s*$")


@dataclass(frozen=True)
class Command:
    """One command as it stands; of a program also its words, variables and log.

    Commands in the background are told apart no further: they run one after the other.
    """

    text: str

    @property
    def is_shell(self) -> bool:
        """Whether it feeds a text to `cat` or `python` and calls no program of the project."""
        return HEREDOC.search(self.text.partition("\n")[0]) is not None

    @property
    def foreground(self) -> str:
        """The text without the `&` behind its first or only line, for a shell."""
        first, newline, rest = self.text.partition("\n")
        return BACKGROUND.sub("", first) + newline + rest

    @property
    def variables(self) -> dict[str, str]:
        """What stands before the program, such as CUDA_VISIBLE_DEVICES."""
        return dict(word.split("=", 1) for word in self._before_redirection if _assigns(word))

    @property
    def words(self) -> list[str]:
        """The program and its arguments, without `nohup`."""
        words = self._before_redirection
        return [word for word in words if word != "nohup" and not _assigns(word)]

    @property
    def log(self) -> str | None:
        """The file that takes its output."""
        words = shlex.split(self.text)
        return words[words.index(">") + 1] if ">" in words else None

    @property
    def _before_redirection(self) -> list[str]:
        words = shlex.split(self.text)
        end = next((words.index(mark) for mark in (">", "&") if mark in words), len(words))
        return words[:end]


@dataclass(frozen=True)
class Block:
    """A ```bash block: the section it stands in ("B1"), its line, its commands in order."""

    section: str
    line: int
    commands: list[Command]


def read_blocks(path: Path) -> list[Block]:
    """Every ```bash block of a Markdown file; one that never ends is an error."""
    blocks: list[Block] = []
    section, start, inside = "", 0, None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if inside is not None and line != FENCE:
            inside.append(line)
        elif inside is not None:
            blocks.append(Block(section, start, list(_commands(inside))))
            inside = None
        elif line == OPENING:
            start, inside = number, []
        elif line.startswith("#"):
            section = line.strip("# ").split()[0].rstrip(".")
    if inside is not None:
        raise ValueError(f"{path}, line {start}: the block never ends")
    return blocks


def _commands(lines: list[str]) -> Iterator[Command]:
    """Commands without comments; continued lines are joined, here-documents kept whole."""
    rest = iter(lines)
    for line in rest:
        if not line.strip() or line.startswith("#"):
            continue
        if heredoc := HEREDOC.search(line):
            body = [line]
            while body[-1] != heredoc[1]:
                body.append(next(rest))
            yield Command("\n".join(body) + "\n")
        else:
            while line.endswith("\\"):
                line = line[:-1] + next(rest)
            yield Command(line)


def _assigns(word: str) -> bool:
    return ASSIGNMENT.fullmatch(word) is not None
