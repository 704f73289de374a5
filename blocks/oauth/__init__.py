"""OAuth: grants as fields of a vendor's block, one refresh for all processes, tokens as `httpx.Auth`.

How a connector uses a grant:
1. It inherits from the kind that its vendor has, before its contract: `class Box(ClientSecret, IncidentSystem)`.
   The kind's fields (client id, secret, key …) are then fields of its form.
2. It says where its vendor gives tokens, and its ways: `def endpoint(self) -> Endpoint`.
3. In `__aenter__` it opens `Http(…, auth=self.auth())`. That is all: tokens are fetched, shared, renewed and replaced.
4. Whatever goes wrong with a token is one of `blocks.errors`, raised by the call that wanted it.
5. A kind that a person authorises (DeviceCode, AuthorizationCode) is authorised by the deployment `authorize`.
"""

from blocks.oauth.endpoint import Endpoint, Identity
from blocks.oauth.errors import AnswerLost, GrantEnded
from blocks.oauth.grant import Grant
from blocks.oauth.kinds import (
    AuthorizationCode,
    ClientCertificate,
    ClientKey,
    ClientSecret,
    DeviceCode,
    RefreshToken,
    SignedGrant,
)
from blocks.oauth.microsoft import Microsoft

__all__ = [
    "AnswerLost",
    "AuthorizationCode",
    "ClientCertificate",
    "ClientKey",
    "ClientSecret",
    "DeviceCode",
    "Endpoint",
    "Grant",
    "GrantEnded",
    "Identity",
    "Microsoft",
    "RefreshToken",
    "SignedGrant",
]
