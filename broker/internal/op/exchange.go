package op

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// Token types (RFC 8693 §3).
const (
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

const (
	exchangePurpose = "exchange"
	// exchangeKept is how long it is remembered that an upstream's token was exchanged: longer than providers accept one.
	exchangeKept = time.Hour
	// maxActors bounds how often a token may be handed on.
	maxActors = 5
)

// An actor is a client that acts for the user, and in its Actor the one that did before (RFC 8693 §4.1).
type actor struct {
	Subject string `json:"sub"`
	Actor   *actor `json:"act,omitempty"`
}

func (a *actor) depth() int {
	if a == nil {
		return 0
	}
	return 1 + a.Actor.depth()
}

// exchange trades a token for one of ours (RFC 8693). There is nothing that it falls back to: a request that lacks
// something, or asks for something that is not done here, is refused.
func (p *Provider) exchange(ctx context.Context, req *tokenRequest) (*tokenResponse, error) {
	client, form := req.client, req.form
	if client.AuthMethod == store.AuthNone {
		return nil, badRequest("unauthorized_client", "token exchange is for clients that authenticate")
	}
	if form.Get("actor_token") != "" || form.Get("actor_token_type") != "" {
		return nil, badExchange("actor_token is not supported", nil)
	}
	if t := form.Get("requested_token_type"); t != "" && t != typeAccessToken {
		return nil, badExchange("the only requested_token_type is "+typeAccessToken, nil)
	}
	if form.Get("subject_token") == "" {
		return nil, badExchange("subject_token is missing", nil)
	}
	switch form.Get("subject_token_type") {
	case typeAccessToken:
		if form.Get("subject_issuer") != "" {
			return nil, badExchange("the access tokens of another issuer are not exchanged", nil)
		}
		return p.exchangeOwn(ctx, client, form)
	case typeIDToken, typeJWT:
		return p.exchangeForeign(req.http, client, form)
	}
	return nil, badExchange("the subject_token_types are access_token and, with a subject_issuer, id_token and jwt", nil)
}

// badExchange is the error for whatever is wrong with a request or its tokens (RFC 8693 §2.2.2).
func badExchange(description string, err error) error {
	return &oauthError{http.StatusBadRequest, "invalid_request", description, err}
}

// badSubject is the one answer to everything that is wrong with a subject token, so that nobody learns what.
func badSubject(err error) error {
	return badExchange("subject_token is invalid, has expired, was revoked, or is not for this client", err)
}

// exchangeOwn narrows an access token of ours, for a client that it was issued to or that it was sent to. The new token
// hangs on the same grant, and ends no later than the old one. What an API gets tokens for is the configuration's to say:
// for what it calls itself, which the first client need not know. Who exchanges a token of its own only narrows it down.
func (p *Provider) exchangeOwn(ctx context.Context, client *store.Client, form url.Values) (*tokenResponse, error) {
	subject, err := p.subject(ctx, client, form.Get("subject_token"))
	if err != nil {
		return nil, err
	}
	narrow := *subject.grant
	apis := slices.DeleteFunc(slices.Clone(client.Audience), func(api string) bool {
		return api == p.issuer() || subject.ClientID == client.ID && !slices.Contains(subject.Audience, api)
	})
	if len(apis) == 0 {
		return nil, errTarget
	}
	if narrow.Resources, err = p.targets(client, apis, asked(form)); err != nil {
		return nil, err
	}
	if narrow.Scope, err = exchangeScope(client, strings.Fields(subject.Scope), form); err != nil {
		return nil, err
	}
	now := p.Now()
	claims := p.accessClaims(client, &narrow, subject.active, now)
	claims.Expires = min(claims.Expires, subject.Expires.Unix())
	claims.Actor = &actor{Subject: client.ID, Actor: subject.Actor}
	claims.ID = subject.ID + "." + rand.Text() // it ends with the other one, see notRevoked
	return p.exchanged(ctx, client, claims, now)
}

// subject returns the access token that is to be exchanged, if nothing that it hangs on has ended and the client may. Unlike
// elsewhere there is no leeway about its expiry, as the new one would be born dead.
func (p *Provider) subject(ctx context.Context, client *store.Client, raw string) (*issuedToken, error) {
	t, err := p.readAccess(ctx, raw, "")
	if errors.Is(err, errToken) {
		return nil, badSubject(err)
	}
	if err != nil {
		return nil, err
	}
	bound, err := t.JKT()
	switch {
	case err != nil:
		return nil, badSubject(err)
	case t.grant == nil:
		return nil, badExchange("subject_token is about no user", nil)
	case !p.Now().Before(t.Expires):
		return nil, badSubject(token.ErrExpired)
	case t.ClientID != client.ID && !slices.Contains(t.Audience, client.ID):
		return nil, badSubject(errors.New("the token was neither issued to nor sent to this client"))
	case bound != "" && provenKey(ctx) == "":
		return nil, badExchange("subject_token is bound to a key: the request has to prove one for the new token", nil)
	case bound != "" && t.ClientID == client.ID && provenKey(ctx) != bound:
		return nil, badSubject(errors.New("the token is bound to another key of this client"))
	case t.Actor.depth() >= maxActors:
		return nil, badExchange("subject_token was exchanged too often", nil)
	}
	if err := p.Gate.Allows(client, t.grant.Upstream.Provider); err != nil {
		return nil, badSubject(err)
	}
	return t, nil
}

// asked returns what the new token is to be for (RFC 8693 §2.1).
func asked(form url.Values) []string { return slices.Concat(form["audience"], form["resource"]) }

// exchangeScope returns what is asked for, which must be within what there is, or all of that. Nothing that was exchanged
// gets a refresh token.
func exchangeScope(client *store.Client, within []string, form url.Values) ([]string, error) {
	within = slices.DeleteFunc(slices.Clone(within), func(s string) bool { return s == scopeOffline })
	return narrowScope(client, within, form.Get("scope"))
}

// exchangeForeign trades the ID token of an upstream, which subject_issuer names by its alias, as a login with it would.
func (p *Provider) exchangeForeign(r *http.Request, client *store.Client, form url.Values) (*tokenResponse, error) {
	ctx := r.Context()
	alias := form.Get("subject_issuer")
	if alias == "" {
		return nil, badExchange("subject_issuer is missing: it names the provider whose token subject_token is", nil)
	}
	resources, err := p.targets(client, nil, asked(form))
	if err != nil {
		return nil, err
	}
	scope, err := exchangeScope(client, scopesOf(client), form)
	if err != nil {
		return nil, err
	}
	idp, verifier, err := p.exchanging(alias, client)
	if err != nil {
		return nil, err
	}
	web.RecordOf(ctx).Note("provider", idp.Alias)
	raw := form.Get("subject_token")
	identity, err := verifier.VerifyToken(ctx, raw)
	if err != nil {
		return nil, foreignFailed(err)
	}
	g, err := p.Login.Exchange(r, login.Exchange{
		Provider: idp, Providers: client.Providers, Identity: identity,
		Once: onceOf(alias, raw), Expires: p.Now().Add(exchangeKept),
		Grant: func(s *store.Session) *store.Grant {
			return p.exchangeGrant(&authRequest{client: client, scope: scope, resources: resources}, s)
		},
	})
	if err != nil {
		return nil, foreignFailed(err)
	}
	agreed, err := p.agreed(ctx, &authRequest{client: client, scope: scope}, &store.Session{UserID: g.UserID})
	if err == nil && !agreed {
		err = badSubject(errors.New("the user has not agreed to what the client may have"))
	}
	if err != nil {
		return nil, errors.Join(err, p.deleteGrant(ctx, g.ID))
	}
	active, err := p.grantAlive(ctx, g)
	if errors.Is(err, errDead) {
		return nil, badSubject(err)
	}
	if err != nil {
		return nil, err
	}
	now := p.Now()
	claims := p.accessClaims(client, g, active, now)
	claims.Actor = &actor{Subject: client.ID}
	return p.exchanged(ctx, client, claims, now)
}

// exchanging returns the provider if its tokens may be exchanged by the client. What is wrong with a provider is not told
// apart, so that no client learns which ones there are.
func (p *Provider) exchanging(alias string, client *store.Client) (*gate.Provider, provider.TokenVerifier, error) {
	idp, err := p.Gate.Login(alias, client.Providers)
	if err == nil && !idp.AllowTokenExchange {
		err = errors.New("the provider's tokens may not be exchanged")
	}
	var verifier provider.TokenVerifier
	if err == nil {
		var ok bool
		if verifier, ok = idp.IdP.(provider.TokenVerifier); !ok {
			err = errors.New("the provider cannot verify tokens")
		}
	}
	if err != nil {
		return nil, nil, badExchange("subject_issuer is no provider whose tokens this client may exchange", err)
	}
	return idp, verifier, nil
}

// foreignFailed tells the client what it can act upon. A store or an upstream that fails is not its fault.
func foreignFailed(err error) error {
	if failure, ok := errors.AsType[*provider.Error](err); ok {
		if failure.Kind == provider.Unavailable {
			return &oauthError{http.StatusServiceUnavailable, "temporarily_unavailable", "the provider cannot be asked: try again", err}
		}
		return badSubject(err)
	}
	switch {
	case errors.Is(err, login.ErrNotLinked):
		return badExchange("not linked: the user has to sign in with this provider once", err)
	case errors.Is(err, login.ErrInteraction):
		return badExchange("the user has to sign in in a browser", err)
	case errors.Is(err, login.ErrReplayed), gate.Refused(err):
		return badSubject(err)
	}
	return err
}

// onceOf names a token by what is signed of it: a signature can be written in more than one way.
func onceOf(alias, raw string) string {
	signed := raw[:max(strings.LastIndex(raw, "."), 0)]
	return token.HashHandle(exchangePurpose, alias+" "+signed)
}

// exchangeGrant is a grant without a session. It lives as long as its only token, and no longer than who vouched.
func (p *Provider) exchangeGrant(req *authRequest, s *store.Session) *store.Grant {
	g, _ := p.newGrant(req, s)
	g.SessionID, g.CodeHash, g.CodeUsed = "", nil, true
	g.CodeExpires, g.ExpiresAt = g.CreatedAt, g.CreatedAt.Add(cmp.Or(req.client.AccessTokenLifetime, defaultLifetime))
	return g
}

// exchanged signs the new token (RFC 8693 §2.2.1).
func (p *Provider) exchanged(ctx context.Context, client *store.Client, claims accessClaims, now time.Time) (*tokenResponse, error) {
	ring, err := p.Keys.Ring(ctx)
	if err != nil {
		return nil, err
	}
	raw, tokenType, err := p.signAccess(ctx, ring, client, claims, now)
	if err != nil {
		return nil, err
	}
	return &tokenResponse{
		AccessToken: raw, IssuedTokenType: typeAccessToken, TokenType: tokenType, Scope: claims.Scope,
		ExpiresIn: claims.Expires - claims.IssuedAt,
	}, nil
}
