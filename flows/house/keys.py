"""The state folder, and the keys that are made on the first start and kept in it, outside the repository."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.fernet import Fernet

NAMES = ("PREFECT_SERVER_ENCRYPTION_KEY", "LOCKSTEP_KEYS")
HEAD = """\
# Keys of Lockstep: keep a copy in a safe place. Without them the secrets in its blocks and its store cannot be read.
# PREFECT_SERVER_ENCRYPTION_KEY encrypts what Prefect keeps. LOCKSTEP_KEYS encrypts what the store keeps: several are
# allowed, separated by commas; the first encrypts, all of them decrypt.
"""


class KeysError(Exception):
    """The keys cannot be used; says what to do, and never shows one."""


def home(environ: Mapping[str, str]) -> Path:
    """The state folder: LOCKSTEP_HOME, or ~/.lockstep."""
    return Path(environ.get("LOCKSTEP_HOME") or "~/.lockstep").expanduser().resolve()


def prepare(folder: Path) -> None:
    """Make the state folder, for this user alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def read(file: Path) -> dict[str, str]:
    """The keys in a file of lines NAME=value; none where there is no file."""
    if not file.exists():
        return {}
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip() in NAMES}


def ensure(folder: Path, environ: Mapping[str, str], guarded: Path | None = None) -> tuple[dict[str, str], bool]:
    """The keys, and whether some were made just now.

    Args:
        folder: the state folder, which exists.
        environ: variables that win over the file.
        guarded: a database whose secrets only the lost key could read: with it, no new server key is made.

    Raises:
        KeysError: a key is malformed, or lost.
    """
    file = folder / "keys.env"
    kept = read(file)
    given = {name: environ[name] for name in NAMES if environ.get(name)}
    missing = [name for name in NAMES if name not in kept and name not in given]
    if "PREFECT_SERVER_ENCRYPTION_KEY" in missing and guarded and guarded.exists():
        message = (
            f"{file} has no PREFECT_SERVER_ENCRYPTION_KEY, but {guarded} was written with one: put the file back from "
            "your copy, or set the variable. To begin anew, move that database away."
        )
        raise KeysError(message)
    if missing:
        _write(file, kept | {name: Fernet.generate_key().decode() for name in missing})
    elif file.exists():
        file.chmod(0o600)
    keys = read(file) | given
    for name in NAMES:
        check(name, keys[name])
    return keys, bool(missing)


def check(name: str, value: str) -> None:
    """Raises KeysError if the variable holds anything but Fernet keys, separated by commas."""
    for key in value.split(","):
        try:
            Fernet(key.strip())
        except ValueError:
            message = f"{name} is no Fernet key (32 random bytes in URL-safe base64)"
            raise KeysError(message) from None


def _write(file: Path, keys: Mapping[str, str]) -> None:
    # Written beside it, then renamed: a kill leaves the old file or the new one, whole.
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(HEAD + "".join(f"{name}={value}\n" for name, value in keys.items()))
        stream.flush()
        os.fsync(descriptor)
    draft.replace(file)
