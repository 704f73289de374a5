"""What a token endpoint's answer means (RFC 6749 §5): tokens, or an error that says what to do. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from blocks.answers import About
from blocks.errors import LockstepError, Misconfigured, Unauthorized, Unavailable, Unreadable
from blocks.oauth.errors import GrantEnded
from blocks.oauth.pairs import Pair
from blocks.redaction import fit

LONGEST: Final = 365 * 86400.0
"""Seconds that a token is believed to last, at most."""

_WORDS: Final = 300
_LARGEST: Final = 64 * 1024
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_TOO_MANY: Final = 429
_BROKEN: Final = 500
_GONE: Final = frozenset({404, 405, 410, 501})

_ENDED: Final = ("invalid_grant", "invalid_refresh_token", "bad_refresh_token", "token_revoked", "token_expired")
_LOGIN: Final = (
    "invalid_client", "unauthorized_client", "access_denied", "incorrect_client_credentials", "bad_client_secret",
    "invalid_client_id", "interaction_required", "consent_required",
)  # fmt: skip
_SETTINGS: Final = (
    "invalid_request", "invalid_scope", "invalid_target", "invalid_resource", "unsupported_grant_type",
    "unsupported_response_type", "redirect_uri_mismatch", "bad_redirect_uri",
)  # fmt: skip
_LATER: Final = ("temporarily_unavailable", "slow_down", "ratelimited", "rate_limited", "authorization_pending")

_CLIENT: Final = "look at the client's id, its secret or key, and what it may do"
_ADDRESS: Final = "look at the address, the scope and the client's settings at the vendor"
CODES: Final[dict[str, tuple[type[LockstepError], str]]] = {
    **dict.fromkeys(_ENDED, (GrantEnded, "")),
    **dict.fromkeys(_LOGIN, (Unauthorized, _CLIENT)),
    **dict.fromkeys(_SETTINGS, (Misconfigured, _ADDRESS)),
}
"""What the codes of the RFCs (6749, 8628, 8707), Slack's and GitHub's stand for, and what a person does."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `payload` is None where it is no JSON object; `secrets` is what was sent.

    `skew`: seconds that the vendor's clock is ahead of ours.
    """

    status: int
    payload: Mapping[str, Any] | None = field(repr=False)
    kind: str
    wait: float | None
    about: About
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    skew: float = 0.0

    @property
    def code(self) -> str:
        """The error's code, whatever the status: some answer 200 with an error inside."""
        payload = self.payload or {}
        found = payload.get("error")
        if isinstance(found, dict):
            found = found.get("code") or found.get("type")
        if isinstance(found, str) and found:
            return found
        return "an error" if found or payload.get("ok") is False else ""

    @property
    def ok(self) -> bool:
        """Whether it says that it worked."""
        return self.payload is not None and self.status < 300 and not self.code  # noqa: PLR2004  HTTP's


def refusal(reply: Reply) -> LockstepError:
    """The error that an answer which did not work stands for.

    Unavailable whose `sent` is False, Unauthorized and Misconfigured redeemed nothing for certain; after any other
    Unavailable, Unreadable or GrantEnded it is open whether the token was used up.
    """
    error = _refusal(reply)
    error.status = reply.status
    return error


def _refusal(reply: Reply) -> LockstepError:
    if reply.payload is None:
        return _without_json(reply)
    code, description = reply.code, reply.payload.get("error_description")
    words = ": ".join(one for one in (f"answered {reply.status}", code, description) if isinstance(one, str) and one)
    said = fit(words, reply.secrets, _WORDS)
    if reply.status == _TOO_MANY or code in _LATER:
        return Unavailable(said, retry_after=reply.wait, sent=False, **reply.about)
    if reply.status >= _BROKEN or code not in CODES:
        return Unavailable(said, retry_after=reply.wait, **reply.about)
    kind, cure = CODES[code]
    return kind(f"{said}; {cure}" if cure else said, **reply.about)


def _without_json(reply: Reply) -> LockstepError:
    what = f"answered {reply.status} with {fit(reply.kind, reply.secrets, 80)}, not with JSON"
    if reply.status in _GONE:
        return Misconfigured(f"{what}: no tokens are given at this address", **reply.about)
    words = f"{what}; is that the token endpoint, or a page before it?"
    return Unavailable(words, retry_after=reply.wait, sent=reply.status != _TOO_MANY, **reply.about)


def pair_of(reply: Reply, before: Pair | None, started: float, lifetime: float, refresh_days: float) -> Pair:
    """The tokens of an answer that worked.

    Args:
        reply: the answer.
        before: what was redeemed; its refresh token stays where the answer has none (RFC 6749 §6).
        started: when it was asked for, in seconds since 1970.
        lifetime: of an access token, where the answer does not say, in seconds.
        refresh_days: how long an unused refresh token lives, where the answer does not say; 0: unknown.

    Raises:
        Unreadable: there is no token, or none that can be sent.
    """
    data = reply.payload or {}
    access, refresh = data.get("access_token"), data.get("refresh_token")
    if not isinstance(access, str) or len(access) > _LARGEST or not _TOKEN.fullmatch(access):
        raise Unreadable(f"answered {reply.status} without an access token that can be sent", **reply.about)
    if not (isinstance(refresh, str) and 0 < len(refresh) <= _LARGEST):
        refresh = ""
    told = _seconds(data, "refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in")
    kept = before if before is not None and not refresh else None
    ages = started + (told or refresh_days * 86400) if told or refresh_days else 0.0
    return Pair(
        access=access,
        issued=started,
        lifetime=_seconds(data, "expires_in") or lifetime,
        refresh=kept.refresh if kept else refresh,
        refreshed=started,
        ages=ages if kept is None or told or refresh_days else kept.ages,
    )


def _seconds(data: Mapping[str, Any], *names: str) -> float:
    """The first of these that is a sensible time; 0 where it is missing, no number, or not above 0."""
    for name in names:
        value = data.get(name)
        try:
            seconds = float(value) if isinstance(value, int | float | str) and value is not True else 0.0
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(seconds) and seconds > 0:
            return min(seconds, LONGEST)
    return 0.0
