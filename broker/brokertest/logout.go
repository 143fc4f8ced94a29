package brokertest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
)

// A Logout is what the relying party was told of a session that has ended.
type Logout struct {
	Subject string
	Session string // the sid
	ID      string // the jti; "" if it was told through the browser
}

// BackchannelURL is where the relying party takes logout tokens (OpenID Connect Back-Channel Logout 1.0), for its
// BackchannelLogoutURI. A token that it must refuse fails the test.
func (rp *RelyingParty) BackchannelURL() string { return rp.url + "/backchannel" }

// FrontchannelURL is where a frame signs out (OpenID Connect Front-Channel Logout 1.0), for its FrontchannelLogoutURI.
func (rp *RelyingParty) FrontchannelURL() string { return rp.url + "/frontchannel" }

// SignedOutURL is where a browser goes after it has signed out, for its PostLogoutRedirectURIs.
func (rp *RelyingParty) SignedOutURL() string { return rp.url + "/signed-out" }

// Logouts returns what was told through the back channel, in the order in which it came.
func (rp *RelyingParty) Logouts() []Logout {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	return slices.Clone(rp.back)
}

// FrontLogouts returns what was told through the front channel.
func (rp *RelyingParty) FrontLogouts() []Logout {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	return slices.Clone(rp.front)
}

// LogoutURL is where the relying party sends a browser to sign out (OpenID Connect RP-Initiated Logout 1.0 §2): with the
// last login's ID token, unless params has other ideas. A nil value leaves a parameter out.
func (rp *RelyingParty) LogoutURL(params url.Values) string {
	rp.t.Helper()
	var metadata struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := rp.provider.Claims(&metadata); err != nil || metadata.EndSession == "" {
		rp.t.Fatalf("brokertest: no end_session_endpoint (%v)", err)
	}
	all := url.Values{
		"id_token_hint": {rp.Login().IDToken}, "post_logout_redirect_uri": {rp.SignedOutURL()}, "state": {"logout state & more"},
	}
	for name, values := range params {
		if all[name] = values; values == nil {
			delete(all, name)
		}
	}
	return metadata.EndSession + "?" + all.Encode()
}

func (rp *RelyingParty) backchannel(w http.ResponseWriter, r *http.Request) {
	l, err := rp.readLogout(r)
	if err != nil {
		rp.t.Errorf("brokertest: logout token: %v", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	rp.mu.Lock()
	defer rp.mu.Unlock()
	if slices.ContainsFunc(rp.back, func(seen Logout) bool { return seen.ID == l.ID }) {
		rp.t.Errorf("brokertest: logout token %s came twice", l.ID)
	}
	rp.back = append(rp.back, *l)
	w.Header().Set("Cache-Control", "no-store")
}

// readLogout makes the checks of Back-Channel Logout §2.6 that go-oidc makes, and those that it leaves to its caller.
func (rp *RelyingParty) readLogout(r *http.Request) (*Logout, error) {
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	if r.URL.RawQuery != "" || len(r.PostForm) != 1 || len(r.PostForm["logout_token"]) != 1 {
		return nil, fmt.Errorf("form %v", r.PostForm)
	}
	raw := r.PostForm.Get("logout_token")
	verifier := rp.provider.Verifier(&oidc.Config{ClientID: rp.client.ID})
	l, err := verifier.VerifyLogout(r.Context(), raw)
	if err != nil {
		return nil, err
	}
	encoded, _, _ := strings.Cut(raw, ".")
	head, err := base64.RawURLEncoding.DecodeString(encoded)
	var header struct{ Typ string }
	if err := errors.Join(err, json.Unmarshal(head, &header)); err != nil || header.Typ != "logout+jwt" {
		return nil, fmt.Errorf("typ %q (%w)", header.Typ, err)
	}
	life := l.Expiry.Sub(l.IssuedAt).Minutes()
	if l.Subject == "" || l.SessionID == "" || l.TokenID == "" || life <= 0 || life > 2 {
		return nil, fmt.Errorf("sub %q, sid %q, jti %q, lives %v minutes", l.Subject, l.SessionID, l.TokenID, life)
	}
	return &Logout{Subject: l.Subject, Session: l.SessionID, ID: l.TokenID}, nil
}

func (rp *RelyingParty) frontchannel(w http.ResponseWriter, r *http.Request) {
	params := r.URL.Query()
	if params.Get("iss") != rp.issuer() || params.Get("sid") == "" {
		rp.t.Errorf("brokertest: front-channel logout with %v", params)
	}
	rp.mu.Lock()
	defer rp.mu.Unlock()
	rp.front = append(rp.front, Logout{Session: params.Get("sid")})
	fmt.Fprintln(w, "signed out")
}

// loadFrames loads the frames of a page, as browsers do before anything leads on.
func (b *Browser) loadFrames(p *Page) {
	b.t.Helper()
	for _, src := range p.Frames() {
		r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, p.resolve(src), nil)
		if err != nil {
			b.t.Fatalf("brokertest: %v", err)
		}
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "iframe")
		response, _, err := b.do(r)
		if err != nil {
			continue // an application that is down
		}
		closeBody(b.t, response)
	}
}

func closeBody(t testing.TB, r *http.Response) {
	t.Helper()
	if err := r.Body.Close(); err != nil {
		t.Errorf("brokertest: %v", err)
	}
}
