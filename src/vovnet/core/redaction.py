"""Secrets are kept out of messages, logs and manifests: the one place that knows what they are."""

import os
import re
from collections.abc import Iterable
from urllib.parse import quote, unquote, urlsplit

HIDDEN = "***"

_SPECIAL = r"(?!(?:\w+_)?(?:pad|eos|bos|unk|image)_token\b)"  # a tokenizer's, which are no secrets
_KEY = (
    rf"\b{_SPECIAL}(?:\w+[_-])?"
    r"(?:token|password|passwd|passphrase|secret|api[_-]?key|(?:access|secret|private)[_-]?key)"
)
_VALUE = r"[^\s\"'&,;)]+"
_SHAPES = (
    (re.compile(r"(?<=://)[^/\s\"',]*@"), ""),  # user:password@host, and the password may have an @
    (re.compile(r"(://[^\s?'\"]{0,2000})\?[^\s'\"]*"), r"\1"),  # signatures of download addresses
    (re.compile(r"(?i:\b(authorization['\"]?\s*[:=]\s*['\"]?))[^\r\n'\"]+"), rf"\1{HIDDEN}"),
    (re.compile(r"((?i:\bbearer)\s+|\bapi_org_)[\w.~+/=-]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(hf_|gh[oprsu]_|github_pat_|sk-(?=[\w-]*\d))[\w-]{20,}"), rf"\1{HIDDEN}"),
    (re.compile(r"(\b[Bb]asic\s+)(?=\S*[A-Z0-9+/=])[\w+/-]{6,}={0,2}"), rf"\1{HIDDEN}"),
    (
        re.compile(rf"(?i:({_KEY}['\"]?\s*[:=]\s*)(['\"]))(?:\\.|(?!\2)[^\\\r\n])*\2"),
        rf"\1\2{HIDDEN}\2",
    ),
    (re.compile(rf"(?i:({_KEY}=['\"]?)){_VALUE}"), rf"\1{HIDDEN}"),
    # Behind a colon or a space there may be words, so a value must look like one.
    (re.compile(rf"(?i:({_KEY}(?<!token)\s*:\s*))(?!\*){_VALUE}"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i:({_KEY}\s*:\s*))(?=\S*\d)(?=\S*[a-zA-Z])[\w.~+/=-]{{6,}}"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i:(--{_KEY}\s+))(?!-){_VALUE}"), rf"\1{HIDDEN}"),
)

_NAMED = re.compile(r"(?i)(TOKEN|PASSWORD|PASSPHRASE|SECRET|(API|ACCESS|SECRET|PRIVATE)_?KEY)$")
"""Environment variables whose whole value is a secret."""

_MIN_CHARS = 8
"""A shorter password could be any part of a word."""


def redact(text: str) -> str:
    """The text without passwords, tokens and the queries of addresses, which may be signed."""
    text = hide_known(text)
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def hide_known(text: str) -> str:
    """The text without the secrets of this process's environment, whatever they look like."""
    for secret in sorted(_known_secrets(), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _known_secrets() -> set[str]:
    found = {value for name, value in os.environ.items() if _NAMED.search(name)}
    addresses = (value for value in os.environ.values() if "://" in value and "@" in value)
    for address in addresses:
        found.update(_passwords(address))
    return {secret for secret in found if len(secret) >= _MIN_CHARS}


def _passwords(address: str) -> Iterable[str]:
    """A password as it stands in an address, and as it was before it was put there."""
    try:
        password = urlsplit(address).password or ""
    except ValueError:
        return ()
    return password, unquote(password), quote(password, safe="")
