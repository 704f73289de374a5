"""Words from outside, made fit for an error: without our credentials, control characters or length."""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote

import httpx
import orjson

HIDDEN = "***"
SECRETS = "lockstep.secrets"
"""The extension of a request in which an `httpx.Auth` names secrets whose header does not look like one."""

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase|code)|^pass$|pwd|secret|token|api[-_]?key|access[-_]?key|subscription[-_]?key"
    r"|authoriz?ation|auth(?!or)|cookie|credential|assertion|jwt|private|(^|[-_])sig(nature)?$"
    r"|^(device_)?code(_verifier)?$",
    re.IGNORECASE,
)
_PATTERNS = (
    (re.compile(r"\b(bearer|basic|negotiate)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"://[^/\s@]+@"), f"://{HIDDEN}@"),
    (
        re.compile(r"([?&;][\w-]*(?:pass|pwd|secret|token|key|auth|sig|code)[\w-]*=)[^&\s\"'<>]+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
)
_LOGIN = ("authorization", "proxy-authorization")
_GUESS_LENGTH = 4
"""Shorter values of names that only look secret are words or numbers rather than secrets."""
_BODY = 64 * 1024


def credentials(request: httpx.Request) -> set[str]:
    """What in this request is, or looks like, a credential: in its URL, headers and body."""
    found: set[str] = set(request.extensions.get(SECRETS, ()))
    for name, value in request.headers.items():
        if name in _LOGIN or (_SECRET_NAME.search(name) and len(value) >= _GUESS_LENGTH):
            found.update(_of_header(name, value))
    found.update((request.url.password, unquote(request.url.userinfo.decode("ascii", "replace"))))
    guessed = [*request.url.params.multi_items(), *_of_body(request)]
    found.update(v for name, v in guessed if len(v) >= _GUESS_LENGTH and _SECRET_NAME.search(name))
    return found - {""}


def fit(text: str, secrets: Iterable[str], length: int) -> str:
    """`text` on one line, without `secrets`, at most `length` characters.

    Redacted before and after cleaning, as either may bring a secret into view.
    """
    known = set(secrets)
    once = redacted(text, known)
    clean = " ".join("".join(c if c.isprintable() or c.isspace() else "" for c in once).split())
    result = redacted(clean, known)
    return result if len(result) <= length else result[: length - 1] + "…"


def redacted(text: str, secrets: Iterable[str]) -> str:
    """`text` without these secrets, however they are escaped, and without what looks like one."""
    forms = {form for secret in secrets for form in _forms(secret)}
    if forms:
        ordered = sorted(forms, key=len, reverse=True)
        text = re.sub("|".join(map(re.escape, ordered)), HIDDEN, text, flags=re.IGNORECASE)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield html.escape(secret)
    yield orjson.dumps(secret.encode("utf-8", "replace").decode())[1:-1].decode()


def _of_header(name: str, value: str) -> Iterator[str]:
    """A header's value, its token without the scheme, cookies one by one, the password of Basic (RFC 7617)."""
    yield value
    scheme, _, token = value.partition(" ")
    if name == "cookie":
        values = (cookie.partition("=")[2].strip() for cookie in value.split(";"))
        yield from (v for v in values if len(v) >= _GUESS_LENGTH)
    elif scheme.lower() == "basic":
        yield token
        try:
            pair = base64.b64decode(token).decode()
        except (binascii.Error, UnicodeDecodeError):
            return
        yield pair
        yield pair.partition(":")[2]
    elif name in _LOGIN:
        yield token


def _of_body(request: httpx.Request) -> Iterator[tuple[str, str]]:
    try:
        content = request.content
    except httpx.RequestNotRead:
        return
    kind = request.headers.get("content-type", "")
    if len(content) > _BODY or not content:
        return
    if "form-urlencoded" in kind:
        yield from parse_qsl(content.decode("utf-8", "replace"))
    elif "json" in kind:
        try:
            yield from _leaves("", orjson.loads(content))
        except orjson.JSONDecodeError:
            return


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(key, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(name, inner)
