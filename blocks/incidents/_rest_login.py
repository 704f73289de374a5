"""How a REST system lets us in, and how often. No I/O."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Final

import httpx

from blocks.http import RateLimit
from blocks.incidents._rest_form import RestForm
from blocks.redaction import SECRETS

_LONG: Final = 10_000_000
"""Nobody waits so many seconds: this is a time."""


class AnyLimit(RateLimit):
    """The headers that most systems send; a reset that is far away is a time."""

    def read(self, headers: Mapping[str, str], now: float) -> tuple[int, float] | None:
        """(requests that remain, seconds until the reset), or None where headers do not say."""
        found = super().read(headers, now)
        return (found[0], max(0.0, found[1] - now)) if found and found[1] > _LONG else found


class HeaderAuth(httpx.Auth):
    """A secret in a header of its own, known as one by errors whatever the header's name."""

    def __init__(self, name: str, secret: str) -> None:
        self.name, self.secret = name, secret

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """As httpx calls it."""
        request.headers[self.name] = self.secret
        request.extensions[SECRETS] = (self.secret,)
        yield request


def login(form: RestForm) -> httpx.Auth | None:
    """As the form says."""
    secret = form.secret.get_secret_value()
    if form.auth == "none":
        return None
    if form.auth == "basic":
        return httpx.BasicAuth(form.login, secret)
    return (
        HeaderAuth("Authorization", f"Bearer {secret}")
        if form.auth == "bearer"
        else HeaderAuth(form.auth_header, secret)
    )
