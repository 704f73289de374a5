"""What came from outside is shown as text in a report: no link, no image, no HTML, no chart, no broken table."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.markdown import link, pie, prose, table, text
from tests.reading import bare, read

STRUCTURE = re.compile(r"[\\`*_{}\[\]()<>#|!&~$^]")


@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Z"]), min_size=1, max_size=60)
)
def test_nothing_of_a_value_is_structure_and_all_of_it_can_be_read(value: str) -> None:
    shown = text(value)
    assert read(shown) == value
    assert not STRUCTURE.search(bare(shown))
    assert not re.match(r"[-+=]|[0-9]+\.", shown)


@pytest.mark.parametrize(
    "value",
    [
        "a | b",
        "`code`",
        "![x](http://127.0.0.1/x.png)",
        "[x](javascript:alert)",
        "<img src=x onerror=alert(1)>",
        "line\n\n# heading",
        "```mermaid\npie\n```",
        "a\r\n| --- |",
        "https://example.org/x",
        "www.example.org",
        "ann@example.org",
    ],
)
def test_a_value_stays_in_its_cell(value: str) -> None:
    (_, _, row) = table(("one", "two"), [(text(value), "next")])
    assert bare(row).count("|") == 3
    assert "\n" not in row
    assert not re.search(r"https?://|www\.|\w@\w|]\(|<|`", bare(row))


def test_a_text_without_end_is_cut() -> None:
    assert read(text("x" * 1000)) == "x" * 79 + "…"


def test_what_turns_the_direction_of_text_is_left_out() -> None:
    assert text("a\u202eb\u0000c") == "a b c"


@pytest.mark.parametrize("value", [None, "", []])
def test_nothing_is_shown_as_a_dash(value: object) -> None:
    assert read(text(value)) == "-"


def test_several_values_are_one_line() -> None:
    assert read(text(["a", "b"])) == "a, b"


def test_an_address_cannot_end_its_link() -> None:
    shown = link("7", "http://127.0.0.1/issue7) [x](http://127.0.0.2/ \n<b>|")
    assert shown == "[7](http://127.0.0.1/issue7%29%20%5Bx%5D%28http://127.0.0.2/%20%0A%3Cb%3E%7C)"


def test_only_addresses_of_the_web_become_links() -> None:
    assert link("7", "javascript:alert(1)") == "7"


def test_one_kind_of_count_makes_no_chart() -> None:
    assert pie("x", {"a": 3, "b": 0}) == []
    assert '    "b" : 2' in pie("x", {"a": 3, "b": 2})


def test_a_list_cannot_begin_in_a_value() -> None:
    assert [text(value) for value in ("- a", "+ a", "1. a", "== a")] == ["\\- a", "\\+ a", "1\\. a", "\\== a"]
    assert text("2026-11-24 a-b") == "2026\\-11-24 a-b"


@given(st.text(max_size=200))
def test_prose_keeps_its_lines_and_nothing_of_them_is_structure(value: str) -> None:
    shown = prose(value)
    assert not STRUCTURE.search(bare(shown).replace("<br>", ""))
    assert "\n" not in shown
    if value.strip() and "<br>" not in value:
        assert words(read(shown)) - {"-"} == {word for line in value.splitlines() for word in words(line)} - {"-"}


def words(shown: str) -> set[str]:
    """What can be seen, word by word."""
    seen = "".join(" " if unicodedata.category(c) in {"Cc", "Cf", "Cs"} else c for c in shown.replace("<br>", " "))
    return set(seen.split())


def test_prose_without_end_is_cut() -> None:
    assert len(read(prose("x" * 10_000))) == 1999
    assert read(prose("ab\n" * 10_000)).endswith("…")


def test_an_empty_table_is_not_shown() -> None:
    assert table(("a",), []) == []
