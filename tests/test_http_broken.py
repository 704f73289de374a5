"""The HTTP client and answers that are broken, too large, or missing."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest

from blocks.bodies import Body
from blocks.errors import Unavailable, Unreadable
from blocks.http import Http
from tests.loopback import MIB, Answer, Asked, failure_of, reply, talking
from tests.peers.server import free_port


class Once(httpx.AsyncByteStream):
    """A body that comes in one piece."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body


# Bodies that cannot be read


async def test_html_where_json_was_due_says_its_type_and_size_but_not_its_content() -> None:
    caught = await failure_of(reply(200, b"<html>hidden words</html>", "text/html; charset=utf-8"))
    assert isinstance(caught, Unreadable)
    assert "25 bytes of text/html" in str(caught)
    assert "hidden" not in str(caught)


@pytest.mark.parametrize("body", [b'{"a": "\xff"}', b'{"a": ', b"", b'{"a": "\\ud800"}', b"[" * 5000])
async def test_what_is_no_json_in_utf_8_is_unreadable(body: bytes) -> None:
    assert isinstance(await failure_of(reply(200, body)), Unreadable)


async def test_a_byte_order_mark_does_no_harm() -> None:
    async with talking(reply(body=b"\xef\xbb\xbf{}")) as (http, _):
        assert await http.json("GET", "issue") == {}


async def test_of_a_body_of_100_mb_no_more_is_read_than_the_limit() -> None:
    written = 0

    async def endless(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
        for _ in range(100):
            writer.write(b"x" * MIB)
            await writer.drain()
            written += MIB

    caught = await failure_of(endless, max_bytes=8 * MIB)
    assert isinstance(caught, Unreadable)
    assert "larger than 8388608 bytes" in str(caught)
    assert written < 40 * MIB


async def test_a_gzip_bomb_is_stopped_at_the_limit() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b"\0" * MIB) for _ in range(200)) + packer.flush()
    assert len(bomb) < MIB
    caught = await failure_of(reply(200, bomb, Content_Encoding="gzip"), max_bytes=8 * MIB)
    assert isinstance(caught, Unreadable)
    assert "larger than 8388608 bytes" in str(caught)


async def test_a_compressed_body_is_unpacked_in_small_pieces() -> None:
    bomb = gzip.compress(b"\0" * 40 * MIB)
    answer = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Once(bomb))
    Body.wrap(answer, limit=41 * MIB)
    sizes = [len(piece) async for piece in answer.aiter_bytes()]
    assert sum(sizes) == 40 * MIB
    assert max(sizes) <= 64 * 1024


@pytest.mark.parametrize(
    ("body", "encoding", "words"),
    [
        (b"not gzip", "gzip", "damaged"),
        (gzip.compress(b'{"a": 1}')[:-4], "gzip", "cut short"),
        (b"{}", "br", "did not ask for"),
    ],
)
async def test_a_body_that_cannot_be_decompressed_is_unreadable(body: bytes, encoding: str, words: str) -> None:
    caught = await failure_of(reply(200, body, Content_Encoding=encoding))
    assert isinstance(caught, Unreadable)
    assert words in str(caught)


async def test_a_failure_with_an_endless_body_keeps_its_status() -> None:
    caught = await failure_of(reply(500, b"x" * 20 * MIB, "text/plain"), max_bytes=MIB)
    assert isinstance(caught, Unavailable)
    assert caught.status == 500


# No answer


@pytest.mark.parametrize(
    ("host", "words"),
    [("127.0.0.1", "nothing listens there"), ("nowhere.invalid", "the host name is not known here")],
)
async def test_a_request_that_found_no_server_was_certainly_not_sent(host: str, words: str) -> None:
    async with Http("tracker", f"http://{host}:{free_port()}/") as http:
        with pytest.raises(Unavailable, match=words) as caught:
            await http.json("GET", "issue")
    assert caught.value.sent is False


async def _hang(_asked: Asked, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _stall(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a"')
    await asyncio.sleep(60)


async def _drip(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def _cut(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _reset(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _cut_in_body(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a"')
    writer.close()


async def _gibberish(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_hang, "no answer in time"),
        (_stall, "no answer in time"),
        (_drip, "no answer in time"),
        (_cut, "the connection broke"),
        (_reset, "the connection broke"),
        (_cut_in_body, "the connection broke"),
        (_gibberish, "the connection broke"),
    ],
)
async def test_a_request_whose_answer_is_missing_may_have_been_applied(answer: Answer, words: str) -> None:
    caught = await failure_of(answer, timeout=0.2, total=0.5)
    assert isinstance(caught, Unavailable)
    assert words in str(caught)
    assert (caught.sent, caught.status, caught.id) == (True, 0, "42")


async def test_a_file_that_breaks_off_is_unavailable() -> None:
    async with talking(_cut_in_body) as (http, _):
        with pytest.raises(Unavailable, match="the connection broke"):
            async for _ in http.stream_bytes("GET", "file/1", id="1"):
                pass


async def test_a_connection_that_the_server_closed_meanwhile_is_replaced() -> None:
    def once(_asked: Asked, writer: asyncio.StreamWriter) -> bytes:
        asyncio.get_running_loop().call_later(0.05, writer.close)
        return reply()

    async with talking(once) as (http, server):
        await http.json("GET", "issue")
        await asyncio.sleep(0.2)
        await http.json("GET", "issue")
    assert server.connections == 2
