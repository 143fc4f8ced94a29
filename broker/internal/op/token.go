package op

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// maxTokenRequest bounds the body of a token request.
const maxTokenRequest = 64 << 10

// An oauthError is told to the client in JSON (RFC 6749 §5.2).
type oauthError struct {
	status      int
	code        string
	description string
	err         error // for the log
}

func (e *oauthError) Error() string {
	if e.err == nil {
		return e.code + ": " + e.description
	}
	return e.code + ": " + e.description + ": " + e.err.Error()
}

func (e *oauthError) Unwrap() error { return e.err }

// invalidGrant is the one answer to everything that is wrong with a code or refresh token, so that nobody learns what.
func invalidGrant(why string) error {
	return &oauthError{
		status:      http.StatusBadRequest,
		code:        "invalid_grant",
		description: "the code or token is invalid, has expired, was used before, or belongs to another request",
		err:         errors.New(why),
	}
}

// A tokenResponse is a successful answer (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
type tokenResponse struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	Scope       string `json:"scope,omitempty"`
	IDToken     string `json:"id_token,omitempty"`

	IssuedTokenType string `json:"issued_token_type,omitempty"` // of a token exchange (RFC 8693 §2.2.1)

	RefreshToken string `json:"refresh_token,omitempty"`
}

// A tokenRequest is a token request of a client that has proved who it is and may use the grant type.
type tokenRequest struct {
	client *store.Client
	form   url.Values
	http   *http.Request // for its headers
}

// grantTypes say who answers to which grant_type.
var grantTypes = map[string]func(*Provider, context.Context, *tokenRequest) (*tokenResponse, error){
	store.GrantTypeCode:          (*Provider).redeem,
	store.GrantTypeRefresh:       (*Provider).refresh,
	store.GrantTypeCredentials:   (*Provider).clientCredentials,
	store.GrantTypeDevice:        (*Provider).redeemDevice,
	store.GrantTypeTokenExchange: (*Provider).exchange,
}

// Token handles POST /token.
func (p *Provider) Token(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	form, err := tokenForm(w, r)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	client, err := p.authenticate(r, form)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	web.RecordOf(r.Context()).Note("client", client.ID)
	if r, err = p.possess(r, client); err != nil {
		p.fail(w, r, err)
		return
	}
	if err := p.mayUse(client, form.Get("grant_type")); err != nil {
		p.fail(w, r, err)
		return
	}
	give, ok := grantTypes[form.Get("grant_type")]
	if !ok {
		p.fail(w, r, badRequest("unsupported_grant_type", "there is no such grant_type here"))
		return
	}
	answer, err := give(p, r.Context(), &tokenRequest{client: client, form: form, http: r})
	if err != nil {
		p.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func badRequest(code, description string) error {
	return &oauthError{status: http.StatusBadRequest, code: code, description: description}
}

// tokenForm reads the body: never the query, where it would end in logs, and no parameter twice.
func tokenForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxTokenRequest)
	if err := r.ParseForm(); err != nil {
		return nil, &oauthError{http.StatusBadRequest, "invalid_request", "the body is not a form, or too large", err}
	}
	if repeated(r.PostForm) {
		return nil, &oauthError{status: http.StatusBadRequest, code: "invalid_request", description: errRepeated.Error()}
	}
	return r.PostForm, nil
}

// redeem exchanges a code for tokens (RFC 6749 §4.1.3). Whoever presents the code's secret with what does not belong to
// it uses it up; and a second use ends what the first one got (RFC 6749 §4.1.2).
func (p *Provider) redeem(ctx context.Context, req *tokenRequest) (*tokenResponse, error) {
	g, err := p.grantOf(ctx, req.form.Get("code"))
	if err != nil {
		return nil, err
	}
	if why := cmp.Or(mismatch(g, req.client, req.form, p.Now()), unproven(ctx, g)); why != "" {
		return nil, p.end(ctx, g, why)
	}
	return p.firstTokens(ctx, req, g)
}

// firstTokens gives the first tokens of a grant, once: of any number of requests at the same moment one gets them. Who comes
// later ends what the first one got, for one of the two has no right to it.
func (p *Provider) firstTokens(ctx context.Context, req *tokenRequest, g *store.Grant) (*tokenResponse, error) {
	active, err := p.grantAlive(ctx, g)
	if errors.Is(err, errDead) {
		return nil, p.end(ctx, g, err.Error())
	}
	if err != nil {
		return nil, err
	}
	narrow := *g
	if err := narrowGrant(&narrow, req.client, ""); err != nil {
		return nil, err
	}
	if narrow.Resources, err = p.targets(req.client, g.Resources, req.form["resource"]); err != nil {
		return nil, err
	}
	if err := p.bind(ctx, req.client, g); err != nil {
		return nil, err
	}
	g.CodeUsed = true
	refreshToken, err := p.startRefresh(ctx, req.client, g, active)
	if err != nil {
		return nil, err
	}
	err = p.Store.UpdateGrant(ctx, g)
	if errors.Is(err, store.ErrConflict) {
		return nil, p.end(ctx, g, "it was redeemed at the same moment")
	}
	if err != nil {
		return nil, err
	}
	narrow.ExpiresAt = g.ExpiresAt
	answer, err := p.issue(ctx, req.client, &narrow, active)
	if err != nil {
		return nil, err
	}
	answer.RefreshToken = refreshToken
	return answer, nil
}

