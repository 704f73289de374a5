"""What ends a grant. Both are Unauthorized: a person authorises it again."""

from __future__ import annotations

from blocks.errors import Unauthorized


class GrantEnded(Unauthorized):
    """The vendor no longer takes it: it was revoked, or is too old; or nobody has authorised it yet."""


class AnswerLost(Unauthorized):
    """Nobody revoked it: the answer with its next refresh token was lost on the way to us, or with the process."""
