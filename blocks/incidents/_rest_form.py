"""The form that describes a REST system. What is wrong in it is said by `_rest_rules`, before anything is asked."""

from __future__ import annotations

from abc import ABC
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, SecretStr, model_validator
from pydantic.dataclasses import dataclass

from blocks.http_system import HttpSystem
from blocks.incidents import _rest_rules as rules
from blocks.rules import ValueMap


@dataclass(frozen=True)
class RestField:
    """One field of ours, and where the system keeps it."""

    ours: Annotated[
        Literal["title", "description", "status", "severity", "owner", "labels", "close_reason", "close_notes"],
        Field(description="Our field."),
    ]
    read: Annotated[str, Field(description="Where a record shows it: status.name, labels[].name.", min_length=1)]
    written: Annotated[str, Field(description="Where it is written: status. Empty: where it is read.")] = ""
    kind: Annotated[
        Literal["text", "number", "list"], Field(description="What the system wants to be sent. A list has no order.")
    ] = "text"
    writable: Annotated[
        Literal["always", "at creation", "never"], Field(description="When the system lets it be written.")
    ] = "always"

    @property
    def theirs(self) -> str:
        """The system's key of it."""
        return self.written or self.read


USUAL = [RestField("title", "title"), RestField("description", "description"), RestField("status", "status")]
USUAL += [RestField("severity", "severity"), RestField("owner", "assignee"), RestField("labels", "labels", kind="list")]


