"""What the store keeps encrypted: under LOCKSTEP_KEYS, whose first key encrypts and all of whose keys decrypt.

A token is the short name of its key, a colon and a Fernet token (https://github.com/fernet/spec). So what is kept under
an older key is found by the beginning of its token, and an error can name the key that is missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from cryptography.fernet import Fernet, InvalidToken

from blocks.errors import Misconfigured

NAME: Final = "LOCKSTEP_KEYS"
LONG: Final = 9
"""Bytes of a token's beginning: its key's name and the colon."""


class Keys:
    """The keys of this process, the first of which encrypts. Its repr shows their short names alone."""

    def __init__(self, keys: list[str]) -> None:
        self._fernets = {_name(key): Fernet(key) for key in keys}
        self.first = next(iter(self._fernets))

    def __repr__(self) -> str:
        return f"<Keys {', '.join(name.decode() for name in self._fernets)}>"

    def encrypt(self, plain: bytes) -> bytes:
        """A token, under the first key; a third longer than what it holds."""
        return self.first + self._fernets[self.first].encrypt(plain)

    def decrypt(self, token: bytes) -> bytes:
        """What a token holds.

        Raises:
            Misconfigured: its key is not among ours; or it was changed by somebody else.
        """
        name = token[:LONG]
        fernet = self._fernets.get(name)
        if fernet is None:
            raise _misconfigured(
                f"what is kept was encrypted with the key {_shown(name)}, and {NAME} has only {self!r}: put that key "
                "back, behind the first"
            )
        try:
            return fernet.decrypt(token[LONG:])
        except InvalidToken:
            pass  # raised out here, without what was caught
        raise _misconfigured(f"what is kept under the key {_shown(name)} is damaged: it is not as it was written")

    def is_current(self, token: bytes) -> bool:
        """Whether a token is under the first key."""
        return token.startswith(self.first)


def keys(environ: Mapping[str, str] | None = None) -> Keys:
    """The keys in the environment.

    Raises:
        Misconfigured: there are none, or one of them is malformed; never shows one.
    """
    given = (os.environ if environ is None else environ).get(NAME, "")
    return _keys(given)


def new_key() -> str:
    """A new key, to be put before the others."""
    return Fernet.generate_key().decode()


@lru_cache(maxsize=4)
def _keys(given: str) -> Keys:
    parts = [part.strip() for part in given.split(",") if part.strip()]
    if not parts:
        raise _misconfigured(
            f"{NAME} is not set: `make run` makes it; elsewhere, put it into the environment of each worker, from "
            "the file keys.env"
        )
    wrong = [n for n, part in enumerate(parts, 1) if not _is_key(part)]
    if wrong:
        raise _misconfigured(f"key {wrong[0]} of {len(parts)} in {NAME} is none: 32 random bytes in URL-safe base64")
    return Keys(parts)


def _is_key(text: str) -> bool:
    try:
        Fernet(text)
    except ValueError:
        return False
    return True


def _name(key: str) -> bytes:
    # Of 256 random bits, so that it tells nothing about them.
    return hashlib.sha256(f"name of {key}".encode()).hexdigest()[: LONG - 1].encode() + b":"


def _shown(name: bytes) -> str:
    return name[:-1].decode("ascii", "replace") if name.endswith(b":") else "of another program"


def _misconfigured(message: str) -> Misconfigured:
    return Misconfigured(message, system="store", call="keys")
