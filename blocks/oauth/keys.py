"""Private keys: read as people paste them, and used to sign assertions (RFC 7523) or to connect with (RFC 8705)."""

from __future__ import annotations

import re
import secrets
import ssl
import tempfile
from collections.abc import Mapping
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from blocks.errors import Misconfigured
from blocks.lanes import Lanes, lanes_to
from blocks.tls import new_context

_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_LASTS: Final = 300.0
"""Seconds that an assertion is valid, at most (RFC 7523 asks for few)."""


def pem(text: str) -> str:
    """PEM with its line breaks: a form's field of one line makes spaces of them, JSON a backslash and an n."""
    found = _BLOCK.findall(text.replace("\\n", "\n"))
    return "".join(f"-----BEGIN {kind}-----\n{_lines(body)}\n-----END {kind}-----\n" for kind, body in found)


def _lines(body: str) -> str:
    if ":" in body:
        return body.strip()  # its own headers, which no form leaves whole
    letters = "".join(body.split())
    return "\n".join(letters[start : start + 64] for start in range(0, len(letters), 64))


def signed(
    claims: Mapping[str, Any], key: str, passphrase: str, key_id: str, *, now: float, system: str, lasts: float = _LASTS
) -> str:
    """A JWT with these claims, an id of its own, and its times; the algorithm is the key's.

    Raises:
        Misconfigured: the key cannot be read, or is of a kind that signs no JWT.
    """
    private = _private(key, passphrase, system)
    times = {"iat": int(now), "exp": int(now + lasts), "jti": secrets.token_urlsafe(24)}
    headers = {"kid": key_id} if key_id else {}
    return jwt.encode({**claims, **times}, private, algorithm=_algorithm(private, system), headers=headers)


def _private(key: str, passphrase: str, system: str) -> Any:  # noqa: ANN401  one of cryptography's many
    try:
        return load_pem_private_key(pem(key).encode(), passphrase.encode() or None)
    except (ValueError, TypeError):
        pass  # what was caught may hold the key
    message = "the private key cannot be read: paste it whole, as PEM, with its passphrase if it has one"
    raise Misconfigured(message, system=system, call="sign")


def _algorithm(private: object, system: str) -> str:
    if isinstance(private, rsa.RSAPrivateKey):
        return "RS256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "EdDSA"
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        return _CURVES[private.curve.name]
    raise Misconfigured("the private key must be of RSA, EC or Ed25519", system=system, call="sign")


def connection_with(url: str, ca_file: str, certificate: str, key: str, passphrase: str, system: str) -> Lanes:
    """A transport that shows this certificate. Misconfigured: it and the key do not fit, or cannot be read."""
    context, fits = new_context(ca_file, system), True
    # OpenSSL reads them from a file only. It is ours alone, and gone at once.
    with tempfile.NamedTemporaryFile("wb", suffix=".pem") as file:
        # What is no ASCII is no PEM: OpenSSL stumbles over its question mark, and no error holds the key.
        file.write((pem(certificate) + pem(key)).encode("ascii", "replace"))
        file.flush()
        try:
            context.load_cert_chain(file.name, password=passphrase or "")
        except (ssl.SSLError, ValueError, OSError):
            fits = False
    if not fits:
        message = "the certificate and its private key cannot be read as PEM, or do not belong together"
        raise Misconfigured(message, system=system, call="connect")
    return lanes_to(url, context)
