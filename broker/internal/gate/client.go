package gate

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/seal"
	"github.com/go-idbroker/idbroker/token"
)

const (
	// MaxTokenLifetime is shorter than a retired key stays published.
	MaxTokenLifetime = 12 * time.Hour
)

// Client returns the client if it may be used: of the configuration or, if there is none of this id, of the store. One in
// the store that would not pass as part of a configuration is [ErrClientDisabled], with the reason for the log. Every
// error but that and [ErrUnknownClient] means that the store could not tell.
func (g *Gate) Client(ctx context.Context, id string) (*store.Client, error) {
	c, ok := g.clients[id]
	if !ok {
		var err error
		if c, err = g.stored(ctx, id); err != nil {
			return nil, err
		}
	}
	if c.Disabled {
		return nil, ErrClientDisabled
	}
	return c, nil
}

func (g *Gate) stored(ctx context.Context, id string) (*store.Client, error) {
	if g.clientStore == nil || !isClientID(id) {
		return nil, ErrUnknownClient
	}
	c, err := g.clientStore.Client(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && c.ID != id {
		return nil, ErrUnknownClient
	}
	if errors.Is(err, seal.ErrNotSealed) || errors.Is(err, seal.ErrAltered) { // written past PutClient
		return nil, fmt.Errorf("%w: %w", ErrClientDisabled, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read client: %w", err)
	}
	if err := errors.Join(CheckClient(c)...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClientDisabled, err)
	}
	return c, nil
}

// PutClient checks a client and writes it to the store, which seals its secrets. Those that are sealed already, because it
// was read there, are taken for what they are.
func (g *Gate) PutClient(ctx context.Context, c *store.Client) error {
	if g.clientStore == nil {
		return errors.New("the configuration has no ClientStore")
	}
	if _, ok := g.clients[c.ID]; ok {
		return fmt.Errorf("client %q: %w in the configuration, which comes first", c.ID, store.ErrExists)
	}
	open := *c
	if sealed, ok := g.clientStore.(interface {
		OpenClient(context.Context, *store.Client) (*store.Client, error)
	}); ok {
		opened, err := sealed.OpenClient(ctx, c)
		if err != nil {
			return fmt.Errorf("client %q: Secrets: %w", c.ID, err)
		}
		open = *opened
	}
	if err := errors.Join(CheckClient(&open)...); err != nil {
		return fmt.Errorf("client %q: %w", c.ID, err)
	}
	if err := g.clientStore.PutClient(ctx, &open); err != nil {
		return err
	}
	c.Version = open.Version
	return nil
}

// defaultGrants are the grant types of a client that names none, grantTypes those that a client may name.
var (
	defaultGrants = []string{store.GrantTypeCode, store.GrantTypeRefresh}
	grantTypes    = []string{store.GrantTypeCode, store.GrantTypeRefresh, store.GrantTypeCredentials, store.GrantTypeDevice, store.GrantTypeTokenExchange}
)

// Grant returns an error if the client may not use the grant type. Of a client that names none these are code and refresh
// token.
func (g *Gate) Grant(c *store.Client, grantType string) error {
	if !slices.Contains(grantTypes, grantType) {
		return ErrNoGrantType
	}
	if !mayUse(c, grantType) {
		return ErrGrantType
	}
	return nil
}

func mayUse(c *store.Client, grantType string) bool {
	if len(c.Grants) == 0 {
		return slices.Contains(defaultGrants, grantType)
	}
	return slices.Contains(c.Grants, grantType)
}

// Allows returns an error unless the provider with this alias, "" for none, may vouch for users of the client. It says
// nothing about the provider's own state.
func (g *Gate) Allows(c *store.Client, alias string) error {
	if !among(c.Providers, alias) {
		return ErrProviderNotAllowed
	}
	return nil
}

// among reports whether only, of which nil is all, has the alias.
func among(only []string, alias string) bool { return len(only) == 0 || slices.Contains(only, alias) }

func isClientID(id string) bool {
	return id != "" && len(id) <= 255 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

// CheckClient returns every mistake in a client, whether it is of a configuration or of a store.
func CheckClient(c *store.Client) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !isClientID(c.ID) {
		bad("ID must be at most 255 printable ASCII characters without spaces")
	}
	if err := checkSecrets(c); err != nil {
		errs = append(errs, err)
	}
	if err := checkAssertions(c); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, checkGrants(c)...)
	errs = append(errs, checkClaims(c)...)
	errs = append(errs, checkLogoutURIs(c)...)
	for _, uri := range c.RedirectURIs {
		if err := checkRedirectURI(uri); err != nil {
			bad("RedirectURIs: %q %w", uri, err)
		}
	}
	for _, origin := range c.Origins {
		if err := checkOrigin(origin); err != nil {
			bad("Origins: %q %w", origin, err)
		}
	}
	if slices.Contains(c.Providers, "") {
		bad("Providers: an alias is empty")
	}
	if slices.Contains(c.ProviderTokens, "") {
		bad("ProviderTokens: an alias is empty")
	}
	for _, alg := range []string{c.IDTokenAlg, c.AccessTokenAlg, c.UserInfoAlg} {
		if alg != "" && !slices.Contains([]string{token.RS256, token.ES256, token.PS256, token.EdDSA}, alg) {
			bad("%q is not an algorithm that tokens are signed with", alg)
		}
	}
	if c.IDTokenLifetime < 0 || c.AccessTokenLifetime < 0 || c.AccessTokenLifetime > MaxTokenLifetime ||
		c.IDTokenLifetime > MaxTokenLifetime {
		bad("token lifetimes must be between 0, which is the default, and %v", MaxTokenLifetime)
	}
	if c.RefreshLifetime < 0 || c.RefreshIdle < 0 {
		bad("RefreshLifetime, RefreshIdle: must not be negative")
	}
	return errs
}

