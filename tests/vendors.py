"""Toy blocks in the shape of vendors, one for each way that vendors have with tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from blocks.oauth import ClientCertificate, ClientKey, ClientSecret, Endpoint, Microsoft, RefreshToken, SignedGrant
from blocks.oauth.microsoft import CLOUDS, Cloud, MicrosoftUser


class InBody(ClientSecret):
    """A secret in the body, as Microsoft's and Box's."""

    address: str

    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.address}/token", client_in="body")


class BoxLike(ClientSecret):
    """Box's client credentials: whose account it is goes with each request."""

    address: str
    subject_type: Literal["enterprise", "user"] = "enterprise"
    subject_id: str

    def endpoint(self) -> Endpoint:
        subject = {"box_subject_type": self.subject_type, "box_subject_id": self.subject_id}
        return Endpoint(f"{self.address}/token", client_in="body", parameters=subject, lifetime=4100)


class BoxJwtLike(SignedGrant):
    """Box's JWT."""

    address: str
    enterprise: str

    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.address}/token", client_in="body")

    def claims(self) -> Mapping[str, str]:
        return {"iss": self.client_id, "sub": self.enterprise, "box_sub_type": "enterprise"}


class ArubaLike(RefreshToken):
    """Aruba Central's: everything in the query."""

    address: str

    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.address}/token", client_in="query", lifetime=7200, refresh_days=15)


class KeyLike(ClientKey):
    """A service app with a private key, as Okta's."""

    address: str

    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.address}/token", scope="okta.users.read")


class CertificateLike(ClientCertificate):
    """A client certificate."""

    address: str
    ca_file: str = Field(default="")

    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.address}/token", ca_file=self.ca_file)


class _Loopback:
    """Microsoft's shape, on loopback."""

    address: str
    ca_file: str

    @property
    def hosts(self) -> Cloud:
        return Cloud(self.address, self.address)


class DefenderLike(_Loopback, Microsoft):
    """An application at Microsoft."""

    address: str
    ca_file: str = ""

    def scopes(self) -> Sequence[str]:
        return [f"{self.hosts.graph}/.default"]

    def endpoint(self) -> Endpoint:
        return replace(super().endpoint(), ca_file=self.ca_file)


class DefenderUserLike(_Loopback, MicrosoftUser):
    """A person at Microsoft."""

    address: str
    ca_file: str = ""

    def scopes(self) -> Sequence[str]:
        return [f"{self.hosts.graph}/Incident.Read"]

    def endpoint(self) -> Endpoint:
        return replace(super().endpoint(), ca_file=self.ca_file)


class InCloud(DefenderLike):
    """At Microsoft's own hosts."""

    @property
    def hosts(self) -> Cloud:
        return CLOUDS[self.cloud]
