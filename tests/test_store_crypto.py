"""What the store encrypts: the first key of LOCKSTEP_KEYS encrypts, all of them decrypt."""

from __future__ import annotations

import pytest

from blocks.errors import Misconfigured
from blocks.store.crypto import LONG, keys, new_key

OLD, NEW = new_key(), new_key()


def under(*given: str) -> dict[str, str]:
    return {"LOCKSTEP_KEYS": ",".join(given)}


@pytest.mark.parametrize("plain", [b"", b"secret", bytes(range(256)) * 100])
def test_what_is_encrypted_comes_back(plain: bytes) -> None:
    assert keys(under(NEW)).decrypt(keys(under(NEW)).encrypt(plain)) == plain


def test_a_token_shows_nothing_of_what_it_holds_and_is_another_each_time() -> None:
    one, other = (keys(under(NEW)).encrypt(b"correct horse") for _ in range(2))
    assert b"correct" not in one
    assert one != other


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    token = keys(under(OLD)).encrypt(b"secret")
    rotated = keys(under(NEW, OLD))
    assert rotated.decrypt(token) == b"secret"
    assert keys(under(NEW)).decrypt(rotated.encrypt(b"secret")) == b"secret"


def test_what_is_under_an_older_key_is_seen_by_its_beginning() -> None:
    token, rotated = keys(under(OLD)).encrypt(b"secret"), keys(under(NEW, OLD))
    assert not rotated.is_current(token)
    assert rotated.is_current(rotated.encrypt(b"secret"))
    assert token[:LONG] == keys(under(OLD)).first != rotated.first


def test_a_key_that_is_missing_is_named_and_what_to_do() -> None:
    token = keys(under(OLD)).encrypt(b"secret")
    with pytest.raises(Misconfigured, match="put that key back, behind the first") as caught:
        keys(under(NEW)).decrypt(token)
    assert token[:8].decode() in str(caught.value)


@pytest.mark.parametrize("token", [b"", b"nonsense", b"12345678:nonsense"])
def test_what_another_program_wrote_is_misconfigured(token: bytes) -> None:
    with pytest.raises(Misconfigured, match="LOCKSTEP_KEYS"):
        keys(under(NEW)).decrypt(token)


def test_what_was_changed_is_never_taken_for_what_was_written() -> None:
    token = keys(under(NEW)).encrypt(b"secret")
    for place in range(LONG, len(token)):
        changed = bytes([token[place] ^ 1])
        with pytest.raises(Misconfigured, match="damaged"):
            keys(under(NEW)).decrypt(token[:place] + changed + token[place + 1 :])


@pytest.mark.parametrize("given", ["", " , "])
def test_without_keys_it_is_said_how_to_come_by_them(given: str) -> None:
    with pytest.raises(Misconfigured, match=r"is not set.*keys\.env"):
        keys({"LOCKSTEP_KEYS": given})
    with pytest.raises(Misconfigured, match="is not set"):
        keys({})


def test_a_malformed_key_is_told_by_its_place_and_never_shown() -> None:
    with pytest.raises(Misconfigured, match="key 2 of 2 in LOCKSTEP_KEYS") as caught:
        keys(under(NEW, "hunter2"))
    assert "hunter2" not in str(caught.value)


def test_keys_show_their_short_names_alone() -> None:
    shown = repr(keys(under(NEW, OLD)))
    assert NEW not in shown
    assert OLD not in shown
    assert keys(under(OLD)).first[:-1].decode() in shown


def test_spaces_around_keys_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_KEYS", f" {NEW} , {OLD}, ")
    assert keys().first == keys(under(NEW)).first
    assert keys().decrypt(keys(under(OLD)).encrypt(b"secret")) == b"secret"