// grantOf returns the grant of a code, if the code is right to the last character.
func (p *Provider) grantOf(ctx context.Context, code string) (*store.Grant, error) {
	id, secret, ok := splitCode(code)
	if !ok {
		return nil, invalidGrant("not a code")
	}
	g, err := p.Store.Grant(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, invalidGrant("no such grant")
	}
	if err != nil {
		return nil, err
	}
	if !token.MatchHandle(codePurpose, secret, string(g.CodeHash)) {
		return nil, invalidGrant("wrong secret")
	}
	return g, nil
}

// mismatch says why the code may not be redeemed by this request, "" if it may.
func mismatch(g *store.Grant, client *store.Client, form url.Values, now time.Time) string {
	verifier := form.Get("code_verifier")
	switch {
	case g.CodeUsed:
		return "the code was used before"
	case g.ClientID != client.ID:
		return "the code is another client's"
	case !now.Before(g.CodeExpires):
		return "the code has expired"
	case form.Get("redirect_uri") != g.RedirectURI:
		return "redirect_uri differs"
	case g.CodeChallenge == "" && verifier != "":
		return "code_verifier without a code_challenge" // RFC 9700 §2.1.1, against downgrades
	case g.CodeChallenge != "" && (!isVerifier(verifier) || !verifies(g.CodeChallenge, verifier)):
		return "code_verifier does not fit the code_challenge"
	}
	return ""
}

// end removes the grant, and with it all that was issued for it.
func (p *Provider) end(ctx context.Context, g *store.Grant, why string) error {
	return errors.Join(invalidGrant(why), p.withdraw(ctx, g))
}

// withdraw removes a grant, and leaves a trace of one whose application has signed a user in: it is told of the sign-out
// all the same.
func (p *Provider) withdraw(ctx context.Context, g *store.Grant) error {
	var err error
	if g.SessionID != "" && g.CodeUsed {
		ctx := context.WithoutCancel(ctx)
		s, missing := p.Store.Session(ctx, g.SessionID)
		if missing == nil {
			err = p.leaveTrace(ctx, g, s)
		} else if !errors.Is(missing, store.ErrNotFound) {
			err = missing
		}
	}
	return errors.Join(err, p.deleteGrant(ctx, g.ID))
}

// deleteGrant removes a grant that may be gone already. A store that fails once is asked again: what is taken for stolen
// must not live on because of a hiccup.
func (p *Provider) deleteGrant(ctx context.Context, id string) (err error) {
	// The attack is over when the grant is gone, not when its sender hangs up.
	ctx = context.WithoutCancel(ctx)
	for range 2 {
		err = p.Store.DeleteGrant(ctx, id)
		if err == nil || errors.Is(err, store.ErrNotFound) {
			return nil
		}
	}
	return err
}

// issue signs the tokens of a grant.
func (p *Provider) issue(ctx context.Context, client *store.Client, g *store.Grant, active *session.Active) (*tokenResponse, error) {
	ring, err := p.Keys.Ring(ctx)
	if err != nil {
		return nil, err
	}
	now := p.Now()
	answer := &tokenResponse{Scope: strings.Join(g.Scope, " ")}
	access := p.accessClaims(client, g, active, now)
	answer.ExpiresIn = access.Expires - access.IssuedAt
	answer.AccessToken, answer.TokenType, err = p.signAccess(ctx, ring, client, access, now)
	if err != nil {
		return nil, err
	}
	if slices.Contains(g.Scope, "openid") {
		claims := p.idClaims(client, g, active, answer.AccessToken, now)
		answer.IDToken, err = ring.Sign(now, idTokenAlg(client), token.IDToken, tell(claims, claims.more))
	}
	return answer, err
}

// fail answers with an OAuth 2.0 error, and with no word about anything that is the broker's own fault.
func (p *Provider) fail(w http.ResponseWriter, r *http.Request, err error) {
	rec := web.RecordOf(r.Context())
	rec.Err = err
	refusal, ok := errors.AsType[*oauthError](err)
	if !ok {
		refusal = &oauthError{status: http.StatusInternalServerError, code: "server_error", description: "the request failed; request " + rec.ID}
	}
	if refusal.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="token", charset="UTF-8"`)
	}
	retryAfter(w.Header(), err)
	noStore(w)
	writeJSON(w, refusal.status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{refusal.code, refusal.description})
}
