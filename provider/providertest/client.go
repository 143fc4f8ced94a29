package providertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
)

// A Client is registered at the provider.
type Client struct {
	ID string // "" becomes a random one
	// Secret is shared with the client; "" becomes a random one, with characters that have to be encoded, unless Auth is
	// one that uses none.
	Secret string
	Name   string // on pages; "" is ID
	// Auth is the one way in which the client authenticates at the token endpoint: client_secret_basic (also ""),
	// client_secret_post, client_secret_jwt, private_key_jwt or none, which makes PKCE compulsory.
	Auth                   string
	Key                    crypto.PublicKey // for private_key_jwt: *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	RedirectURIs           []string         // compared byte by byte
	PostLogoutRedirectURIs []string
	BackchannelLogoutURI   string // where [OIDC.SendLogout] sends
	IDTokenAlg             string // "" is the provider's
	UserInfoAlg            string // "" is JSON, otherwise a JWT
	// EncryptionAlg encrypts ID tokens, logout tokens and userinfo with UserInfoAlg, which are all signed first: RSA-OAEP-256,
	// RSA-OAEP, ECDH-ES, ECDH-ES+A128KW or ECDH-ES+A256KW; "" encrypts nothing. EncryptionEnc says how the content is, and is
	// A256GCM if "". JWKS is the JSON Web Key Set of the client; its first key with this alg and the use "enc" is the one.
	EncryptionAlg string
	EncryptionEnc string
	JWKS          []byte
}

func (c Client) display() string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 §2.2

var authMethods = []string{"client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"}

// Register adds a client, or replaces the one with the same ID, and returns it with what was filled in. It panics on a
// client that cannot work, which is a mistake in the test.
func (o *OIDC) Register(c Client) Client {
	c, err := o.register(c)
	if err != nil {
		panic(err)
	}
	return c
}

func (o *OIDC) register(c Client) (Client, error) {
	if c.ID == "" {
		c.ID = "client-" + handle()[:8]
	}
	if c.Auth == "" {
		c.Auth = "client_secret_basic"
	}
	if !slices.Contains(authMethods, c.Auth) {
		return c, fmt.Errorf("providertest: client %q: no authentication method %q", c.ID, c.Auth)
	}
	switch c.Key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		if c.Auth == "private_key_jwt" {
			return c, fmt.Errorf("providertest: client %q: no public key for private_key_jwt", c.ID)
		}
	}
	if c.Secret == "" && c.Auth != "none" && c.Auth != "private_key_jwt" {
		c.Secret = handle() + "+/%3A: &="
	}
	for _, alg := range []string{c.IDTokenAlg, c.UserInfoAlg} {
		if alg == "" {
			continue
		}
		if err := o.useAlg(alg); err != nil {
			return c, err
		}
	}
	if _, err := c.encryptionKey(); c.EncryptionAlg != "" && err != nil {
		return c, fmt.Errorf("providertest: client %q: %w", c.ID, err)
	}
	c.JWKS = slices.Clone(c.JWKS)
	c.RedirectURIs, c.PostLogoutRedirectURIs = slices.Clone(c.RedirectURIs), slices.Clone(c.PostLogoutRedirectURIs)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clients[c.ID] = c
	return c, nil
}

func (o *OIDC) client(id string) (Client, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c, ok := o.clients[id]
	return c, ok
}

// authenticate finds out which client sends a token request: by its own method and no other, RFC 6749 §2.3. The method
// it returns is the one that was tried.
func (o *OIDC) authenticate(r *http.Request) (c Client, method string, err error) {
	form := r.PostForm
	var tried []string
	if r.Header.Get("Authorization") != "" {
		tried = append(tried, "client_secret_basic")
	}
	if form.Has("client_secret") {
		tried = append(tried, "client_secret_post")
	}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		tried = append(tried, "client assertion")
	}
	switch len(tried) {
	case 0:
		method = "none"
	case 1:
		method = tried[0]
	default:
		return c, "", fmt.Errorf("authenticated in several ways: %q", tried)
	}
	var id string
	switch method {
	case "client_secret_basic":
		id, err = o.checkBasic(r)
	case "client assertion":
		id, method, err = o.checkAssertion(form)
	default:
		id, err = form.Get("client_id"), o.checkPost(form, method)
	}
	if err != nil {
		return c, method, err
	}
	if sent := form.Get("client_id"); sent != "" && sent != id {
		return c, method, errors.New("client_id is not the client that authenticated")
	}
	c, ok := o.client(id)
	if !ok || c.Auth != method {
		return c, method, fmt.Errorf("the client is not registered for %s", method)
	}
	return c, method, nil
}

