"""Errors, named by what the caller does next.

    LockstepError
    ├── Unavailable      try later (`retry_after` seconds, if the system said so)
    ├── Stale            read again, decide again
    ├── NotFound         it is not there, or we may not see it
    ├── Unauthorized     a person must act: login, permission, certificate
    ├── Refused          this input will never work: park it
    ├── Partial          some of it was applied, some refused
    ├── Unreadable       the answer cannot be read: ask for less
    ├── Misconfigured    settings contradict each other or the world
    ├── Busy             somebody else holds the lock: wait, or leave it to them
    └── LockLost         our lock is gone: stop, send nothing more

Each carries the system, the call and the remote id, and never a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blocks.model import Incident


class LockstepError(Exception):
    """Something a caller can react to.

    Args:
        message: what happened and what to do, in words, without secrets.
        system: which system, as its fingerprint or name.
        call: the contract's verb or the HTTP method and path.
        id: the remote id that it was about, if any.

    `status` is the HTTP status that was answered, 0 if none was.
    """

    status: int = 0

    def __init__(self, message: str, *, system: str = "", call: str = "", id: str = "") -> None:
        super().__init__(message)
        self.message, self.system, self.call, self.id = message, system, call, id

    def __str__(self) -> str:
        where = " ".join(part for part in (self.system, self.call, self.id and f"[{self.id}]") if part)
        return f"{where}: {self.message}" if where else self.message


class Unavailable(LockstepError):
    """Try later. `retry_after` is in seconds. `sent` is False when the system certainly did not take the request."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        sent: bool = True,
        system: str = "",
        call: str = "",
        id: str = "",
    ) -> None:
        super().__init__(message, system=system, call=call, id=id)
        self.retry_after, self.sent = retry_after, sent


class Stale(LockstepError):
    """The record is no longer as we read it: read again, decide again."""


class NotFound(LockstepError):
    """It is not there, or we may not see it."""


class Unauthorized(LockstepError):
    """A person must act: login, permission or certificate."""


class Refused(LockstepError):
    """This input will never work. `fields` names the system's keys that it is about, with its reasons."""

    def __init__(
        self,
        message: str,
        *,
        fields: Mapping[str, str] | None = None,
        system: str = "",
        call: str = "",
        id: str = "",
    ) -> None:
        super().__init__(message, system=system, call=call, id=id)
        self.fields = dict(fields or {})


class Partial(Refused):
    """Some fields were applied, some refused: `fields` holds the refused, `incident` shows it as it is now."""

    def __init__(
        self,
        message: str,
        *,
        incident: Incident,
        fields: Mapping[str, str],
        system: str = "",
        call: str = "",
        id: str = "",
    ) -> None:
        super().__init__(message, fields=fields, system=system, call=call, id=id)
        self.incident = incident


class Unreadable(LockstepError):
    """The answer cannot be read (malformed, too large, not text): ask for less."""


class Misconfigured(LockstepError):
    """Settings contradict each other or the world; says which to change."""


class Busy(LockstepError):
    """Somebody else holds the lock: wait, or leave the work to them."""


class LockLost(LockstepError):
    """Our lock is gone, another may hold it by now: stop, and send nothing more."""
