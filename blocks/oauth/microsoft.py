"""Microsoft Entra ID, through its own library (https://learn.microsoft.com/entra/msal/python).

MSAL caches and renews by itself, in one process; here it works only inside the refresh, under the grant's lock, and its
serialised cache is kept with the token. It blocks: it runs in a thread.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal, NamedTuple

import httpx
import jwt
from pydantic import Field, SecretStr, field_validator

from blocks.answers import About, Where, of_failure
from blocks.errors import LockstepError, Misconfigured, Unavailable
from blocks.oauth.answers import Reply, pair_of, refusal
from blocks.oauth.endpoint import Endpoint
from blocks.oauth.grant import Grant
from blocks.oauth.keys import pem
from blocks.oauth.kinds import Refreshing
from blocks.oauth.pairs import Pair
from blocks.oauth.wire import TIMEOUT
from blocks.ratelimit import Clock
from blocks.tls import trust


class Cloud(NamedTuple):
    """Where one of Microsoft's clouds signs in, and where its Graph is."""

    login: str
    graph: str


CLOUDS: Final = {
    "global": Cloud("https://login.microsoftonline.com", "https://graph.microsoft.com"),
    "us government": Cloud("https://login.microsoftonline.us", "https://graph.microsoft.us"),
    "us defense": Cloud("https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
    "china": Cloud("https://login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn"),
}
"""https://learn.microsoft.com/graph/deployments"""


class Entra(Grant, ABC):
    """What both kinds share."""

    cloud: Literal["global", "us government", "us defense", "china"] = Field(
        default="global", description="Which of Microsoft's clouds the tenant is in."
    )
    tenant: str = Field(description="The directory's (tenant's) id, or one of its domains.")
    client_id: str = Field(description="The application's (client's) id.")
    client_secret: SecretStr = Field(default=SecretStr(""), description="A secret of the application.")
    certificate: str = Field(default="", description="Instead of a secret: the application's certificate, as PEM.")
    private_key: SecretStr = Field(default=SecretStr(""), description="The certificate's private key, as PEM.")

    @field_validator("tenant")
    @classmethod
    def _tenant(cls, value: str) -> str:
        tenant = value.strip()
        if not tenant or not all(c.isalnum() or c in ".-" for c in tenant):
            message = "the tenant is an id such as 8f0c…, or a domain such as example.onmicrosoft.com"
            raise ValueError(message)
        return tenant

    @abstractmethod
    def scopes(self) -> Sequence[str]:
        """What the token is for, such as `f"{self.hosts.graph}/.default"`."""

    @property
    def hosts(self) -> Cloud:
        """Of the cloud."""
        return CLOUDS[self.cloud]

    @property
    def credentials(self) -> tuple[str, ...]:
        """The secret, or the certificate and its key."""
        return self.client_secret.get_secret_value(), self.certificate, self.private_key.get_secret_value()

    def endpoint(self) -> Endpoint:
        """The tenant's, version 2."""
        base = f"{self.hosts.login}/{self.tenant}/oauth2/v2.0"
        return Endpoint(
            f"{base}/token",
            scope=" ".join((*self.scopes(), "offline_access")),
            client_in="body",
            lifetime=3600.0,
            refresh_days=90.0,
            device_url=f"{base}/devicecode",
        )

    async def redeem(self, pair: Pair | None, clock: Clock) -> Pair:
        """New tokens, by MSAL in a thread; raises as `answers.refusal` says."""
        endpoint, begun = self.endpoint().checked(self.grant_name), clock.now()
        reply, cache = await asyncio.to_thread(self._asked_msal, endpoint, pair)
        if not reply.ok:
            raise refusal(reply)
        return replace(pair_of(reply, pair, begun, endpoint.lifetime, endpoint.refresh_days), cache=cache)

    def _asked_msal(self, endpoint: Endpoint, pair: Pair | None) -> tuple[Reply, str]:
        import msal
        from msal.exceptions import MsalError

        about: About = {"system": self.grant_name, "call": "MSAL", "id": ""}
        cache = msal.SerializableTokenCache()
        if pair is not None and pair.cache:
            cache.deserialize(pair.cache)
        failure: LockstepError
        try:
            with httpx.Client(verify=trust(endpoint.ca_file, self.grant_name), timeout=TIMEOUT) as http:
                # It knows the public clouds by itself; asking for them costs a call, and fails where there is none.
                options = {"instance_discovery": False, "http_client": http, "token_cache": cache}
                app = self._app(authority=endpoint.token_url.partition("/oauth2/")[0], **options)
                result = self._result(app, pair)
        except httpx.HTTPStatusError as error:
            failure = Unavailable(f"Microsoft answered {error.response.status_code}", **about)
        except httpx.HTTPError as error:
            failure = of_failure(error, Where(**about))
        except MsalError:
            failure = Unavailable("Microsoft's answer was an error that its library does not know", **about)
        except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
            # How MSAL says that there is no such tenant, or that a key cannot be read; its words may hold the key.
            what = f"tenant, cloud, secret or certificate cannot be used ({type(error).__name__})"
            failure = Misconfigured(what, **about)
        else:
            status = 400 if "error" in result else 200
            return Reply(status, result, "application/json", None, about, self._secrets(pair)), str(cache.serialize())
        raise failure

    def _app(self, **options: Any) -> Any:  # noqa: ANN401  MSAL ships no types
        import msal

        credential = self._credential()
        if credential is None:
            return msal.PublicClientApplication(self.client_id, **options)
        return msal.ConfidentialClientApplication(self.client_id, client_credential=credential, **options)

    def _credential(self) -> str | Mapping[str, str] | None:
        if self.certificate:
            key = pem(self.private_key.get_secret_value())
            return {"private_key": key, "public_certificate": pem(self.certificate)}
        return self.client_secret.get_secret_value() or None

    def _secrets(self, pair: Pair | None) -> frozenset[str]:
        ours = {self.client_secret.get_secret_value(), pair.refresh if pair else ""}
        return frozenset(ours - {""})

    @abstractmethod
    def _result(self, app: Any, pair: Pair | None) -> dict[str, Any]:  # noqa: ANN401  MSAL ships no types
        """Ask MSAL."""


class Microsoft(Entra, ABC):
    """An application of its own, with a secret or a certificate: nobody signs in."""

    def presents(self, pair: Pair | None, now: float) -> Mapping[str, str]:  # noqa: ARG002  others need them
        """Misconfigured: it has neither."""
        if not self._credential():
            raise Misconfigured("fill in a secret, or a certificate with its key", system=self.grant_name)
        return {}

    def _result(self, app: Any, pair: Pair | None) -> dict[str, Any]:  # noqa: ANN401  MSAL ships no types
        self.presents(pair, 0.0)
        # MSAL would hand out again what it has, and that is what must be renewed.
        app.remove_tokens_for_client()
        return dict(app.acquire_token_for_client(list(self.scopes())))


class MicrosoftUser(Entra, Refreshing, ABC):
    """A person signs in, with a code that the deployment authorize shows."""

    # Microsoft lets an old refresh token work on; the note then costs a wait after a lost answer, and no more.
    rotates: ClassVar[bool] = True

    def _result(self, app: Any, pair: Pair | None) -> dict[str, Any]:  # noqa: ANN401  MSAL ships no types
        scopes, accounts = list(self.scopes()), app.get_accounts()
        if accounts and pair is not None and pair.cache:
            result = app.acquire_token_silent_with_error(scopes, accounts[0], force_refresh=True)
        else:
            self.presents(pair, 0.0)
            result = app.acquire_token_by_refresh_token(pair.refresh if pair else "", scopes)
        # None: its cache has nothing for these scopes.
        return dict(result or {"error": "interaction_required"}) | self._next(app)

    def _next(self, app: Any) -> dict[str, Any]:  # noqa: ANN401  MSAL ships no types
        """The refresh token by which a note names what is presented: the one in MSAL's cache."""
        kind = app.token_cache.CredentialType.REFRESH_TOKEN
        found = [str(one["secret"]) for one in app.token_cache.search(kind)]
        return {"refresh_token": found[-1]} if found else {}
