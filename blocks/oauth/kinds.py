"""The kinds of grants, as flat fields of a vendor's block: a connector inherits from the one that its vendor has."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final
from urllib.parse import quote_plus

from pydantic import Field, SecretStr

from blocks.oauth import keys
from blocks.oauth.endpoint import Identity
from blocks.oauth.errors import GrantEnded
from blocks.oauth.grant import Grant
from blocks.oauth.pairs import Pair, fingerprint

_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ANEW: Final = frozenset({"iat", "nbf", "exp", "jti"})


class WithSecret(Grant, ABC):
    """A client with a secret, sent as the endpoint wants it."""

    client_secret: SecretStr = Field(description="The client's secret, as the vendor shows it.")

    def identify(self, now: float) -> Identity:
        """In a header (RFC 6749 §2.3.1: both form-encoded), or among the parameters; without a secret, by its id."""
        secret = self.client_secret.get_secret_value()
        if not secret:
            return super().identify(now)
        if self.endpoint().client_in != "header":
            return Identity({"client_id": self.client_id, "client_secret": secret})
        both = f"{quote_plus(self.client_id)}:{quote_plus(secret)}"
        return Identity(headers={"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"})

    @property
    def credentials(self) -> tuple[str, ...]:
        """The secret."""
        return (self.client_secret.get_secret_value(),)


class WithKey(Grant, ABC):
    """A client with a private key, with which it signs who it is (RFC 7523 §2.2)."""

    signs: ClassVar[bool] = True

    private_key: SecretStr = Field(description="The client's private key, as PEM.")
    key_id: str = Field(default="", description="The key's id (kid), if the vendor shows one.")
    passphrase: SecretStr = Field(default=SecretStr(""), description="Of the private key, if it has one.")

    def identify(self, now: float) -> Identity:
        """A new assertion for each attempt: vendors take each once."""
        endpoint = self.endpoint()
        claims = {"iss": self.client_id, "sub": self.client_id, "aud": endpoint.audience or endpoint.token_url}
        assertion = keys.signed(
            claims,
            self.private_key.get_secret_value(),
            self.passphrase.get_secret_value(),
            self.key_id,
            now=now,
            system=self.grant_name,
        )
        form = {"client_id": self.client_id, "client_assertion_type": _ASSERTION, "client_assertion": assertion}
        return Identity(form)

    @property
    def credentials(self) -> tuple[str, ...]:
        """The key."""
        return (self.private_key.get_secret_value(),)


class WithCertificate(Grant, ABC):
    """A client with a certificate, which it shows when it connects (RFC 8705)."""

    certificate: str = Field(description="The client's certificate, as PEM.")
    private_key: SecretStr = Field(description="The certificate's private key, as PEM.")
    passphrase: SecretStr = Field(default=SecretStr(""), description="Of the private key, if it has one.")

    def identify(self, now: float) -> Identity:
        """Its id, over a connection of its own."""
        endpoint = self.endpoint()
        transport = keys.connection_with(
            endpoint.token_url,
            endpoint.ca_file,
            self.certificate,
            self.private_key.get_secret_value(),
            self.passphrase.get_secret_value(),
            self.grant_name,
        )
        return Identity(super().identify(now).form, transport=transport)

    @property
    def credentials(self) -> tuple[str, ...]:
        """The certificate and its key."""
        return self.certificate, self.private_key.get_secret_value()


class Credentials(Grant, ABC):
    """The client is its own grant (RFC 6749 §4.4): nothing rotates, and nobody authorises."""

    def presents(self, pair: Pair | None, now: float) -> Mapping[str, str]:  # noqa: ARG002  others need them
        """Nothing but its kind."""
        return {"grant_type": "client_credentials"}


class ClientSecret(WithSecret, Credentials, ABC):
    """Client credentials with a secret. Box wants `box_subject_type` and `box_subject_id` as parameters."""


class ClientKey(WithKey, Credentials, ABC):
    """Client credentials with a private key (private_key_jwt)."""


class ClientCertificate(WithCertificate, Credentials, ABC):
    """Client credentials with a certificate (tls_client_auth)."""


class SignedGrant(WithSecret, ABC):
    """A JWT of our own is the grant (RFC 7523 §2.1): Box's JWT, ServiceNow's."""

    signs: ClassVar[bool] = True
    lasts: ClassVar[float] = 45.0
    """Seconds that an assertion is valid: Box takes no more than 60."""

    private_key: SecretStr = Field(description="The private key that the vendor knows the public half of, as PEM.")
    key_id: str = Field(default="", description="The key's id (kid), if the vendor shows one.")
    passphrase: SecretStr = Field(default=SecretStr(""), description="Of the private key, if it has one.")

    @abstractmethod
    def claims(self) -> Mapping[str, str]:
        """Who it is for, beside `aud`: iss, sub, and the vendor's own, such as box_sub_type."""

    def presents(self, pair: Pair | None, now: float) -> Mapping[str, str]:  # noqa: ARG002  others need it
        """A new assertion for each attempt."""
        assertion = keys.signed(
            self._claims(),
            self.private_key.get_secret_value(),
            self.passphrase.get_secret_value(),
            self.key_id,
            now=now,
            system=self.grant_name,
            lasts=self.lasts,
        )
        return {"grant_type": _BEARER, "assertion": assertion}

    @property
    def about(self) -> str:
        """The claims say whose they are, too; all but those that each assertion has anew."""
        constant = (f"{name}={value}" for name, value in self._claims().items() if name not in _ANEW)
        return fingerprint(super().about, *sorted(constant))

    @property
    def credentials(self) -> tuple[str, ...]:
        """The client's secret, and the key."""
        return *super().credentials, self.private_key.get_secret_value()

    def _claims(self) -> Mapping[str, str]:
        endpoint = self.endpoint()
        return {"aud": endpoint.audience or endpoint.token_url, **self.claims()}


