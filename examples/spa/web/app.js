// A single-page application that signs its users in at a broker, with oidc-client-ts.
/* global oidc */

const { issuer, client_id, dpop } = await (await fetch('/settings.json')).json();

const manager = new oidc.UserManager({
  authority: issuer,
  client_id,
  redirect_uri: `${location.origin}/callback`,
  post_logout_redirect_uri: `${location.origin}/signed-out`,
  scope: 'openid profile email',
  // The key of the proofs is in the browser's database and cannot be read by scripts, this one included. So whoever gets
  // hold of the tokens cannot use them elsewhere.
  dpop: dpop ? { bind_authorization_code: true, store: new oidc.IndexedDbDPoPStore() } : undefined,
  // A minute before the access token ends it is exchanged, by the refresh token, for the next one.
  automaticSilentRenew: true,
});

const element = (id) => document.getElementById(id);

// call sends a request with the access token, as an API wants it.
async function call(url, user, method = 'GET') {
  const headers = { Authorization: `${dpop ? 'DPoP' : 'Bearer'} ${user.access_token}` };
  if (dpop) headers.DPoP = await manager.dpopProof(url, user, method);
  const response = await fetch(url, { method, headers });
  if (!response.ok) throw new Error(`${url} answered with status ${response.status}`);
  return response.json();
}

function show(text, user) {
  element('state').textContent = text;
  element('sign-in').hidden = Boolean(user);
  element('sign-out').hidden = element('claims').hidden = !user;
}

async function showUser(user) {
  const claims = await call(await manager.metadataService.getUserInfoEndpoint(), user);
  element('claims').replaceChildren(...Object.entries(claims).flatMap(([name, value]) => {
    const [term, description] = [document.createElement('dt'), document.createElement('dd')];
    [term.textContent, description.textContent] = [name, String(value)];
    return [term, description];
  }));
  show(`Hello, ${claims.name}`, user);
}

// start says what to show at first. Code and state leave the address bar as soon as they are used.
async function start() {
  switch (location.pathname) {
    case '/callback':
      try {
        await manager.signinCallback();
      } finally {
        history.replaceState(null, '', '/');
      }
      break;
    case '/signed-out':
      await manager.signoutCallback();
      history.replaceState(null, '', '/');
      return show('You are signed out.');
  }
  const user = await manager.getUser();
  return user && !user.expired ? showUser(user) : show('Nobody is signed in.');
}

const failed = (error) => show(`That did not work: ${error.message}`);

element('sign-in').addEventListener('click', () => manager.signinRedirect().catch(failed));
element('sign-out').addEventListener('click', () => manager.signoutRedirect().catch(failed));
await start().catch(failed);
manager.events.addUserLoaded((user) => {
  element('renewed').hidden = false;
  showUser(user).catch(failed);
});
// The session at the broker has ended, or an administrator has ended it.
manager.events.addSilentRenewError(async () => {
  await manager.removeUser();
  show('Your session has ended.');
});
