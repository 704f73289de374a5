"""Starts npm's oidc-provider, a certified OAuth server, from hashes that are locked here, on loopback.

A person's consent is played as a browser would: its pages are forms.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.peers.server import Server, Unstarted, free_port, prepare

NPM = Path(__file__).parent / "npm"
POST = ("machine-post", "post-secret-0123456789")
BASIC = ("machine-basic", "b+sic/s3cret 0123456789%")
PERSON = ("person", "person-secret-0123456789")
SIGNS = "machine-key"
_FILES = ("package.json", "package-lock.json", "oidc.mjs")
_STEPS = 10


@dataclass(slots=True)
class Peer(Server):
    """A running server. `key` is what the client that signs keeps private (PEM); `public` its other half (JWK)."""

    NAME = "oidc-provider"

    key: str = field(repr=False)
    public: str

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def active(self, token: str) -> bool:
        """Whether it says that a token is good (RFC 7662)."""
        answer = httpx.post(f"{self.url}/token/introspection", auth=PERSON, data={"token": token})
        return bool(answer.json()["active"])

    def command(self) -> list[str]:
        """Our clients are in its script, but for the key."""
        return ["node", "oidc.mjs", str(self.port), self.public]

    def ask(self) -> httpx.Response:
        """What it can do (RFC 8414)."""
        return httpx.get(f"{self.url}/.well-known/openid-configuration", timeout=5)


def start(home: Path) -> Peer:
    """Install it into this folder, which takes some seconds, and run it. Unstarted: it cannot run here."""
    if not shutil.which("npm") or not shutil.which("node"):
        raise Unstarted("there is no npm here")
    for name in _FILES:
        shutil.copy(NPM / name, home / name)
    prepare("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=home)
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    peer = Peer(home, free_port(), key, str(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())))
    peer.run()
    return peer


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
