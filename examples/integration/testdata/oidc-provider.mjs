// An OpenID Provider that others wrote, for oidcprovider_test.go: node main.mjs '{"clients": [...]}'. Whoever logs in is
// called after the login that they type. It prints its issuer, and then what each authorization request had.
import { createServer } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';

const { clients } = JSON.parse(process.argv[2]);

const algorithms = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const keys = [];
for (const alg of algorithms) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  keys.push({ ...(await exportJWK(privateKey)), alg, use: 'sig', kid: alg });
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients,
    jwks: { keys },
    cookies: { keys: ['only for a test'] },
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'] },
    pkce: { required: () => true },
    enabledJWA: { idTokenSigningAlgValues: algorithms, userinfoSigningAlgValues: algorithms },
    features: { jwtUserinfo: { enabled: true }, encryption: { enabled: true } },
    // The dispatcher refuses loopback addresses, and the broker's keys are at one.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    findAccount: (ctx, id) => ({
      accountId: id,
      claims: () => ({
        sub: id, name: `${id} of oidc-provider`, preferred_username: id, email: `${id}@foreign.example`, email_verified: true,
      }),
    }),
  });
  provider.on('authorization.success', ({ oidc: { params } }) => {
    console.log(`authorized with nonce ${!!params.nonce}, state ${!!params.state}, PKCE ${params.code_challenge_method}`);
  });
  provider.on('grant.success', ({ oidc: { client } }) => {
    console.log(`redeemed with ${client.tokenEndpointAuthMethod}`);
  });
  for (const event of ['server_error', 'grant.error', 'authorization.error', 'userinfo.error']) {
    provider.on(event, (ctx, error) => console.log(`${event}: ${error.error_detail ?? error.stack}`));
  }
  server.on('request', provider.callback());
  console.log(`issuer ${issuer}.`);
});