func checkGrants(c *store.Client) (errs []error) {
	for _, grantType := range c.Grants {
		if !slices.Contains(grantTypes, grantType) {
			errs = append(errs, fmt.Errorf("Grants: %q is no grant type; there are %q", grantType, grantTypes))
		}
	}
	if mayUse(c, store.GrantTypeCode) && len(c.RedirectURIs) == 0 {
		errs = append(errs, fmt.Errorf("RedirectURIs: give at least one, or Grants without %s", store.GrantTypeCode))
	}
	if c.AuthMethod == store.AuthNone && mayUse(c, store.GrantTypeCredentials) {
		errs = append(errs, errors.New("Grants: client_credentials is for clients that authenticate (RFC 6749 §4.4)"))
	}
	if c.AuthMethod == store.AuthNone && mayUse(c, store.GrantTypeTokenExchange) {
		errs = append(errs, errors.New("Grants: token exchange is for clients that authenticate"))
	}
	if len(c.Audience) == 0 && mayUse(c, store.GrantTypeCredentials) {
		errs = append(errs, errors.New("Audience: name the APIs that tokens of client_credentials are for"))
	}
	if slices.Contains(c.Scopes, "offline_access") && !mayUse(c, store.GrantTypeRefresh) {
		errs = append(errs, errors.New("Scopes: offline_access is for clients that may use refresh_token"))
	}
	return errs
}

func checkSecrets(c *store.Client) error {
	switch c.AuthMethod {
	case "", store.AuthSecretBasic, store.AuthSecretPost:
		if len(c.Secrets) == 0 {
			return fmt.Errorf("Secrets: give at least one, or set AuthMethod to %q for a public client", store.AuthNone)
		}
		for _, secret := range c.Secrets {
			if len(secret) < 16 {
				return fmt.Errorf("Secrets: one has %d bytes; give at least 16 random ones", len(secret))
			}
		}
	case store.AuthSecretJWT, store.AuthPrivateKeyJWT:
	case store.AuthNone:
		if len(c.Secrets) > 0 || c.InsecureWithoutPKCE {
			return fmt.Errorf("a client with AuthMethod %q has no secret and always PKCE", store.AuthNone)
		}
	default:
		return fmt.Errorf("AuthMethod %q is unknown", c.AuthMethod)
	}
	return nil
}

// reserved are the parameters of an authorization response, which a redirect URI must not bring along.
var reserved = []string{"code", "state", "iss", "error", "error_description", "error_uri", "id_token", "access_token", "response"}

func checkRedirectURI(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme == "" || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == '\\' || r > '~' }):
		return errors.New("is not an absolute URI")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return errors.New("must have no fragment (RFC 6749 §3.1.2)")
	case strings.Contains(raw, "*"):
		return errors.New("has a wildcard: it is compared byte for byte (RFC 9700 §2.1)")
	case u.User != nil:
		return errors.New("must have no user part")
	case u.Scheme == "https":
	case u.Scheme == "http":
		if !web.Loopback(u.Hostname()) {
			return errors.New("must be https; http is for loopback hosts only")
		}
	case !strings.Contains(u.Scheme, "."):
		return errors.New("must be https, or have a private-use scheme with a dot in it (RFC 8252 §7.1)")
	}
	if (u.Scheme == "https" || u.Scheme == "http") && u.Host == "" {
		return errors.New("has no host")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("has a query that not everybody reads alike")
	}
	for name := range query {
		if slices.Contains(reserved, name) {
			return fmt.Errorf("must not have the parameter %q, which belongs to the response", name)
		}
	}
	return nil
}
