"""A fake OAuth provider on a socket: it keeps state, kills a grant whose refresh token comes twice, and has bad days.

In process: `async with Provider().serving() as provider`. As a process: `python -m tests.fakes.provider --port 0
--lifetime 5` prints its address; POST JSON to `/_fake/faults`, `/_fake/set`, `/_fake/grant`, GET `/_fake/state`.

As the RFCs say (6749, 7009, 7636, 8628), with a person who agrees to everything by `consent`. `/api` takes a bearer.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import secrets
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import jwt
import orjson
import uvicorn

from tests.fakes.faults import APPLIED, FIRST, Faults

CLIENT, SECRET = "client-7", "s3cret/of the+client"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
Answer = tuple[int, bytes, dict[str, str]]


class Cut(Exception):
    """The connection ends without an answer."""


class Wrong(Exception):
    """An error of RFC 6749 §5.2."""

    def __init__(self, code: str, words: str = "", status: int = 400) -> None:
        super().__init__(words)
        self.code, self.status = code, status


@dataclass(slots=True)
class Family:
    """All tokens that came of one consent."""

    current: str
    alive: bool = True
    killed_by: str = ""


@dataclass(slots=True)
class Waiting:
    """A device code, or a code of a redirect."""

    agreed: bool = False
    refused: bool = False
    asked: float = 0.0
    form: dict[str, str] = field(default_factory=dict)


class Provider:
    """Tokens, and what becomes of them. `lifetime` is in seconds; `told` is what an answer says of it, if not that.

    `client_in`: where it takes the client's secret. `answers`: answers to give instead, one request each.
    `trace`: the refresh tokens that were presented, in order, by mark of `hashlib` only where a test makes it.
    """

    def __init__(self, lifetime: float = 3600.0, clock: Callable[[], float] = time.time) -> None:
        self.lifetime, self.clock = lifetime, clock
        self.told: Any = ...
        self.more: dict[str, Any] = {}
        self.rotates = True
        self.client_in = "header"
        self.public_key = ""
        self.faults = Faults()
        self.answers: list[Answer] = []
        self.calls: Counter[str] = Counter()
        self.forms: list[dict[str, str]] = []
        self.presented: list[str] = []
        self.families: list[Family] = []
        self.access: dict[str, tuple[float, Family | None]] = {}
        self.refresh: dict[str, Family] = {}
        self.devices: dict[str, Waiting] = {}
        self.codes: dict[str, Waiting] = {}
        self.assertions: set[str] = set()
        self.url = ""
        self.stopped = False
        self.watch: Callable[[str, dict[str, str]], None] | None = None

    def grant(self) -> str:
        """A person has agreed elsewhere; the refresh token."""
        family = Family("")
        self.families.append(family)
        return self._next(family)

    def consent(self, *, refused: bool = False) -> None:
        """The person with the code agrees, or does not."""
        for one in self.devices.values():
            one.agreed, one.refused = not refused, refused

    def alive(self, access: str) -> bool:
        """Whether the API takes this token."""
        ends, family = self.access.get(access, (0.0, None))
        return self.clock() < ends and (family is None or family.alive)

    def end_tokens(self) -> None:
        """All access tokens end at once, though nobody was told."""
        self.access.clear()

    def _next(self, family: Family) -> str:
        family.current = f"refresh-{secrets.token_urlsafe(16)}"
        self.refresh[family.current] = family
        return family.current

    # What the endpoints do.

    def token(self, form: dict[str, str], headers: MutableMapping[str, str]) -> Answer:
        """RFC 6749 §3.2."""
        self._client(form, headers)
        kind = form.get("grant_type", "")
        if kind == "client_credentials":
            return self._given(None)
        if kind == "refresh_token":
            return self._refreshed(form)
        if kind == DEVICE:
            return self._device(form.get("device_code", ""))
        if kind == "authorization_code":
            return self._code(form)
        if kind == BEARER:
            self._assertion(form.get("assertion", ""), {"iss": CLIENT})
            return self._given(None)
        raise Wrong("unsupported_grant_type")

    def _client(self, form: dict[str, str], headers: MutableMapping[str, str]) -> None:
        if "client_assertion" in form:
            self._assertion(form["client_assertion"], {"iss": CLIENT, "sub": CLIENT})
            return
        given = (form.get("client_id", ""), form.get("client_secret", ""))
        if self.client_in == "header":
            scheme, _, pair = headers.get("authorization", "").partition(" ")
            login, _, secret = base64.b64decode(pair).decode().partition(":")
            given = (unquote_plus(login), unquote_plus(secret)) if scheme == "Basic" else ("", "")
        if given != (CLIENT, "" if self.client_in == "nowhere" else SECRET):
            raise Wrong("invalid_client", "Client authentication failed", 401)

    def _assertion(self, text: str, wanted: dict[str, str]) -> None:
        try:
            # By the provider's clock, which may be another than the machine's.
            claims = jwt.decode(
                text, self.public_key, ["RS256", "ES256", "EdDSA"], audience=f"{self.url}/token",
                options={"verify_exp": False, "verify_iat": False},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise Wrong("invalid_client", str(error), 401) from None
        now = self.clock()
        if not (claims["iat"] - 5 <= now < claims["exp"] <= claims["iat"] + 300):
            raise Wrong("invalid_grant", "the assertion's exp or iat is not as it must be")
        if claims["jti"] in self.assertions or any(claims.get(name) != value for name, value in wanted.items()):
            raise Wrong("invalid_grant", "the assertion was used, or is another's")
        self.assertions.add(claims["jti"])

    def _refreshed(self, form: dict[str, str]) -> Answer:
        token = form.get("refresh_token", "")
        self.presented.append(token)
        family = self.refresh.get(token)
        if family is None or not family.alive:
            raise Wrong("invalid_grant", "unknown, expired or revoked")
        if token != family.current:
            family.alive, family.killed_by = False, "used twice"
            raise Wrong("invalid_grant", "this token was used before: all of its kin is revoked")
        return self._given(family, who="openid" in form.get("scope", ""))

    def _device(self, code: str) -> Answer:
        waiting = self.devices.get(code)
        if waiting is None:
            raise Wrong("expired_token")
        if waiting.refused:
            raise Wrong("access_denied")
        if not waiting.agreed:
            raise Wrong("authorization_pending")
        del self.devices[code]
        return self._consented()

    def _code(self, form: dict[str, str]) -> Answer:
        waiting = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if waiting is None or form.get("redirect_uri") != waiting.form["redirect_uri"]:
            raise Wrong("invalid_grant", "no such code")
        if challenge != waiting.form["code_challenge"]:
            raise Wrong("invalid_grant", "PKCE verification failed")
        return self._consented()

    def _consented(self) -> Answer:
        family = Family("")
        self.families.append(family)
        self._next(family)
        return self._given(family, renew=False)

    def _given(self, family: Family | None, *, renew: bool = True, who: bool = False) -> Answer:
        access = f"access-{secrets.token_urlsafe(16)}"
        self.access[access] = (self.clock() + self.lifetime, family)
        answer: dict[str, Any] = {"access_token": access, "token_type": "Bearer", **self.more}
        if self.told is not None:
            answer["expires_in"] = int(self.lifetime) if self.told is ... else self.told
        if who:
            now = int(self.clock())
            claims = {"iss": self.url, "aud": CLIENT, "sub": "ann", "iat": now, "exp": now + 300, "tid": "t.example"}
            answer["id_token"] = jwt.encode(claims, SECRET * 3, "HS256")
        if family is not None and (self.rotates or not renew):
            answer["refresh_token"] = self._next(family) if renew else family.current
        return _json(200, answer)

    def device(self, form: dict[str, str], headers: MutableMapping[str, str]) -> Answer:
        """RFC 8628 §3.2."""
        self._client(form, headers)
        code = f"device-{secrets.token_urlsafe(16)}"
        self.devices[code] = Waiting()
        return _json(200, {
            "device_code": code, "user_code": "WDJB-MJHT", "verification_uri": "https://example.test/device",
            "expires_in": 900, "interval": 0.05,
        })  # fmt: skip

    def authorize(self, form: dict[str, str], headers: MutableMapping[str, str]) -> Answer:  # noqa: ARG002  as the others
        """A person with a browser who agrees at once."""
        code = f"code-{secrets.token_urlsafe(16)}"
        self.codes[code] = Waiting(form=form)
        back = urlencode({"code": code, "state": form["state"], "iss": self.url})
        return 302, b"", {"location": f"{form['redirect_uri']}?{back}"}

    def metadata(self, form: dict[str, str], headers: MutableMapping[str, str]) -> Answer:  # noqa: ARG002  as the others
        """OpenID Connect Discovery, as Microsoft's library asks for it."""
        names = ("authorization_endpoint", "token_endpoint", "device_authorization_endpoint")
        routes = ("authorize", "token", "device")
        found = {name: f"{self.url}/{route}" for name, route in zip(names, routes, strict=True)}
        return _json(200, {"issuer": self.url, **found})

    def revoke(self, form: dict[str, str], headers: MutableMapping[str, str]) -> Answer:
        """RFC 7009: an unknown token is no error."""
        self._client(form, headers)
        family = self.refresh.get(form["token"]) or self.access.get(form["token"], (0, None))[1]
        if family is not None:
            family.alive, family.killed_by = False, "revoked"
        self.access.pop(form["token"], None)
        return 200, b"", {}

    def api(self, form: dict[str, str], headers: MutableMapping[str, str]) -> Answer:  # noqa: ARG002  as the others
        """What tokens are for."""
        access = headers.get("authorization", "").removeprefix("Bearer ")
        if not self.alive(access):
            return _json(401, {"error": "invalid_token"})
        return _json(200, {"ok": True})

    # The server.

    async def handle(
        self, method: str, path: str, query: str, headers: MutableMapping[str, str], body: bytes
    ) -> Answer:
        """One request. Cut: there is no answer."""
        if path.startswith("/_fake/"):
            return self._control(path.removeprefix("/_fake/"), orjson.loads(body or b"{}"))
        if self.stopped:
            raise Cut
        # Microsoft's lie deeper: /tenant/oauth2/v2.0/token.
        route = path.rstrip("/").rpartition("/")[2]
        self.calls[route] += 1
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        fault = self.faults.pick(method, route)
        if fault in FIRST:
            return await self._failed(fault)
        if self.answers and route != "api":
            return self.answers.pop(0)
        form = dict(parse_qsl(query)) | dict(parse_qsl(body.decode()))
        if route == "token":
            self.forms.append(form)
        action = {
            "token": self.token, "device": self.device, "authorize": self.authorize, "revoke": self.revoke,
            "api": self.api, "openid-configuration": self.metadata,
        }.get(route)  # fmt: skip
        if action is None:
            return 404, b"<html>not found</html>", {"content-type": "text/html"}
        if self.watch:
            self.watch(route, form)
        try:
            answer = action(form, headers)
        except Wrong as error:
            answer = _json(error.status, {"error": error.code, "error_description": str(error)})
        return await self._failed(fault) if fault in APPLIED else answer

    async def _failed(self, kind: str) -> Answer:
        if kind == "limit":
            return 429, b"slow down", {"content-type": "text/plain", "retry-after": f"{self.faults.retry_after:g}"}
        if kind == "busy":
            return _json(503, {"error": "temporarily_unavailable"})
        if kind in ("fail", "fail after"):
            return 500, b"<html>Internal Server Error</html>", {"content-type": "text/html"}
        if kind == "hang":
            await asyncio.sleep(60)
        raise Cut

    def _control(self, what: str, sent: dict[str, Any]) -> Answer:
        if what == "faults":
            self.faults.take(sent)
        elif what == "set":
            for name, value in sent.items():
                setattr(self, name, value)
        elif what == "consent":
            self.consent(**sent)
        elif what == "grant":
            return _json(200, {"refresh_token": self.grant()})
        elif what == "kill":
            for family in self.families:
                family.alive, family.killed_by = False, "by the vendor"
        return _json(200, self.state())

    def state(self) -> dict[str, Any]:
        """Everything that a judge wants to know."""
        families = [{"current": f.current, "alive": f.alive, "killed_by": f.killed_by} for f in self.families]
        return {"families": families, "presented": self.presented, "calls": dict(self.calls)}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """As a server runs it."""
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # half a request is none
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            reply = await self.handle(scope["method"], scope["path"], scope["query_string"].decode(), headers, body)
        except Cut:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
            return
        status, content, named = reply
        named = {"date": formatdate(self.clock(), usegmt=True), **named, "content-length": str(len(content))}
        raw = [(name.encode(), value.encode()) for name, value in named.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
        """Serve on loopback until the block ends."""
        sock, server = _listening(0), _server(self, tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{sock.getsockname()[1]}"
        task = asyncio.create_task(server.serve([sock]))
        while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.005)
        try:
            yield self
        finally:
            server.should_exit = server.force_exit = True
            await task
            sock.close()


def _json(status: int, data: Any) -> Answer:
    return status, orjson.dumps(data), {"content-type": "application/json", "cache-control": "no-store"}


def _listening(port: int) -> socket.socket:
    # With no protocol named, asyncio leaves Nagle on: an answer in two writes would wait 40 ms for the ACK.
    sock = socket.socket(proto=socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(128)
    return sock


class _Quiet(uvicorn.Server):
    """Leaves signals to the process that it is in."""

    def capture_signals(self) -> Any:
        return nullcontext()


def _server(provider: Provider, tls: ssl.SSLContext | None) -> uvicorn.Server:
    config = uvicorn.Config(
        provider, log_level="critical", access_log=False, date_header=False, server_header=False, lifespan="off"
    )
    config.load()
    config.ssl = tls
    return _Quiet(config)


def main() -> None:
    """Serve on loopback until stopped; prints the address."""
    parser = argparse.ArgumentParser(description="A fake OAuth provider.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--lifetime", type=float, default=3600.0)
    chosen = parser.parse_args()
    provider, sock = Provider(chosen.lifetime), _listening(chosen.port)
    provider.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    print(provider.url, flush=True)  # noqa: T201  the caller reads it
    _server(provider, None).run([sock])


if __name__ == "__main__":
    main()
