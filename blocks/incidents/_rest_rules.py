"""What must hold in a REST system's form, and in which words it is said where it does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from blocks.incidents import _rest_templates as templates
from blocks.incidents._rest_paths import Path, Times
from blocks.incidents._rest_templates import Address

if TYPE_CHECKING:
    from blocks.incidents._rest_form import RestForm

PAGES: Final = ("size", "page", "offset", "cursor")
ADDRESSES: Final[dict[str, tuple[str, ...]]] = {
    "list_path": ("since", *PAGES),
    "get_path": ("id",),
    "query_path": ("query", "ids", *PAGES),
    "create_path": (),
    "update_path": ("id",),
    "etag_path": ("id",),
    "find_path": ("key",),
    "comments_path": ("id", "ids", *PAGES),
    "comment_add_path": ("id",),
    "link_path": ("id", "comment"),
}
"""The fields that are paths below the address, and the places that can be filled in each."""
BODIES: Final[dict[str, tuple[str, ...]]] = {
    "create_with": ("key",),
    "update_with": ("id", "version"),
    "comment_body": ("text", "key", "id", "account", "record"),
    "link_body": ("id", "comment", "record"),
}
ANSWERED: Final = ("next_at", "created_id", "comment_added_id")
"""Paths that may also name a header, as header:Location."""
PATHS: Final = (
    *("items", "total_at", "id_at", "updated_at", "created_at", "version_at", "record", "fields_at", "key_at"),
    *("key_written", "comment_items", "comment_ids", "comment_id", "comment_text", "comment_author", "comment_created"),
    *("comment_key", *ANSWERED),
)
PUT: Final = ("fields_at", "key_written")
NEEDED: Final = {"page": "page", "offset": "offset", "cursor": "cursor"}
"""Which place a way of paging needs in the list's path."""
_SECRET: Final = re.compile(r"authorization|cookie", re.IGNORECASE)
_HEADER: Final = re.compile(r"[A-Za-z0-9-]+")

Check = Callable[["RestForm"], Iterator[tuple[str, str]]]


def wrong(form: RestForm) -> dict[str, str]:
    """What is wrong, by the form's field."""
    found: dict[str, str] = {}
    checks: tuple[Check, ...] = (_addresses, _parts, _places, _mapped, _login, _paging, _writing, _keys, _comments)
    for check in checks:
        for name, words in check(form):
            found.setdefault(name, words)
        if found:
            break
    return found


def _said(check: Callable[[str], object], text: str) -> Iterator[str]:
    try:
        check(text)
    except ValueError as error:
        yield str(error)


def _addresses(form: RestForm) -> Iterator[tuple[str, str]]:
    address, web = (urlsplit(one.strip()) for one in (form.address, form.web))
    if address.scheme not in ("http", "https") or not address.hostname or "@" in address.netloc:
        yield "address", "it must look like https://host/api/v1/, without a login"
    if address.query or address.fragment:
        yield "address", "it must look like https://host/api/v1/, without anything behind the path"
    if form.web and (web.scheme not in ("http", "https") or "{id}" not in form.web):
        yield "web", "it must look like https://host/incidents/{id}"


def _parts(form: RestForm) -> Iterator[tuple[str, str]]:
    """Each field by itself."""
    reads: dict[str, Callable[[str], object]] = dict.fromkeys(ADDRESSES, Address.of)
    reads |= dict.fromkeys(BODIES, templates.parsed) | dict.fromkeys(PATHS, Path.of) | {"times": Times}
    for name, read in reads.items():
        text = getattr(form, name)
        if not (name in ANSWERED and text.startswith("header:")):
            yield from ((name, words) for words in _said(read, text))
    yield from (("since_times", words) for words in _said(Times, form.since_times or form.times))


def _places(form: RestForm) -> Iterator[tuple[str, str]]:
    """Each place can be filled, and those that must be there are."""
    for name, names in {**ADDRESSES, **BODIES, "if_match": ("etag", "version"), "web": ("id",)}.items():
        yield from ((name, words) for words in _said(partial(templates.known, names=names), getattr(form, name)))
    for name, place in (("get_path", "id"), ("find_path", "key"), ("query_path", "query"), ("update_path", "id")):
        text = getattr(form, name)
        if (text or name == "get_path") and place not in templates.places(text):
            yield name, f"it lacks {{{place}}}, or every incident would be asked for at once"
    for name in ("list_path", "id_at", "updated_at", "comment_id", "comment_created"):
        if not getattr(form, name).strip():
            yield name, "it is needed: each incident, and each comment, has its own"


