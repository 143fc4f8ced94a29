package op

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	pushPurpose = "par"
	usedPurpose = "par_used"
	// requestURIPrefix is that of RFC 9126 §2.2; a random handle follows it.
	requestURIPrefix = "urn:ietf:params:oauth:request_uri:"
	pushLifetime     = time.Minute
	// begunLifetime is how long a pushed request lives once a browser has come with it: as long as a login may be pending. Only
	// a page for somebody whom an upstream has vouched for lets it live longer, see [Provider.prolong].
	begunLifetime = 10 * time.Minute
	// usedKept is how long it is remembered that a request was answered: longer than any may live.
	usedKept  = 2 * time.Hour
	maxPushed = maxRequest // what may be pushed may be asked
)

// A pushedRequest is an authentication request that its client sent directly (RFC 9126). It is kept sealed under the hash
// of its handle.
type pushedRequest struct {
	ClientID string `json:"c"`
	Query    string `json:"q"` // the parameters
	Begun    bool   `json:"b,omitempty"`

	key      string
	consumed bool // by this HTTP request
}

// errNotPushed is the answer to every request_uri that names no request of this client, whatever the reason.
var errNotPushed = &login.Problem{Status: http.StatusBadRequest, Message: "expired", Err: errors.New("request_uri names no pushed request")}

// Push handles POST /par (RFC 9126 §2).
func (p *Provider) Push(w http.ResponseWriter, r *http.Request) {
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
	proof, err := p.pushJKT(r, form)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	uri, err := p.push(r, client, form)
	if err == nil && proof != nil {
		err = p.spend(r.Context(), proof)
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusCreated, struct {
		RequestURI string `json:"request_uri"`
		ExpiresIn  int64  `json:"expires_in"` // seconds
	}{uri, int64(pushLifetime / time.Second)})
}

// push checks the request as the authorization endpoint would, and keeps it.
func (p *Provider) push(r *http.Request, client *store.Client, form url.Values) (string, error) {
	for _, name := range []string{"client_secret", "client_assertion", "client_assertion_type"} {
		form.Del(name)
	}
	form.Set("client_id", client.ID)
	query := form.Encode()
	switch {
	case form.Has("request_uri"):
		return "", refusedPush("invalid_request", "request_uri must not be pushed") // RFC 9126 §2.1
	case len(query) > maxPushed:
		return "", &oauthError{status: http.StatusRequestEntityTooLarge, code: "invalid_request", description: "the request is too large"}
	}
	if _, err := p.parse(r.Context(), form); err != nil {
		if refusal, ok := errors.AsType[*authError](err); ok {
			return "", refusedPush(refusal.code, refusal.description)
		}
		if problem, ok := errors.AsType[*login.Problem](err); ok {
			return "", refusedPush("invalid_request", descriptionOf(problem))
		}
		return "", err
	}
	if err := p.mayKeep(r, client); err != nil {
		return "", err
	}
	handle, key := token.NewHandle(pushPurpose)
	kept := &pushedRequest{ClientID: client.ID, Query: query, key: key}
	return requestURIPrefix + handle, p.keepPushed(r.Context(), kept, pushLifetime)
}

func refusedPush(code, description string) error {
	return &oauthError{status: http.StatusBadRequest, code: code, description: description}
}

// descriptionOf tells a developer what a visitor would be told by a page.
func descriptionOf(problem *login.Problem) string {
	if problem.Message == "bad_redirect_uri" {
		return "redirect_uri is not registered for this client"
	}
	return "the request is malformed"
}

func (p *Provider) keepPushed(ctx context.Context, pushed *pushedRequest, lifetime time.Duration) error {
	plain, err := json.Marshal(pushed)
	if err != nil {
		return err
	}
	return p.Store.Put(ctx, pushPurpose, pushed.key, plain, p.Now().Add(lifetime))
}

// pushed returns the request that was pushed under the request_uri of sent, or nil if that names none of ours. A request
// that a browser comes with for the first time is kept for as long as a login may take from then on.
func (p *Provider) pushed(ctx context.Context, sent url.Values) (*pushedRequest, error) {
	handle, ok := strings.CutPrefix(sent.Get("request_uri"), requestURIPrefix)
	if !ok {
		return nil, nil
	}
	key := token.HashHandle(pushPurpose, handle)
	plain, err := p.Store.Get(ctx, pushPurpose, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNotPushed
	}
	if err != nil {
		return nil, err
	}
	kept := &pushedRequest{key: key}
	if err := json.Unmarshal(plain, kept); err != nil || kept.ClientID != sent.Get("client_id") {
		return nil, errNotPushed // RFC 9126 §2.2: bound to the client that pushed it
	}
	if !kept.Begun {
		kept.Begun = true
		if err := p.keepPushed(ctx, kept, begunLifetime); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// prolong keeps the request until a page can be answered no more.
func (p *Provider) prolong(ctx context.Context, pushed *pushedRequest, until time.Time) error {
	if pushed == nil {
		return nil
	}
	return p.keepPushed(ctx, pushed, until.Sub(p.Now()))
}

// params are the pushed parameters, and of those that the browser sent nothing but what our own pages add to find the
// provider (RFC 9126 §4).
func (pushed *pushedRequest) params(sent url.Values) (url.Values, error) {
	params, err := parseQuery(pushed.Query)
	if err != nil {
		return nil, err
	}
	login.Carry(params, sent)
	return params, nil
}

// consume lets the request be answered with a code once (RFC 9126 §4). The mark decides, whoever may have written the
// request again meanwhile; removing the request only tells those who come later at once.
func (p *Provider) consume(ctx context.Context, pushed *pushedRequest) error {
	if pushed == nil || pushed.consumed {
		return nil
	}
	err := p.Store.Add(ctx, usedPurpose, pushed.key, nil, p.Now().Add(usedKept))
	if errors.Is(err, store.ErrExists) {
		return &login.Problem{Status: http.StatusConflict, Message: "already_used", Err: errors.New("the pushed request was used before")}
	}
	if err != nil {
		return err
	}
	pushed.consumed = true
	if _, err := p.Store.Take(ctx, pushPurpose, pushed.key); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// request checks what the authorization endpoint was sent: a request, or the name of one that was pushed.
func (p *Provider) request(ctx context.Context, sent url.Values) (*authRequest, error) {
	if slices.ContainsFunc([]string{"client_id", "request_uri"}, func(name string) bool { return len(sent[name]) > 1 }) {
		return nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: errRepeated}
	}
	pushed, err := p.pushed(ctx, sent)
	if err != nil {
		return nil, err
	}
	params := sent
	if pushed != nil {
		if params, err = pushed.params(sent); err != nil {
			return nil, err
		}
	}
	req, err := p.parse(ctx, params)
	if req == nil {
		return nil, err
	}
	req.sent, req.pushed = sent, pushed
	req.link, req.linked = p.linkWanted(params), sent.Get(login.ParamLinked)
	if err == nil && pushed == nil && req.client.RequirePAR {
		err = &authError{"invalid_request", "this client has to push its requests"} // RFC 9126 §6
	}
	return req, err
}
