package op

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	assertionPurpose = "jti"                                                    // key: hash of client and jti
	assertionType    = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 §2.2
	// methodAssertion stands for both methods that there are assertions for: which it is says the client's registration.
	methodAssertion = "client_assertion"
	// maxAssertion is how long an assertion may live: it has to be remembered until then.
	maxAssertion = 5 * time.Minute
	// assertionSkew is how far a client's clock may be from ours.
	assertionSkew = 10 * time.Second
	maxClientKeys = 1024
)

// checkAssertion verifies that client made the assertion for this request (RFC 7523 §3, OpenID Connect Core §9), and that
// nobody has used it before.
func (p *Provider) checkAssertion(r *http.Request, client *store.Client, raw string) error {
	keys, algorithms, err := p.assertionKeys(client)
	if err != nil {
		return invalidClient(err)
	}
	now := p.Now()
	parser := token.Parser{
		Type: token.ClientAssertion, Issuer: client.ID, SkipAudience: true, Keys: keys, Algorithms: algorithms,
		Leeway: assertionSkew, Now: func() time.Time { return now },
	}
	claims, err := parser.Parse(r.Context(), raw)
	if err != nil { // also where the keys cannot be had: it is the client's server that keeps it from proving itself
		return invalidClient(err)
	}
	if why := p.unfit(claims, p.issuer()+r.URL.Path, now); why != "" {
		return invalidClient(errors.New("assertion: " + why))
	}
	key := token.HashHandle(assertionPurpose, client.ID+" "+claims.ID) // no id has a space in it
	err = p.Store.Add(r.Context(), assertionPurpose, key, nil, claims.Expires.Add(2*assertionSkew))
	if errors.Is(err, store.ErrExists) {
		return invalidClient(errors.New("assertion: used before"))
	}
	return err
}

// unfit says what is wrong with a genuine assertion that is sent to the endpoint, "" if nothing is.
func (p *Provider) unfit(claims *token.Claims, endpoint string, now time.Time) string {
	if len(claims.Audience) == 0 {
		return "no audience"
	}
	// The audience should be the issuer alone. Many clients name the token endpoint or the one that they call, as RFC 7523 §3
	// lets them, or several of these; but whoever else is named could use the assertion here.
	for _, audience := range claims.Audience {
		if audience != p.issuer() && audience != p.issuer()+"/token" && audience != endpoint {
			return "another audience"
		}
	}
	switch {
	case claims.Expires.After(now.Add(maxAssertion + assertionSkew)):
		return "lives too long"
	case !claims.IssuedAt.IsZero() && claims.IssuedAt.Before(now.Add(-maxAssertion-assertionSkew)):
		return "too old"
	}
	return ""
}

// assertionKeys returns what the client's assertions are verified with, and the algorithms that they may be signed with. It
// is the registration that decides, so that no public key can pass for a secret.
func (p *Provider) assertionKeys(client *store.Client) (token.KeySource, []string, error) {
	if client.AuthMethod == store.AuthSecretJWT {
		return token.Secrets(client.Secrets), []string{token.HS256}, nil
	}
	algorithms := assertionAlgs
	if client.AuthSigningAlg != "" {
		algorithms = []string{client.AuthSigningAlg}
	}
	keys, err := p.clientKeys.of(client, p.ClientHTTP)
	return keys, algorithms, err
}

// assertionAlgs are those of private_key_jwt.
var assertionAlgs = []string{token.ES256, token.EdDSA, token.PS256, token.RS256}

// tokenAuthAlgs are those of both methods that there are assertions for.
func tokenAuthAlgs() []string { return append([]string{token.HS256}, assertionAlgs...) }

// clientKeys are the keys that clients authenticate with: those that a client was registered with, parsed, and caches of those
// that it publishes. The zero value is empty; it is safe for concurrent use.
type clientKeys struct {
	mu   sync.Mutex
	kept map[string]token.KeySource
}

// of returns the keys of a client. With other keys or another address in its registration these are others.
func (k *clientKeys) of(client *store.Client, http *http.Client) (token.KeySource, error) {
	sum := sha256.Sum256([]byte(client.JWKS))
	name := client.ID + " " + client.JWKSURI + " " + string(sum[:])
	k.mu.Lock()
	defer k.mu.Unlock()
	if keys, ok := k.kept[name]; ok {
		return keys, nil
	}
	var keys token.KeySource = &token.Remote{URL: client.JWKSURI, Client: http, Algorithms: assertionAlgs}
	if client.JWKSURI == "" {
		set, err := token.ParseKeySet([]byte(client.JWKS))
		if err != nil {
			return nil, err
		}
		keys = set
	}
	if k.kept == nil {
		k.kept = map[string]token.KeySource{}
	}
	for other := range k.kept { // any one
		if len(k.kept) < maxClientKeys {
			break
		}
		delete(k.kept, other)
	}
	k.kept[name] = keys
	return keys, nil
}

// claimedClient returns whom an assertion is about, unverified: to look up whose keys it has to be verified with.
func claimedClient(assertion string) string {
	_, rest, _ := strings.Cut(assertion, ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	return claims.Subject
}