func (o *OIDC) checkPost(form url.Values, method string) error {
	c, ok := o.client(form.Get("client_id"))
	if !ok || method == "client_secret_post" && !same(c.Secret, form.Get("client_secret")) {
		return errors.New("unknown client or wrong secret")
	}
	return nil
}

// checkBasic decodes what RFC 6749 §2.3.1 has the client encode.
func (o *OIDC) checkBasic(r *http.Request) (string, error) {
	user, password, ok := r.BasicAuth()
	if !ok {
		return "", errors.New("the Authorization header is not Basic")
	}
	id, err1 := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	if err1 != nil || err2 != nil {
		return "", errors.New("client ID and secret are not form-encoded, RFC 6749 §2.3.1")
	}
	c, ok := o.client(id)
	if !ok || !same(c.Secret, secret) {
		return "", errors.New("unknown client or wrong secret")
	}
	return id, nil
}

// same is false for a client that has no secret.
func same(want, got string) bool {
	return want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(got)) == 1
}

// longestAssertion is how far ahead an assertion may expire.
const longestAssertion = 10 * time.Minute

// checkAssertion checks a client assertion, RFC 7523 §3: whose it is, for whom, how long, and that it is new.
func (o *OIDC) checkAssertion(form url.Values) (id, method string, err error) {
	if form.Get("client_assertion_type") != assertionType {
		return "", "", errors.New("client_assertion_type is not " + assertionType)
	}
	algs := make([]jose.SignatureAlgorithm, 0, len(keyAlgs)+len(secretAlgs))
	for _, alg := range append(slices.Clone(keyAlgs), secretAlgs...) {
		algs = append(algs, jose.SignatureAlgorithm(alg))
	}
	token, err := josejwt.ParseSigned(form.Get("client_assertion"), algs)
	if err != nil {
		return "", "", fmt.Errorf("client_assertion: %w", err)
	}
	method = "private_key_jwt"
	if slices.Contains(secretAlgs, token.Headers[0].Algorithm) {
		method = "client_secret_jwt"
	}
	var claims josejwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return "", method, fmt.Errorf("client_assertion: %w", err)
	}
	c, ok := o.client(claims.Issuer)
	if !ok {
		return "", method, errors.New("client_assertion: iss is no client")
	}
	var verifyWith any = c.Key
	if method == "client_secret_jwt" {
		verifyWith = []byte(c.Secret)
	}
	if err := token.Claims(verifyWith, &claims); err != nil {
		return "", method, fmt.Errorf("client_assertion: %w", err)
	}
	return c.ID, method, o.checkAssertionClaims(claims)
}

func (o *OIDC) checkAssertionClaims(claims josejwt.Claims) error {
	now := o.cfg.Now()
	switch {
	case claims.Subject != claims.Issuer:
		return errors.New("client_assertion: sub is not iss")
	case len(claims.Audience) != 1 || claims.Audience[0] != o.cfg.Issuer && claims.Audience[0] != o.base+"/token":
		return fmt.Errorf("client_assertion: aud is %q, not the issuer or the token endpoint alone", claims.Audience)
	case claims.Expiry == nil || !claims.Expiry.Time().After(now):
		return errors.New("client_assertion: expired, or no exp")
	case claims.Expiry.Time().After(now.Add(longestAssertion)):
		return fmt.Errorf("client_assertion: exp is more than %v ahead", longestAssertion)
	case claims.IssuedAt != nil && claims.IssuedAt.Time().After(now.Add(time.Minute)):
		return errors.New("client_assertion: iat is in the future")
	case claims.NotBefore != nil && claims.NotBefore.Time().After(now.Add(time.Minute)):
		return errors.New("client_assertion: nbf is in the future")
	case claims.ID == "":
		return errors.New("client_assertion: no jti")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for jti, expiry := range o.jtis {
		if !expiry.After(now) {
			delete(o.jtis, jti)
		}
	}
	mark := claims.Issuer + "\x00" + claims.ID
	if _, used := o.jtis[mark]; used {
		return errors.New("client_assertion: jti was used before")
	}
	o.jtis[mark] = claims.Expiry.Time()
	return nil
}
