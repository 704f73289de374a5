"""What a vendor's document says of its tokens, and how a client says who it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import httpx

from blocks.errors import Misconfigured

_HERE = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where tokens come from, and the vendor's ways.

    `client_in`: where a client's secret goes; with `query`, all parameters go there (Aruba Central). `parameters` go
    into each request for tokens: audience, resource, box_subject_type. `lifetime`: seconds, where an answer does not
    say. `refresh_days`: how long an unused refresh token lives, 0 where the vendor does not say. `audience`: of signed
    assertions, where it is not the token URL. `issuer`: as the vendor sends it with a code (RFC 9207), if it does.
    """

    token_url: str
    scope: str = ""
    client_in: Literal["header", "body", "query"] = "header"
    parameters: Mapping[str, str] = field(default_factory=dict)
    lifetime: float = 600.0
    refresh_days: float = 0.0
    audience: str = ""
    revoke_url: str = ""
    device_url: str = ""
    authorize_url: str = ""
    issuer: str = ""
    ca_file: str = ""

    def checked(self, system: str) -> Endpoint:
        """Itself. Misconfigured: secrets would travel in clear, or the address is none."""
        for url in filter(None, (self.token_url, self.revoke_url, self.device_url, self.authorize_url)):
            try:
                parsed = httpx.URL(url)
            except httpx.InvalidURL:
                parsed = httpx.URL()
            if parsed.scheme != "https" and not (parsed.scheme == "http" and parsed.host in _HERE):
                raise Misconfigured("the address that gives tokens must begin with https://", system=system)
        return self


@dataclass(frozen=True, slots=True)
class Identity:
    """How a client says who it is: parameters, a header, a connection with a certificate."""

    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    transport: httpx.AsyncBaseTransport | None = None
