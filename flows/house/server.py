"""The Prefect server, with pages that talk to it alone: else its UI asks an analytics host, telemetry off or not."""

from __future__ import annotations

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def policy(host: str, port: int, api: str | None) -> str:
    """What the pages may connect to: this server, under the names that a person may have typed, and no other."""
    names = {host, "127.0.0.1", "localhost"}
    origins = sorted(f"{scheme}://{name}:{port}" for name in names for scheme in ("http", "ws"))
    given = [api, api.replace("http", "ws", 1)] if api else []
    return f"connect-src 'self' data: blob: {' '.join([*origins, *given])}; frame-ancestors 'self'"


def guarded(app: ASGIApp, rule: str) -> ASGIApp:
    """The same app, whose answers carry this Content-Security-Policy."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def with_rule(message: Message) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", rule.encode())
                message = {**message, "headers": [*message.get("headers", []), header]}
            await send(message)

        await app(scope, receive, with_rule)

    return call


def main() -> None:
    """Serve at PREFECT_SERVER_API_HOST and PREFECT_SERVER_API_PORT until SIGTERM."""
    settings = get_current_settings().server
    host, port = settings.api.host, settings.api.port
    uvicorn.run(
        guarded(create_app(final=True), policy(host, port, settings.ui.api_url)),
        host=host,
        port=port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        log_level=settings.logging_level.lower(),
    )


if __name__ == "__main__":
    main()
