package op

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/store"
)

// authenticate returns the client that sent the token request, which must prove itself in the one way it is registered
// for (RFC 6749 §2.3). All failures look alike.
func (p *Provider) authenticate(r *http.Request, form url.Values) (*store.Client, error) {
	sent, err := credentials(r, form)
	if err != nil {
		return nil, err
	}
	client, err := p.Gate.Client(r.Context(), sent.id)
	if gate.Refused(err) {
		return nil, invalidClient(err)
	}
	if err != nil {
		return nil, err
	}
	if err := p.prove(r, client, sent); err != nil {
		return nil, err
	}
	allowOrigin(r.Context(), client)
	return client, nil
}

// prove verifies what was sent, if it was sent in the way that the client is registered for.
func (p *Provider) prove(r *http.Request, client *store.Client, sent sentCredentials) error {
	registered := cmp.Or(client.AuthMethod, store.AuthSecretBasic)
	asserts := registered == store.AuthSecretJWT || registered == store.AuthPrivateKeyJWT
	if registered != sent.method && !(asserts && sent.method == methodAssertion) {
		return invalidClient(errors.New("registered for " + registered + ", used " + sent.method))
	}
	switch {
	case asserts:
		return p.checkAssertion(r, client, sent.secret)
	case registered != store.AuthNone && !hasSecret(client, sent.secret):
		return invalidClient(errors.New("wrong secret"))
	}
	return nil
}

func invalidClient(err error) error {
	return &oauthError{http.StatusUnauthorized, "invalid_client", "client authentication failed", err}
}

// sentCredentials are what a request says about its client, and how. An assertion is its secret.
type sentCredentials struct {
	id, secret, method string
}

func credentials(r *http.Request, form url.Values) (sentCredentials, error) {
	id, secret, basic := r.BasicAuth()
	asserted := form.Get("client_assertion") != "" || form.Get("client_assertion_type") != ""
	if asserted && (basic || form.Get("client_secret") != "") || basic && form.Get("client_secret") != "" {
		return sentCredentials{}, &oauthError{status: http.StatusBadRequest, code: "invalid_request",
			description: "the client authenticates in two ways at once"}
	}
	if !basic {
		if r.Header.Get("Authorization") != "" {
			return sentCredentials{}, invalidClient(errors.New("Authorization is not Basic"))
		}
		if asserted {
			return assertedCredentials(form)
		}
		method := store.AuthNone
		if form.Get("client_secret") != "" {
			method = store.AuthSecretPost
		}
		return sentCredentials{form.Get("client_id"), form.Get("client_secret"), method}, nil
	}
	// RFC 6749 §2.3.1: both are form-encoded before they are joined.
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	if err := errors.Join(errID, errSecret); err != nil {
		return sentCredentials{}, invalidClient(err)
	}
	if form.Get("client_id") != "" && form.Get("client_id") != id {
		return sentCredentials{}, invalidClient(errors.New("client_id differs from the Authorization header's"))
	}
	return sentCredentials{id, secret, store.AuthSecretBasic}, nil
}

// assertedCredentials are those of RFC 7521 §4.2. The client is the one that the assertion claims to be about.
func assertedCredentials(form url.Values) (sentCredentials, error) {
	assertion := form.Get("client_assertion")
	id := claimedClient(assertion)
	switch {
	case form.Get("client_assertion_type") != assertionType:
		return sentCredentials{}, invalidClient(errors.New("client_assertion_type is none that there is"))
	case form.Get("client_id") != "" && form.Get("client_id") != id:
		return sentCredentials{}, invalidClient(errors.New("client_id differs from the assertion's"))
	}
	return sentCredentials{id, assertion, methodAssertion}, nil
}

// hasSecret compares with each secret of the client in constant time, whatever their lengths.
func hasSecret(client *store.Client, sent string) bool {
	got := sha256.Sum256([]byte(sent))
	match := 0
	for _, secret := range client.Secrets {
		want := sha256.Sum256(secret)
		match |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return match == 1 && sent != ""
}
