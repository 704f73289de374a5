"""Which certificates we trust."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import httpx

from blocks.errors import Misconfigured


def trust(ca_file: str, system: str) -> ssl.SSLContext:
    """The usual roots, and the private authority in `ca_file` (PEM). Misconfigured if that cannot be read."""
    return _read(lambda: _context(ca_file, Path(ca_file).stat().st_mtime_ns if ca_file else 0), ca_file, system)


def new_context(ca_file: str, system: str) -> ssl.SSLContext:
    """As `trust`, but nobody else's: a client's certificate can be put into it."""
    return _read(lambda: _made(ca_file), ca_file, system)


def _read(make: Callable[[], ssl.SSLContext], ca_file: str, system: str) -> ssl.SSLContext:
    try:
        return make()
    except OSError as error:  # ssl.SSLError is one
        message = f"`ca_file` {ca_file} cannot be read as certificates in PEM: {error.strerror or 'not PEM'}"
        raise Misconfigured(message, system=system) from None


@lru_cache(maxsize=16)
def _context(ca_file: str, _modified: int) -> ssl.SSLContext:
    """Loading the roots takes some 10 ms."""
    return _made(ca_file)


def _made(ca_file: str) -> ssl.SSLContext:
    context = httpx.create_ssl_context()
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return context