class RestForm(HttpSystem, ABC):
    """Everything that a person says about a system. Paths are below the address, places in braces are filled."""

    model_config = ConfigDict(hide_input_in_errors=True)  # the input holds the secret
    _block_type_name = "rest-form"

    address: str = Field(description="Where the API's paths begin: https://host/api/v1/.")
    auth: Literal["none", "basic", "bearer", "header"] = Field(
        default="bearer",
        description="How we log in: login and secret (basic), a token (bearer), or a header of its own.",
    )
    login: str = Field(default="", description="The account's login, for basic.")
    secret: SecretStr = Field(default=SecretStr(""), description="Password, token, or the header's whole value.")
    auth_header: str = Field(default="", description="The header that carries the secret: X-API-Key.")
    headers: list[str] = Field(default=[], description="Further headers, no secrets: X-Requested-With: rest.")
    ca_file: str = Field(default="", description="File with your own certificate authority (PEM). Empty: public ones.")
    scope: str = Field(
        default="", description="A name for what `list_path` is limited to, as a queue: links are kept under it."
    )
    web: str = Field(
        default="",
        description="Where a person looks at an incident: https://host/incidents/{id}. Empty: the API's own.",
    )

    list_path: str = Field(
        default="incidents?updated_since={since}&sort=updated_at&page={page}&per_page={size}",
        description="The list: tickets?since={since}&page={page}. Places: {since} {size} {page} {offset} {cursor}.",
    )
    items: str = Field(
        default="items", description="Where an answer holds its records: data.items. Empty: it is the list."
    )
    order: Literal["oldest change first", "any"] = Field(
        default="oldest change first",
        description="How the list comes. With any, or without {since}, each cycle reads the whole list.",
    )
    paging: Literal["page", "offset", "cursor", "next link", "none"] = Field(
        default="page",
        description="How the next page is asked for: a number, an offset, a cursor, or the answer's link.",
    )
    page_size: int = Field(default=100, ge=1, le=10000, description="The most that a page of the system can hold.")
    first_page: int = Field(default=1, ge=0, le=1, description="The first page's number.")
    next_at: str = Field(
        default="", description="Where an answer has the next cursor or link: meta.next, or header:Link."
    )
    total_at: str = Field(
        default="", description="Where it tells how many there are: meta.total. Empty: a page that is not full ends it."
    )

    id_at: str = Field(default="id", description="Where a record has its id: id, or fields.number.")
    updated_at: str = Field(default="updated_at", description="Its time of update: updated_at. Any edit must move it.")
    created_at: str = Field(default="created_at", description="Its time of creation: meta.created. Empty: none.")
    version_at: str = Field(
        default="", description="A counter that each edit raises: version. Empty: the time of update is the version."
    )
    times: str = Field(
        default="iso", description="How times look: iso, seconds, milliseconds, or a pattern as %Y-%m-%d %H:%M:%S. UTC."
    )
    since_times: str = Field(default="", description="How {since} is written: %Y-%m-%d %H:%M:%S. Empty: as `times`.")
    clock_seconds: float = Field(default=1.0, gt=0, le=60, description="What times are cut to, in seconds: 1, or 60.")
    lag_seconds: float = Field(
        default=10.0, ge=0, le=3600, description="How long a list or search may lag behind a write, in seconds: 10."
    )

    mapped: list[RestField] = Field(default=USUAL, description="Our fields and theirs: status, status.name, status.")
    values: list[ValueMap] = Field(
        default=[],
        description="Values that differ: status, open, active. The first of theirs for one of ours is written.",
    )
    further: list[str] = Field(default=[], description="Further fields that a mirror may carry: resolution.code.")
    cleared: Literal["null", "empty text"] = Field(default="null", description="What is sent to clear a field.")

    get_path: str = Field(default="incidents/{id}", description="One incident: incidents/{id}, or incidents?id={id}.")
    record: str = Field(
        default="", description="Where that answer holds the record: data, or items.0. Empty: it is it."
    )
    query_path: str = Field(
        default="",
        description="Its own search: tickets?q=({query}) AND id IN ({ids}). Without {ids} all pages are read.",
    )

    create_path: str = Field(
        default="incidents", description="Where a new one is posted: incidents. Empty: none can be."
    )
    create_with: str = Field(default="", description='What goes with it, as JSON: {"queue": "SOC"}.')
    created_id: str = Field(default="id", description="Where the answer has the new id: data.id, or header:Location.")
    fields_at: str = Field(default="", description="Where a body holds the fields: issue. Empty: at its top.")
    update_method: Literal["PATCH", "PUT", "POST"] = Field(default="PATCH", description="How an incident is changed.")
    update_path: str = Field(
        default="incidents/{id}", description="Where: incidents/{id}. Empty: nothing is ever written."
    )
    update_with: str = Field(default="", description='What goes with it, as JSON: {"version": "{version}"}.')
    if_match: str = Field(
        default="",
        description='The If-Match of a write: {etag}, read before it, or "{version}". Empty: the API has none.',
    )
    etag_path: str = Field(default="", description="Where the ETag is read: incidents/{id}. Empty: with `get_path`.")
    compare: bool = Field(default=True, description="Read an incident before a write, and leave it if it has changed.")

    key_at: str = Field(
        default="", description="A field for our key, by which a lost create is found: external_id, or custom.key."
    )
    key_written: str = Field(default="", description="Where it is written: custom.key. Empty: where it is read.")
    find_path: str = Field(default="", description="Its search, exact or not: incidents?external_id={key}.")

    account: str = Field(
        default="", description="Our account, as its comments name their author: lockstep. Empty: the login."
    )
    comments_path: str = Field(
        default="incidents/{id}/comments",
        description="Comments of one incident (…/{id}/comments), or by their ids (comments?id={ids}). Empty: not read.",
    )
    comment_items: str = Field(
        default="items", description="Where that answer holds them: data. Empty: it is the list."
    )
    comment_ids: str = Field(default="", description="For {ids}: where a record names its comments: comments[].id.")
    comment_id: str = Field(default="id", description="Where a comment has its id: id.")
    comment_text: str = Field(default="text", description="Its words: body.plain. Without words it is no comment.")
    comment_where: str = Field(default="", description="What tells comments from the rest there: type=comment.")
    comment_author: str = Field(default="author", description="Who wrote it: author.name.")
    comment_created: str = Field(default="created_at", description="When: created_at.")
    comment_key: str = Field(default="", description="Where it has our key, if {key} is sent with it: external_id.")
    comment_add_path: str = Field(
        default="incidents/{id}/comments",
        description="Where a new one is posted: incidents/{id}/comments. Empty: none.",
    )
    comment_body: str = Field(
        default='{"text": "{text}"}', description='What is posted, as JSON: {"text": "{text}", "ref": "{key}"}.'
    )
    comment_added_id: str = Field(default="id", description="Where the answer has its id: data.id, or header:Location.")
    link_method: Literal["PATCH", "PUT", "POST"] = Field(
        default="PATCH", description="How it is then linked, if it must be."
    )
    link_path: str = Field(
        default="", description="Where a new comment is then linked to its incident: issue/{id}. Empty: it need not be."
    )
    link_body: str = Field(
        default="", description='With which body: {"messages": ["+{comment}"], "status": "{record.status.id}"}.'
    )

    @property
    def title(self) -> str:
        """Their key of the title, which the rules ask for."""
        return next((row.theirs for row in self.mapped if row.ours == "title"), "")

    @model_validator(mode="after")
    def _right(self) -> Self:
        wrong = rules.wrong(self)
        if wrong:
            raise ValueError("; ".join(f"{name}: {words}" for name, words in wrong.items()))
        return self
