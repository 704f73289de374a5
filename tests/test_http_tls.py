"""Certificates: always verified, a private authority by its file, and words that say what to do."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from blocks.errors import LockstepError, Misconfigured, Unauthorized, Unavailable
from blocks.http import Http
from blocks.tls import trust
from tests.loopback import Loopback, reply, serving


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return str(path)


@asynccontextmanager
async def secured(cert: trustme.LeafCert) -> AsyncIterator[Loopback]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    async with serving(lambda _asked, _writer: reply(), context) as server:
        yield server


async def failure_of(url: str, ca_file: str = "") -> LockstepError:
    async with Http("tracker", url, ca_file=ca_file) as http:
        with pytest.raises(LockstepError) as caught:
            await http.json("GET", "issue")
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    return caught.value


async def test_a_private_authority_is_trusted_by_its_file(ca: trustme.CA, ca_file: str) -> None:
    async with secured(ca.issue_cert("127.0.0.1")) as server, Http("tracker", server.url, ca_file=ca_file) as http:
        assert await http.json("GET", "issue") == {}


async def test_the_usual_roots_stay_trusted_beside_it(ca_file: str) -> None:
    assert len(trust(ca_file, "tracker").get_ca_certs()) == len(trust("", "tracker").get_ca_certs()) + 1


async def test_a_file_that_was_replaced_is_read_again(ca: trustme.CA, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    async with secured(ca.issue_cert("127.0.0.1")) as server:
        assert isinstance(await failure_of(server.url, str(path)), Unauthorized)
        ca.cert_pem.write_to_path(path)
        async with Http("tracker", server.url, ca_file=str(path)) as http:
            assert await http.json("GET", "issue") == {}


async def test_an_unknown_authority_names_the_setting(ca: trustme.CA) -> None:
    async with secured(ca.issue_cert("127.0.0.1")) as server:
        error = await failure_of(server.url)
    assert isinstance(error, Unauthorized)
    assert "certificate is from an authority that is not known here" in str(error)
    assert "`ca_file`" in str(error)


async def test_an_expired_certificate_says_so(ca: trustme.CA, ca_file: str) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    async with secured(ca.issue_cert("127.0.0.1", not_before=past, not_after=past.replace(month=2))) as server:
        error = await failure_of(server.url, ca_file)
    assert isinstance(error, Unauthorized)
    assert "certificate has expired" in str(error)


@pytest.mark.parametrize("named", ["other.example", "10.0.0.1"])
async def test_a_certificate_for_another_host_says_so(ca: trustme.CA, ca_file: str, named: str) -> None:
    async with secured(ca.issue_cert(named)) as server:
        error = await failure_of(server.url, ca_file)
        by_name = await failure_of(server.url.replace("127.0.0.1", "localhost"), ca_file)
    assert isinstance(error, Unauthorized)
    assert "certificate is for another address" in str(error)
    assert isinstance(by_name, Unauthorized)
    assert "certificate is for another host name" in str(by_name)


async def test_https_to_a_port_without_it_was_certainly_not_sent() -> None:
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(400))
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        error = await failure_of(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert isinstance(error, Unavailable)
    assert "does this port speak https?" in str(error)
    assert error.sent is False


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_certificates_is_misconfigured(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(content)
    with pytest.raises(Misconfigured, match="`ca_file`"):
        Http("tracker", "https://tracker/", ca_file=str(path))
