"""The chat template of a model: a program in its folder, which is run with limits.

A template can loop for ever or fill the memory. So it is run in a copy of this process (a fork),
whose time and memory the system limits, and which can do no harm to this one.
"""

from __future__ import annotations

import os
import resource
import select
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import psutil

from vovnet.core.errors import CheckpointError, one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_S = 10
WAIT_S = 100
"""How long nothing may be said: a busy machine gives a process no core for a while."""

MAX_BYTES = 1 << 30
MAX_CHARS = 1 << 20

_RIGHT, _WRONG = b"+", b"-"


def chat_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]]) -> str:
    """What the template makes of messages, with the beginning of an answer after them."""

    def render() -> str:
        text = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True
        )
        return str(text)

    said = _limited(render)
    if not said.startswith(_RIGHT):
        reason = said.removeprefix(_WRONG).decode(errors="replace")
        name = tokenizer.name_or_path
        raise CheckpointError(f"model.base_model_name: the chat template of {name!r}: {reason}")
    return said.removeprefix(_RIGHT).decode()


def _limited(render: Callable[[], str]) -> bytes:
    """What a copy of this process says: the text, or why there is none."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _say(render, write_end)
    os.close(write_end)
    said, is_at_its_end = b"", False
    reader = select.poll()
    reader.register(read_end, select.POLLIN)
    try:
        while not is_at_its_end and reader.poll(1000 * WAIT_S):
            part = os.read(read_end, MAX_CHARS)
            said, is_at_its_end = said + part, not part
    finally:
        os.close(read_end)
        if not is_at_its_end:
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    if not is_at_its_end:
        return _WRONG + f"said nothing for {WAIT_S} s; the machine may be too busy".encode()
    if status != 0:
        return _WRONG + f"took more than {MAX_S} s, or 1 GiB of memory".encode()
    return said


def _say(render: Callable[[], str], write_end: int) -> NoReturn:
    """Say what comes of it, and end: nothing else of the copied process may run."""
    status = 1
    try:
        try:
            _limit_this_process()
            text = render()
            if len(text) > MAX_CHARS:
                raise ValueError(f"makes {len(text)} characters of one question")
            said = _RIGHT + text.encode()
        except BaseException as error:
            reason = f"{type(error).__name__}: {one_line(error)}"[:500]
            said = _WRONG + reason.encode(errors="replace")
        while said:
            said = said[os.write(write_end, said) :]
        status = 0
    finally:
        os._exit(status)


def _limit_this_process() -> None:
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    in_use = psutil.Process().memory_info().vms
    limits = {
        resource.RLIMIT_CPU: MAX_S,
        resource.RLIMIT_AS: in_use + MAX_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard < 0 else min(limit, hard), hard))
