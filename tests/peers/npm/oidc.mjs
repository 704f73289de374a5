// A certified OAuth server (https://github.com/panva/node-oidc-provider) with tokens of 5 s and rotating refresh tokens.
// Arguments: port, and the public key of the client that signs, as JWK.
import Provider from "oidc-provider";

const [port, key] = process.argv.slice(2);
const CODE = "urn:ietf:params:oauth:grant-type:device_code";
const machine = { grant_types: ["client_credentials"], redirect_uris: [], response_types: [] };
const person = { grant_types: [CODE, "refresh_token", "authorization_code"], response_types: ["code"] };
const clients = [
  { client_id: "machine-post", client_secret: "post-secret-0123456789", token_endpoint_auth_method: "client_secret_post", ...machine },
  { client_id: "machine-basic", client_secret: "b+sic/s3cret 0123456789%", token_endpoint_auth_method: "client_secret_basic", ...machine },
  { client_id: "machine-key", token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [JSON.parse(key)] }, ...machine },
  // A native application may come back to any port of the loopback (RFC 8252 §7.3).
  { client_id: "person", client_secret: "person-secret-0123456789", token_endpoint_auth_method: "client_secret_basic",
    application_type: "native", redirect_uris: ["http://127.0.0.1/callback"], ...person },
];
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  scopes: ["openid", "offline_access", "api:read"],
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => "urn:api",
      getResourceServerInfo: () => ({ scope: "api:read", accessTokenTTL: 5, accessTokenFormat: "opaque" }),
    },
  },
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed("refresh_token"),
  rotateRefreshToken: true,
  ttl: { AccessToken: 5, ClientCredentials: 5, RefreshToken: 3600 },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("up"));