class Refreshing(Grant, ABC):
    """A refresh token, which each use may replace."""

    rotates: ClassVar[bool] = True
    cure: ClassVar[str] = "run the deployment authorize"

    def presents(self, pair: Pair | None, now: float) -> Mapping[str, str]:  # noqa: ARG002  others need it
        """The refresh token (RFC 6749 §6)."""
        if pair is None:
            message = f"there is no grant yet, or it was another client's: {self.cure}"
            raise GrantEnded(message, system=self.grant_name, call="token")
        if not pair.refresh:
            message = f"the vendor gave no refresh token; with a scope that brings one: {self.cure}"
            raise GrantEnded(message, system=self.grant_name, call="token")
        return {"grant_type": "refresh_token", "refresh_token": pair.refresh}


class RefreshToken(WithSecret, Refreshing, ABC):
    """A refresh token that a person types in once; a newly typed one begins anew."""

    cure: ClassVar[str] = "type a new refresh token into its block"

    refresh_token: SecretStr = Field(
        description="The refresh token to begin with. It is used once: after that, the newer ones are kept beside this "
        "block. Type in a new one when the grant has ended: one that was here before is not tried again."
    )

    @property
    def typed(self) -> str:
        """What is in the form."""
        return self.refresh_token.get_secret_value().strip()


class OptionalSecret(WithSecret, ABC):
    """A client that may be a public one."""

    client_secret: SecretStr = Field(default=SecretStr(""), description="The client's secret, if it has one.")


class DeviceCode(OptionalSecret, Refreshing, ABC):
    """A person signs in elsewhere, with a code that the deployment authorize shows (RFC 8628)."""


class AuthorizationCode(OptionalSecret, Refreshing, ABC):
    """A person signs in with a browser on the worker's machine, to which the vendor sends it back (RFC 8252)."""

    redirect_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Of the address http://127.0.0.1:<port>/callback, as you registered it at the vendor. "
        "0: a free one, where the vendor takes any.",
    )
