"""Starts npm's oidc-provider, a certified OAuth server, from hashes that are locked here, on loopback.

A person's consent is played as a browser would: its pages are forms.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.peers.roundup import Unstarted
from tests.running import free_port

NPM = Path(__file__).parent / "npm"
POST = ("machine-post", "post-secret-0123456789")
BASIC = ("machine-basic", "b+sic/s3cret 0123456789%")
PERSON = ("person", "person-secret-0123456789")
SIGNS = "machine-key"
_FILES = ("package.json", "package-lock.json", "oidc.mjs")
_STEPS = 10


@dataclass(slots=True)
class Peer:
    """A running server. `key` is the private key of the client that signs, as PEM."""

    port: int
    key: str = field(repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def active(self, token: str) -> bool:
        """Whether it says that a token is good (RFC 7662)."""
        answer = httpx.post(f"{self.url}/token/introspection", auth=PERSON, data={"token": token})
        return bool(answer.json()["active"])

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(10)


def start(home: Path) -> Peer:
    """Install it into this folder, which takes some seconds, and run it. Unstarted: it cannot run here."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        raise Unstarted("there is no npm here")
    for name in _FILES:
        shutil.copy(NPM / name, home / name)
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=home, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Unstarted(f"npm ci failed: {done.stderr[-500:]}")
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())
    peer = Peer(free_port(), private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    with (home / "log").open("wb") as log:
        argv = [node, "oidc.mjs", str(peer.port), str(public)]
        peer._process = subprocess.Popen(argv, cwd=home, stdout=log, stderr=log)
    _await(peer, home / "log")
    return peer


def _await(peer: Peer, log: Path) -> None:
    for _ in range(200):
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{peer.url}/.well-known/openid-configuration").is_success:
                return
        if peer._process is None or peer._process.poll() is not None:
            break
        time.sleep(0.1)
    peer.stop()
    raise Unstarted(f"oidc-provider does not answer: {log.read_text()[-500:]}")


async def consent(link: str, user_code: str = "") -> httpx.Response:
    """What a person does with a browser: they fill in each form that comes, until none does."""
    async with httpx.AsyncClient(follow_redirects=True) as web:
        page = await web.get(link)
        for _ in range(_STEPS):
            form = re.search(r"<form[^>]*action=\"([^\"]+)\"[^>]*>", page.text)
            if not form:
                break
            fields = dict(_fields(page.text))
            answers = {"login": "ann", "password": "x", "user_code": user_code}
            sent = {name: answers.get(name, value) for name, value in fields.items() if name != "abort"}
            page = await web.post(page.url.join(unescape(form[1])), data=sent)
    return page


def _fields(page: str) -> list[tuple[str, str]]:
    found = []
    for tag in re.findall(r"<input[^>]*>", page):
        name, value = re.search(r"name=\"([^\"]*)\"", tag), re.search(r"value=\"([^\"]*)\"", tag)
        if name:
            found.append((name[1], unescape(value[1]) if value else ""))
    return found
