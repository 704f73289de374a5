"""What is the same for every incident system behind an HTTP API: its address, and its client, opened and closed."""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import Protocol, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import PrivateAttr

from blocks.contracts import IncidentSystem
from blocks.http import Http


class Connection(Protocol):
    """What a vendor's calls go through."""

    @property
    def http(self) -> Http:
        """The client."""


C = TypeVar("C")


def address_of(value: str, example: str) -> str:
    """An address as a person types it: its host in lower case, a slash at its end. ValueError: it is none."""
    parts = urlsplit(value.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        message = f"the address must look like {example}, without login or query"
        raise ValueError(message)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}/"


class HttpSystem(IncidentSystem):
    """A connector says what it connects with; tests put another transport under the client."""

    _transport: httpx.AsyncBaseTransport | None = PrivateAttr(default=None)
    _open: Connection | None = PrivateAttr(default=None)

    @abstractmethod
    def _connect(self) -> Connection:
        """The vendor's calls, over a client that is not open yet."""

    async def __aenter__(self) -> Self:
        """Open the client."""
        connection = self._connect()
        await connection.http.__aenter__()
        self._open = connection
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the client."""
        connection, self._open = self._open, None
        if connection is not None:
            await connection.http.aclose()

    def _opened(self, kind: type[C]) -> C:
        """The connection, which is of this class. RuntimeError: the block is not open."""
        if not isinstance(self._open, kind):
            raise _closed()
        return self._open

    @property
    def skew(self) -> timedelta:
        """How far the system's clock is ahead of ours; nothing where it does not tell."""
        if self._open is None:
            raise _closed()
        return self._open.http.skew


def _closed() -> RuntimeError:
    return RuntimeError("open the block first: `async with system:`")
