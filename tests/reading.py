"""How a report reads: what a person sees of its Markdown, and what of it is structure."""

from __future__ import annotations

import re

from tasks.markdown import JOINER

ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
"""A backslash before punctuation, which Markdown takes for text."""


def read(report: str) -> str:
    """What a person reads."""
    return ESCAPED.sub(r"\1", report).replace(JOINER, "")


def bare(report: str) -> str:
    """What is left for a reader of Markdown to take for structure: all but what a backslash made text of."""
    return ESCAPED.sub("", report)
