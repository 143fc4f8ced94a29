package gate

import (
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// checkAssertions says what is wrong with what the client is to sign assertions with.
func checkAssertions(c *store.Client) error {
	switch c.AuthMethod {
	case store.AuthSecretJWT:
		return checkAssertionSecrets(c)
	case store.AuthPrivateKeyJWT:
		return checkAssertionKeys(c)
	}
	if c.JWKS != "" || c.JWKSURI != "" || c.AuthSigningAlg != "" {
		return fmt.Errorf("JWKS, JWKSURI and AuthSigningAlg are for an AuthMethod with assertions, such as %q", store.AuthPrivateKeyJWT)
	}
	return nil
}

func checkAssertionSecrets(c *store.Client) error {
	switch {
	case len(c.Secrets) == 0:
		return errors.New("Secrets: give at least one")
	case slices.ContainsFunc(c.Secrets, func(secret []byte) bool { return len(secret) < 32 }): // RFC 7518 §3.2
		return fmt.Errorf("Secrets: with AuthMethod %q each has at least 32 random bytes", c.AuthMethod)
	case c.JWKS != "" || c.JWKSURI != "":
		return fmt.Errorf("JWKS, JWKSURI: with AuthMethod %q there are none", c.AuthMethod)
	case c.AuthSigningAlg != "" && c.AuthSigningAlg != token.HS256:
		return fmt.Errorf("AuthSigningAlg: with AuthMethod %q it is HS256", c.AuthMethod)
	}
	return nil
}

func checkAssertionKeys(c *store.Client) error {
	switch {
	case len(c.Secrets) > 0:
		return fmt.Errorf("Secrets: with AuthMethod %q there are none", c.AuthMethod)
	case (c.JWKS == "") == (c.JWKSURI == ""):
		return fmt.Errorf("JWKS, JWKSURI: with AuthMethod %q there is one of them", c.AuthMethod)
	case c.AuthSigningAlg != "" && !slices.Contains([]string{token.RS256, token.PS256, token.ES256, token.EdDSA}, c.AuthSigningAlg):
		return fmt.Errorf("AuthSigningAlg: %q is not an algorithm of %q", c.AuthSigningAlg, c.AuthMethod)
	case c.JWKSURI != "":
		return checkJWKSURI(c.JWKSURI)
	}
	if _, err := token.ParseKeySet([]byte(c.JWKS)); err != nil {
		return fmt.Errorf("JWKS: %w", err)
	}
	return nil
}

func checkJWKSURI(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("JWKSURI: %q is not an absolute URL without user and fragment", raw)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !web.Loopback(u.Hostname())) {
		return fmt.Errorf("JWKSURI: %q must be https; http is for loopback hosts only", raw)
	}
	return nil
}