def _mapped(form: RestForm) -> Iterator[tuple[str, str]]:
    names = [row.ours for row in form.mapped]
    if "title" not in names or len(names) != len(set(names)):
        yield "mapped", "title must be among the fields, and none of them twice"
    written = [*((row.theirs, row.writable) for row in form.mapped), *((one, "always") for one in form.further)]
    for theirs, writable in written:
        for words in _said(Path.of, theirs):
            yield "mapped", words
            return
        if not Path.of(theirs).plain and writable != "never" and form.update_path:
            yield (
                "mapped",
                f"{theirs} can be read, not written: say where it is written, as status, or that it never is",
            )
    if len({theirs for theirs, _ in written}) != len(written):
        yield "mapped", "two fields are written to the same place"
    for row in form.mapped:
        yield from (("mapped", words) for words in _said(Path.of, row.read))


def _login(form: RestForm) -> Iterator[tuple[str, str]]:
    secret = form.secret.get_secret_value()
    if form.auth == "basic" and (not form.login or ":" in form.login):
        yield "login", "basic needs a login, without a colon"
    if form.auth != "none" and not secret:
        yield "secret", f"{form.auth} needs a secret"
    if form.auth == "header" and not _HEADER.fullmatch(form.auth_header):
        yield "auth_header", "name the header that carries the secret, as X-API-Key"
    for line in form.headers:
        name, colon, value = line.partition(":")
        if not colon or not _HEADER.fullmatch(name.strip()) or not value.strip().isascii():
            yield "headers", f"write a name, a colon and a value, as X-Requested-With: rest; not {name[:40]!r}"
        elif _SECRET.search(name):
            yield "headers", f"{name.strip()} is a secret: choose auth header, and name it in auth_header"


def _paging(form: RestForm) -> Iterator[tuple[str, str]]:
    place = NEEDED.get(form.paging)
    if place and place not in templates.places(form.list_path):
        yield "list_path", f"paging by {form.paging} needs {{{place}}} in it, as issues?{place}={{{place}}}"
    if form.paging in ("cursor", "next link") and not form.next_at:
        yield "next_at", f"say where an answer has its {form.paging}, as meta.next"
    if form.paging in ("page", "offset") and "size" not in templates.places(form.list_path) and not form.total_at:
        yield "total_at", "without {size} in `list_path`, say where an answer tells how many there are, as meta.total"


def _writing(form: RestForm) -> Iterator[tuple[str, str]]:
    if not form.update_path:
        for name in ("create_path", "comment_add_path"):
            if getattr(form, name):
                yield name, "a system that is written to needs `update_path`; empty this, too"
    if "version" in templates.places(form.if_match) | templates.places(form.update_with) and not form.version_at:
        yield "version_at", "{version} is sent with a write: say where a record has it, as version"
    if form.etag_path and "etag" not in templates.places(form.if_match):
        yield "if_match", "the ETag is read, and never sent: write {etag}"
    if form.fields_at and not Path.of(form.fields_at).plain:
        yield "fields_at", "write keys with dots between them, as issue"


def _keys(form: RestForm) -> Iterator[tuple[str, str]]:
    if bool(form.key_at) != bool(form.find_path):
        yield (
            ("find_path" if form.key_at else "key_at"),
            "our key needs a field and a search: external_id, and its search",
        )
    if form.key_at and not Path.of(form.key_written or form.key_at).plain:
        yield "key_written", "say where the key is written, with keys and dots, as custom.key"


def _comments(form: RestForm) -> Iterator[tuple[str, str]]:
    asked = templates.places(form.comments_path)
    if form.comments_path and not asked & {"id", "ids"}:
        yield "comments_path", "it lacks {id} of the incident, or {ids} of comments"
    if "ids" in asked and not form.comment_ids:
        yield "comment_ids", "say where a record names its comments, as comments[].id"
    if form.comment_add_path and not form.comments_path:
        yield "comments_path", "a comment whose answer was lost is looked for there: it is needed to add one"
    if form.comment_add_path and "text" not in templates.places(form.comment_body):
        yield "comment_body", 'it lacks {text}: write {"text": "{text}"}'
    if (
        form.comment_add_path
        and not form.link_path
        and "id" not in templates.places(form.comment_add_path + form.comment_body)
    ):
        yield "comment_add_path", "it lacks {id}, and nothing links the comment to its incident afterwards"
    where, equals, _ = form.comment_where.partition("=")
    if form.comment_where and (not where or not equals or any(_said(Path.of, where))):
        yield "comment_where", "write a path, = and a value, as type=comment"
    if form.comment_key and "key" not in templates.places(form.comment_body):
        yield "comment_body", "comments show our key, and it is never sent: it lacks {key}"
    if form.comments_path and not form.account and not form.login and form.comment_add_path and not form.comment_key:
        yield "account", "say how comments name our account, or our own would come back as a person's"
