"""What a connector promises. Async only; errors are those of `blocks.errors`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Self

from prefect.blocks.core import Block

from blocks.fieldmap import FieldMap
from blocks.model import Capabilities, Cursor, Entry, Fields, Incident, Page, Report


class IncidentSystem(Block, ABC):
    """Where incidents live. Used as `async with system:`, which opens its HTTP client and closes it.

    Any call may raise Unavailable, Unauthorized, Unreadable or Misconfigured beside what it names.
    """

    _block_type_name = "incident-system"

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this vendor can and cannot do."""

    @property
    @abstractmethod
    def fields(self) -> FieldMap:
        """Our fields and theirs."""

    @property
    @abstractmethod
    def skew(self) -> timedelta:
        """How far the system's clock is ahead of ours, by its last answer's `Date`."""

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Open the client."""

    @abstractmethod
    async def __aexit__(self, *exc: object) -> None:
        """Close the client."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Address, tenant and scope: links and cursors are kept under it."""

    @abstractmethod
    def url(self, id: str) -> str:
        """Where a person looks at this incident."""

    @abstractmethod
    async def check(self) -> Report:
        """In words: address, certificate, login, permission, missing field. Raises nothing."""

    @abstractmethod
    def start(self, at: datetime) -> Cursor:
        """Where a first fetch from this time begins."""

    @abstractmethod
    def rewound(self, cursor: Cursor, by: timedelta) -> Cursor:
        """The cursor, moved back by a look-back."""

    @abstractmethod
    def changes(self, since: Cursor, size: int) -> AsyncIterator[Page]:
        """Pages of what changed, by scope, never by a mirror's filter; oldest first where the vendor can.

        Reads again as much as the vendor's feed may lag (`settle_seconds`), so that a late record is never missed.
        """

    @abstractmethod
    async def matching(self, ids: list[str], query: str) -> set[str]:
        """Which of these ids the vendor's own query finds. Refused: the query is not valid."""

    @abstractmethod
    async def get(self, id: str) -> Incident:
        """One incident as it is now. NotFound."""

    @abstractmethod
    async def entries(self, incidents: Sequence[Incident], known: AbstractSet[str]) -> list[Entry]:
        """The entries of these incidents whose ids are not in `known`, oldest first.

        Asked once a page, for incidents newer than seen, where pages bring no entries.
        """

    @abstractmethod
    async def create(self, fields: Fields, key: str) -> Incident:
        """Create with their fields; `key` is ours and findable afterwards. Refused names the fields."""

    @abstractmethod
    async def find(self, key: str) -> Incident | None:
        """The incident that carries this key of ours."""

    @abstractmethod
    async def update(self, incident: Incident, patch: Fields) -> Incident:
        """Write their fields. Stale if it is no longer at `incident.version`; answers as the system now shows it.

        Refused and Partial name the fields; NotFound.
        """

    @abstractmethod
    async def add_entry(self, incident: Incident, entry: Entry, key: str) -> str:
        """Add a comment, note or file; answers its remote id. Refused, NotFound."""

    @abstractmethod
    def content(self, entry: Entry) -> AsyncIterator[bytes]:
        """A file's bytes."""

    @abstractmethod
    def everything(self, size: int) -> AsyncIterator[Page]:
        """All incidents of the scope, for reconcile."""

    @abstractmethod
    async def find_entry(
        self, incident: Incident, entry: Entry, key: str, after: datetime, known: AbstractSet[str] = frozenset()
    ) -> str | None:
        """The remote id of an entry that we may have sent: by key, else by own account, content and time.

        It was sent after `after`, a time of the system's clock (`skew` is in it already).
        `known` are ids that stand for other entries of ours: what is told by its content is none of them.
        """
