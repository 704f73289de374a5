"""What an answer, or the lack of one, means: HTTP's failures as our errors."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import httpx
import orjson

from blocks.errors import LockstepError, Misconfigured, NotFound, Refused, Stale, Unauthorized, Unavailable
from blocks.redaction import credentials, fit, redacted

WORDS: Final = 300
"""Characters kept of a vendor's message."""

_BY_STATUS: Final[dict[int, tuple[type[LockstepError], str]]] = {
    401: (Unauthorized, "the login was not accepted"),
    403: (Unauthorized, "the login lacks permission"),
    407: (Unauthorized, "the proxy wants a login"),
    404: (NotFound, "not found, or not for this login"),
    410: (NotFound, "gone"),
    409: (Stale, "conflict"),
    412: (Stale, "it has changed meanwhile"),
    408: (Unavailable, "the system waited too long for the request"),
    423: (Unavailable, "locked at the moment"),
    425: (Unavailable, "too early"),
    429: (Unavailable, "too many requests"),
}
_CERTIFICATE: Final = {
    9: "is not valid yet: look at the clocks",
    10: "has expired: renew it on the server",
    62: "is for another host name: use the name it is for in the address",
    64: "is for another address: use the name it is for in the address",
}
"""By OpenSSL's X509_V_ERR codes (openssl-verification-options)."""
_UNKNOWN_CA: Final = "is from an authority that is not known here: name its certificate's file (PEM) in `ca_file`"
_MESSAGE_KEYS: Final = (
    *("message", "msg", "errorMessages", "errorSummary", "error_description", "detail", "details", "reason"),
    *("errors", "error", "title", "code"),
)


class About(TypedDict):
    """What every error carries."""

    system: str
    call: str
    id: str


@dataclass(frozen=True, slots=True)
class Where:
    """What a request was about, for its error."""

    system: str
    call: str
    id: str = ""

    @classmethod
    def of(cls, system: str, request: httpx.Request, id: str = "") -> Where:
        """From a request; its query is left out, as it may hold anything."""
        path = request.url.raw_path.decode("ascii", "replace").partition("?")[0]
        return cls(system, f"{request.method} {redacted(path, credentials(request))}", id)

    def kwargs(self) -> About:
        """As the errors take it."""
        return {"system": self.system, "call": self.call, "id": self.id}


def of_status(response: httpx.Response, body: bytes, where: Where, wait: float | None) -> LockstepError:
    """The error that this answer stands for. `wait`: what it asks for, in seconds."""
    status = response.status_code
    secrets = {s for r in (response, *response.history) for s in credentials(r.request)}
    if status < httpx.codes.BAD_REQUEST:
        error: LockstepError = Misconfigured(_moved(response), **where.kwargs())
    else:
        words, fields = vendor_words(body)
        kind, meaning = _BY_STATUS.get(status, (None, ""))
        text = ": ".join(part for part in (f"answered {status}", meaning, fit(words, secrets, WORDS)) if part)
        if kind is Unavailable or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            sent = status != httpx.codes.TOO_MANY_REQUESTS
            error = Unavailable(text, retry_after=wait, sent=sent, **where.kwargs())
        elif kind is None:
            kept = {fit(key, secrets, WORDS): fit(value, secrets, WORDS) for key, value in fields.items()}
            error = Refused(text, fields=kept, **where.kwargs())
        else:
            error = kind(text, **where.kwargs())
    error.status = status
    return error


def of_failure(failure: Exception, where: Where) -> LockstepError:
    """The error that a failed exchange stands for. What `failure` says is left out: it may hold a header."""
    causes = list(_chain(failure))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            words = _CERTIFICATE.get(cause.verify_code, _UNKNOWN_CA)
            return Unauthorized(f"the server's certificate {words}", **where.kwargs())
    if isinstance(failure, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return Misconfigured("the address must begin with https:// or http:// and a host", **where.kwargs())
    if isinstance(failure, httpx.LocalProtocolError):
        words = "the request cannot be sent: look for line breaks or odd characters in login and secret"
        return Misconfigured(words, **where.kwargs())
    if isinstance(failure, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return Unavailable(f"no connection: {_unconnected(failure, causes)}", sent=False, **where.kwargs())
    if isinstance(failure, httpx.PoolTimeout):
        return Unavailable("no connection became free in time", sent=False, **where.kwargs())
    late = isinstance(failure, httpx.TimeoutException | TimeoutError)
    words = "no answer in time" if late else "the connection broke before the answer was whole"
    return Unavailable(words, sent=True, **where.kwargs())


def vendor_words(body: bytes) -> tuple[str, dict[str, str]]:
    """A vendor's message out of an error's body, and what it says of single fields. Pages of HTML have none."""
    text = body.decode("utf-8", "replace").strip()
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ("" if text.startswith("<") else text), {}
    errors = data.get("errors") if isinstance(data, dict) else None
    fields = {k: v for k, v in errors.items() if isinstance(v, str)} if isinstance(errors, dict) else {}
    return "; ".join(dict.fromkeys(_strings(data))), fields


def _strings(data: Any, depth: int = 8) -> Iterator[str]:  # noqa: ANN401 - any JSON
    if isinstance(data, str):
        yield data
    elif isinstance(data, list) and depth:
        for item in data:
            yield from _strings(item, depth - 1)
    elif isinstance(data, dict) and depth:
        named = [data[key] for key in _MESSAGE_KEYS if data.get(key)]
        for item in named or data.values():
            yield from _strings(item, depth - 1)


def _moved(response: httpx.Response) -> str:
    here = response.request.url
    try:
        there = here.join(response.headers.get("location", ""))
    except httpx.InvalidURL:
        there = here
    same = (there.scheme, there.host) == (here.scheme, here.host)
    target = "to another path of the same host" if same else f"to {there.scheme}://{there.host}"
    return f"answered {response.status_code}: the address has moved {target}; redirects are not followed"


def _unconnected(failure: Exception, causes: list[BaseException]) -> str:
    if isinstance(failure, httpx.ConnectTimeout):
        return "the host does not answer"
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return "the host name is not known here"
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there"
        if isinstance(cause, ssl.SSLError):
            return "the TLS handshake failed; does this port speak https?"
    return "the proxy refused" if isinstance(failure, httpx.ProxyError) else "the host cannot be reached"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what led to it, those of groups too."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from _chain(inner)
        error = error.__cause__ or error.__context__
