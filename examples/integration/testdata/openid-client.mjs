// An application that others wrote most of, for openidclient_test.go: node main.mjs '{"issuer": ..., "id": ..., ...}'.
// It prints its origin and its public keys. A browser that comes to /login goes to the issuer; back at /callback it gets,
// as JSON, what came of everything that the client did with its code.
import { createServer } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import * as client from 'openid-client';

const { issuer, id, secret, auth, keyAlg, par, dpopAlg, idTokenAlg, userInfoAlg } = JSON.parse(process.argv[2]);

const generated = keyAlg && await generateKeyPair(keyAlg, { extractable: true });
const key = generated && { key: generated.privateKey, kid: 'of the application' };
const jwks = generated && { keys: [{ ...(await exportJWK(generated.publicKey)), kid: key.kid, alg: keyAlg, use: 'sig' }] };
// Ed25519 is the name of RFC 9864; RFC 8037's is the one that discovery promises.
const eddsa = { [client.modifyAssertion]: (header) => { if (header.alg === 'Ed25519') header.alg = 'EdDSA'; } };
const authentication = {
  client_secret_basic: () => client.ClientSecretBasic(secret),
  client_secret_post: () => client.ClientSecretPost(secret),
  client_secret_jwt: () => client.ClientSecretJwt(secret),
  private_key_jwt: () => client.PrivateKeyJwt(key, eddsa),
  none: () => client.None(),
}[auth];

let origin;
let attempt;

async function begin() {
  const config = await client.discovery(new URL(issuer), id, {
    id_token_signed_response_alg: idTokenAlg, userinfo_signed_response_alg: userInfoAlg, require_auth_time: true,
  }, authentication(), { execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks] });
  const options = dpopAlg && { DPoP: client.getDPoPHandle(config, await client.randomDPoPKeyPair(dpopAlg), eddsa) };
  attempt = { config, options, state: client.randomState(), nonce: client.randomNonce(), verifier: client.randomPKCECodeVerifier() };
  const parameters = {
    redirect_uri: `${origin}/callback`, scope: 'openid profile email', state: attempt.state, nonce: attempt.nonce,
    code_challenge: await client.calculatePKCECodeChallenge(attempt.verifier), code_challenge_method: 'S256',
  };
  return par ? client.buildAuthorizationUrlWithPAR(config, parameters, options) : client.buildAuthorizationUrl(config, parameters);
}

// refused returns the error code with which a call fails, and '' if it does not.
const refused = (call) => call.then(() => '', (e) => e.error ?? e.cause?.[0]?.parameters?.error ?? e.code);

async function finish(url) {
  const { config, options, state, nonce, verifier } = attempt;
  const first = await client.authorizationCodeGrant(config, url,
    { expectedState: state, expectedNonce: nonce, pkceCodeVerifier: verifier, idTokenExpected: true }, undefined, options);
  const claims = first.claims();
  const userInfo = await client.fetchUserInfo(config, first.access_token, claims.sub, options);
  const refresh = (tokens) => client.refreshTokenGrant(config, tokens.refresh_token, undefined, options);
  const second = await refresh(first);
  const retried = await refresh(first);
  const third = await refresh(second);
  const inspect = async (token) => auth === 'none' ? undefined : client.tokenIntrospection(config, token);
  const told = {
    tokenType: first.token_type, claims, userInfo, introspected: await inspect(third.access_token),
    rotated: new Set([first, second, third].map((t) => t.refresh_token)).size,
    retriedGotTheSame: retried.refresh_token === second.refresh_token, refreshedSub: third.claims().sub,
  };
  await client.tokenRevocation(config, third.refresh_token);
  told.refreshAfterwards = await refused(refresh(third));
  told.introspectedAfterwards = (await inspect(third.access_token))?.active;
  told.userInfoAfterwards = await refused(client.fetchUserInfo(config, third.access_token, claims.sub, options));
  told.logout = client.buildEndSessionUrl(config, {
    id_token_hint: third.id_token, post_logout_redirect_uri: `${origin}/bye`, state: 'over & out',
  }).href;
  return told;
}

const server = createServer(async (request, response) => {
  try {
    const url = new URL(request.url, origin);
    if (url.pathname === '/login') {
      response.writeHead(303, { location: (await begin()).href }).end();
    } else if (url.pathname === '/callback') {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(await finish(url)));
    } else {
      response.writeHead(200, { 'content-type': 'text/plain' }).end('the application');
    }
  } catch (e) {
    console.log(e);
    response.writeHead(500, { 'content-type': 'text/plain' }).end(`${e.stack}\n${JSON.stringify(e.cause ?? null)}`);
  }
});
server.listen(0, '127.0.0.1', () => {
  origin = `http://127.0.0.1:${server.address().port}`;
  console.log(`started ${JSON.stringify({ origin, jwks })}.`);
});
