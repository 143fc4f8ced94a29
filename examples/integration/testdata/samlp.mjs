// A SAML identity provider that others wrote, for samlp_test.go: node main.mjs '{"port": …, "key": …, "cert": …, "parties": {
// entityID: {"acs", "slo", "signing", "encryption", "options"}}}'. Who is signed in here is in the cookie "user". It prints
// what it was asked.
import express from 'express';
import samlp from 'samlp';

const { port, key, cert, parties } = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${port}/metadata`;
const sessions = []; // those that know of a user

const app = express();
app.use(express.urlencoded({ extended: false, limit: '1mb' }));

const userOf = req => {
  const id = /(?:^|; )user=(\w+)/.exec(req.headers.cookie ?? '')?.[1];
  return id && {
    id: `samlp-${id}`, displayName: `${id} of samlp`, name: { givenName: id, familyName: 'of samlp' }, emails: [{ value: `${id}@samlp.example` }],
  };
};
app.get('/as/:user', (req, res) => res.set('Set-Cookie', `user=${req.params.user}; Path=/`).send('signed in'));

app.all('/sso', (req, res, next) => {
  samlp.parseRequest(req, (err, asked) => {
    const party = parties[asked?.issuer];
    if (err || !party) return next(err ?? new Error('nobody that is known here'));
    const user = userOf(req);
    const sessionIndex = `s${sessions.length}`;
    sessions.push({ serviceProviderId: asked.issuer, nameId: user.id, sessionIndex, serviceProviderLogoutURL: party.slo, cert: party.signing });
    samlp.auth({
      issuer, key, cert, sessionIndex, signingCert: party.signing, encryptionCert: party.encryption, encryptionPublicKey: party.encryption,
      nameIdentifierFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent', includeAttributeNameFormat: true,
      destination: party.acs, recipient: party.acs, getUserFromRequest: () => user,
      getPostURL: (audience, dom, request, done) => {
        console.log(`asked by ${audience} with a signature that holds`);
        done(null, party.acs);
      },
      ...party.options,
    })(req, res, next);
  });
});

const states = new Map();
const store = {
  save: (req, state, done) => { const handle = `state${states.size}`; states.set(handle, state); done(null, handle); },
  load: (req, handle, options, done) => (done ?? options)(null, states.get(handle)),
  update: (req, handle, state, done) => { states.set(handle, state); done(); },
};
app.all('/slo', samlp.logout({
  issuer, key, cert, store, deflate: false, protocolBinding: 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST',
  signatureAlgorithm: 'rsa-sha256', digestAlgorithm: 'sha256',
  sessionParticipants: new (class {
    find(issuer, index, name) {
      const all = [index].flat();
      return sessions.findIndex(s => (!issuer || s.serviceProviderId === issuer) && all.includes(s.sessionIndex) && s.nameId === name);
    }
    get(issuer, index, name, done) { done(null, sessions[this.find(issuer, index, name)]); }
    hasElements() { return false; } // the others are told nothing
    getFirst(done) { done(); }
    remove(issuer, index, name, done) {
      const at = this.find(issuer, index, name);
      console.log(`signed out ${at < 0 ? 'nobody' : name}`);
      done(null, at < 0 ? undefined : sessions.splice(at, 1)[0]);
    }
  })(),
}));
app.use((err, req, res, next) => { console.log(err.stack); res.status(500).send('an error'); });
app.listen(port, '127.0.0.1', () => console.log(`issuer ${issuer}.`));
