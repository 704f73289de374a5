"""A report's files: nothing that came from outside is run, by a spreadsheet, a browser or a reader of Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.store.cache import LARGEST
from tasks.markdown import JOINER
from tasks.reporting.formats import as_csv, as_json, cell, is_formula
from tasks.reporting.gather import BARS, COLUMNS, MANY, Content, over_time
from tasks.reporting.keep import facts_of
from tasks.reporting.page import POLICY, as_html, bars
from tasks.reporting.show import preview, published_report

NOW = datetime(2026, 11, 24, 12, 30, 5, tzinfo=UTC)
WIDE = ["\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20x", "\ufe621"]
"""Signs of another width, which some spreadsheets take for the same."""

FORMULAS = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\u200b=1", "\ufeff=1", "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://127.0.0.1/","x")', *WIDE,
]  # fmt: skip
EVIL = [
    "<script>alert(1)</script>", "</td></tr></table><img src=x onerror=alert(1)>", '" onmouseover="alert(1)', "'",
    "</title><script>alert(1)</script>", "</svg><script>", "<!--", "]]>", "&lt;script&gt;", "javascript:alert(1)",
    "[x](http://127.0.0.1/evil)", "![x](http://127.0.0.1/evil.png)", "# head\n| a | b |", "```mermaid\npie\n```",
    "https://example.org/evil", "</style>", "a\u202eb", "\u0000", "`x`",
]  # fmt: skip


def row(**more: Any) -> dict[str, Any]:
    blank: dict[str, Any] = dict.fromkeys((*COLUMNS, "description", "custom"))
    return blank | {"id": 7, "title": "T", "status": "new", "created": NOW, "updated": NOW} | more


def content(*rows: Mapping[str, Any], title: str = "Weekly", which: str = "all incidents") -> Content:
    return Content(title, NOW, which, rows or [row()])


def lines(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_spreadsheet_shows_what_looks_like_a_formula_and_runs_it_not(text: str) -> None:
    (_, found) = lines(as_csv(content(row(title=text, owner=text, labels=[text], type=text))))
    for name in ("title", "owner", "labels", "type"):
        assert found[COLUMNS.index(name)] == f"'{text}"


@given(st.text(max_size=30))
def test_no_text_begins_a_cell_as_a_formula_and_none_is_lost(text: str) -> None:
    shown = cell(text)
    assert shown.removeprefix("'") == text.removeprefix("'")
    assert not is_formula(shown)


@pytest.mark.parametrize("text", ["plain", "a=b", "1+1", "'=1", "", "a@b", "\n", "ünï"])
def test_a_text_that_is_no_formula_is_left_as_it_is(text: str) -> None:
    assert cell(text) == text


def test_cells_stay_cells_whatever_is_in_them() -> None:
    odd = 'a,"b"\r\n"";c\t1'
    (head, found) = lines(as_csv(content(row(title=odd, close_notes='","=1'))))
    assert head == list(COLUMNS)
    assert found[COLUMNS.index("title")] == odd
    assert found[COLUMNS.index("close_notes")] == '","=1'
    assert len(found) == len(COLUMNS)


def test_csv_has_times_in_utc_and_nothing_for_what_is_empty() -> None:
    there = NOW.astimezone(datetime.fromisoformat("2026-01-01T00:00+05:30").tzinfo)
    (_, found) = lines(as_csv(content(row(created=there, labels=["a", "b"], id=-3))))
    values = dict(zip(COLUMNS, found, strict=True))
    assert values["created"] == "2026-11-24T12:30:05Z"
    assert (values["closed"], values["labels"], values["id"]) == ("", "a, b", "-3")


def test_json_has_all_of_it() -> None:
    one = row(description="long", custom={"cost": 7, "ok": None}, labels=["a"])
    found = orjson.loads(as_json(content(one, which="status new")))
    assert (found["title"], found["made"], found["which"]) == ("Weekly", "2026-11-24T12:30:05Z", "status new")
    assert found["counts"]["status"] == {"new": 1}
    assert found["incidents"] == [one | {"created": "2026-11-24T12:30:05Z", "updated": "2026-11-24T12:30:05Z"}]


class Seen(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("evil", EVIL)
def test_a_page_has_the_same_elements_whatever_its_incidents_say(evil: str) -> None:
    def page(words: str) -> Seen:
        one = row(title=words, type=words, owner=words, labels=[words], close_notes=words, close_reason=words)
        return Seen(as_html(content(one, title=words, which=words)))

    harmless, seen = page("harmless"), page(evil)
    assert seen.tags == harmless.tags
    assert [name for name, _ in seen.attributes] == [name for name, _ in harmless.attributes]
    assert " ".join(evil.replace("\u202e", " ").replace("\u0000", " ").split()) in " ".join(seen.text.split())


def test_a_page_fetches_and_runs_nothing() -> None:
    page = as_html(content(*(row(type=evil) for evil in EVIL)))
    seen = Seen(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "a", "form", "base", "image", "use"} & set(
        seen.tags
    )
    fetching = {"src", "href", "xlink:href", "action", "style", "data", "background"}
    assert not [name for name, _ in seen.attributes if name in fetching or name.startswith("on")]
    assert ("content", POLICY) in seen.attributes
    assert "default-src 'none'" in POLICY
    assert b"url(" not in page
    assert b"@import" not in page


def test_a_page_shows_each_incident_and_draws_each_count() -> None:
    page = as_html(content(row(id=7, status="new"), row(id=8, status="closed"), row(id=9, status="closed"))).decode()
    assert page.count("<tr>") == 4
    assert page.count("<svg ") == 5
    widths = re.findall(r'<rect [^>]*width="([\d.]+)"', bars("status", {"new": 1, "closed": 2}))
    assert widths == ["110.0", "220.0"]


def test_a_page_of_the_most_incidents_fits_the_cache() -> None:
    rows = [row(id=n, title="x" * 60, owner=f"o{n % 50}", created=NOW - timedelta(hours=n)) for n in range(MANY)]
    assert len(as_html(content(*rows))) < LARGEST / 3


def test_what_is_counted_has_an_order_and_the_rest_of_many_is_together() -> None:
    rows = [row(severity=one, owner=f"o{n}") for n, one in enumerate(["low", "critical", None, "low"] * 4)]
    counts = content(*rows).counts
    assert list(counts["severity"].items()) == [("critical", 4), ("low", 8), ("none", 4)]
    assert len(counts["owner"]) == BARS + 1
    assert counts["owner"]["others"] == 16 - BARS
    assert counts["created"] == {"2026-11-24": 16}


def test_days_without_any_are_there_and_a_long_time_is_told_in_months() -> None:
    first = datetime(2026, 1, 30, 23, 59, tzinfo=UTC)
    assert over_time([first + timedelta(days=2), first]) == {"2026-01-30": 1, "2026-01-31": 0, "2026-02-01": 1}
    assert over_time([first, first + timedelta(days=40), first + timedelta(days=40)]) == {
        "2026-01": 1, "2026-02": 0, "2026-03": 2,
    }  # fmt: skip
    assert len(over_time([first, first + timedelta(days=30)])) == 31
    assert over_time([]) == {}


def waiting(words: str, number: int = 12) -> dict[str, Any]:
    one = row(title=words, type=words, owner=words, severity="low")
    facts = facts_of(content(one, row(status="closed"), title=words, which=words))
    return {
        "id": number, "title": words, "target": words, "facts": facts, "deadline": NOW, "decided_by": words,
        "decided_why": words,
    }  # fmt: skip


def read(report: str) -> str:
    return report.replace(JOINER, "").replace("\\", "")


def structure(report: str) -> str:
    """What a reader of Markdown may take for structure: all but what is escaped, and our own links."""
    bare = re.sub(r"\\[!-/:-@\[-`{-~]|&#\d+;", "", report)
    return re.sub(r"\[[^]]*]\(https://example\.org/evil\)", "", bare)


@pytest.mark.parametrize("evil", EVIL)
def test_nothing_in_an_artifact_is_markdown_but_our_own(evil: str) -> None:
    def both(words: str) -> tuple[str, str]:
        return structure(preview(waiting(words))), structure(published_report(waiting(words), [words]))

    for harmless, found in zip(both("harmless"), both(evil), strict=True):
        assert len(found.splitlines()) == len(harmless.splitlines())
        for mark in "|#*`_":
            assert found.count(mark) == harmless.count(mark)
        assert not re.search(r"<|]\(|!\[|https?://|www\.", found)


def test_a_preview_says_what_to_do_and_until_when() -> None:
    shown = read(preview(waiting("Weekly")))
    assert "run **approve_or_reject** with number 12, before 2026-11-24 12:30 UTC" in shown
    assert "Nothing of it was published" in shown
    assert '"closed" : 1' in shown


def test_a_summary_says_who_agreed_and_where_the_files_are() -> None:
    shown = read(published_report(waiting("Weekly"), ["file:///tmp/a.csv", "https://example.org/a.csv"]))
    assert "Report 12, approved by Weekly: Weekly." in shown
    assert "- file:///tmp/a.csv" in shown
    assert "(https://example.org/a.csv)" in shown
