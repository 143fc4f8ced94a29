package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// mayAsk lets the API that tokens are for, and others, ask for what "demo" has issued.
func mayAsk(c *broker.Config) {
	peers(c)
	for i := range c.Clients {
		c.Clients[i].ProviderTokens = []string{"demo"}
	}
}

func (w *world) askFor(client, token string) *reply {
	w.t.Helper()
	return w.post("/broker/demo/token", client, url.Values{"token": {token}})
}

// A client that proves who it is gets what the provider issued for the user of a token of its own, or of one that is for it.
func TestAskForUpstreamToken(t *testing.T) {
	t.Parallel()
	for _, mode := range []provider.TokenMode{provider.TokensOnLink, provider.TokensInSession} {
		w := newVaultWorld(t, mode, mayAsk)
		access := w.accessToken(w.login("Demo"))
		want := w.fetch("demo", access).fetched(t)
		for _, client := range []string{"rp", "api"} {
			if got := w.askFor(client, access).fetched(t); got.AccessToken != want.AccessToken || got.TokenType != "Bearer" {
				t.Errorf("mode %d: %s has %+v, want %+v", mode, client, got, want)
			}
		}
	}
}

func TestAskForUpstreamTokenRefused(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, mayAsk)
	b := w.login("Demo")
	issued := w.redeem(w.code(b, nil), nil).renewed(t)
	access := issued.AccessToken
	at := w.URL + "/broker/demo/token"
	form := url.Values{"token": {access}}
	for name, row := range map[string]struct {
		reply  *reply
		status int
		code   string
	}{
		"nobody":                        {send(t, http.MethodPost, at, form, nil), 401, "invalid_client"},
		"wrong secret":                  {send(t, http.MethodPost, at, form, basic("rp", "wrong, and long enough for one")), 401, "invalid_client"},
		"public client":                 {send(t, http.MethodPost, at, url.Values{"token": {access}, "client_id": {"public"}}, nil), 401, "invalid_client"},
		"the token as authentication":   {send(t, http.MethodPost, at, form, bearer(access)), 401, "invalid_client"},
		"another client":                {w.askFor("thief", access), 400, "invalid_token"},
		"no token":                      {w.post("/broker/demo/token", "rp", url.Values{}), 400, "invalid_request"},
		"two tokens":                    {w.post("/broker/demo/token", "rp", url.Values{"token": {access, access}}), 400, "invalid_request"},
		"a token in the URL":            {w.post("/broker/demo/token?token="+access, "rp", url.Values{}), 400, "invalid_request"},
		"no token of ours":              {w.askFor("rp", "x.y.z"), 400, "invalid_token"},
		"an ID token":                   {w.askFor("rp", issued.IDToken), 400, "invalid_token"},
		"a refresh token":               {w.askFor("rp", issued.RefreshToken), 400, "invalid_token"},
		"the client's own token":        {w.askFor("api", w.credentials("api", nil).own(t).AccessToken), 403, "insufficient_scope"},
		"a provider that is not listed": {w.post("/broker/other/token", "rp", form), 403, "insufficient_scope"},
		"a provider that is none":       {w.post("/broker/none/token", "rp", form), 403, "insufficient_scope"},
	} {
		wantNoTokenCode(t, name, row.reply, row.status, row.code)
	}
	for name, row := range map[string]struct {
		later  func(*broker.Config)
		then   func()
		client string
		status int
		code   string
	}{
		"client that is not listed": {later: func(c *broker.Config) { c.Clients[1].ProviderTokens = nil }, client: "api", status: 403, code: "insufficient_scope"},
		"client that is off":        {later: func(c *broker.Config) { c.Clients[1].Disabled = true }, client: "api", status: 401, code: "invalid_client"},
		"whose token it is, off":    {later: func(c *broker.Config) { c.Clients[0].Disabled = true }, client: "api", status: 400, code: "invalid_token"},
		"client that takes another provider's word": {
			later: func(c *broker.Config) { c.Clients[1].Providers = []string{"other"} }, client: "api", status: 403, code: "insufficient_scope",
		},
		"provider that is off": {later: func(c *broker.Config) { c.Providers[0].Disabled = true }, client: "api", status: 400, code: "invalid_token"},
		"provider that stores nothing": {
			later: func(c *broker.Config) { c.Providers[0].StoreTokens, c.Providers[0].TokensReadable = 0, false }, client: "api",
			status: 400, code: "tokens_not_stored",
		},
	} {
		w.keeping(provider.TokensOnLink, also(mayAsk, row.later))
		wantNoTokenCode(t, name, w.askFor(row.client, access), row.status, row.code)
	}
	w.keeping(provider.TokensOnLink, mayAsk)
	w.askFor("api", access).fetched(t)
	w.editUser("alice", func(u *store.User) { u.Roles = nil })
	wantNoTokenCode(t, "user without the role", w.askFor("api", access), 403, "insufficient_scope")
	w.editUser("alice", func(u *store.User) { u.Roles, u.Disabled = []string{broker.RoleReadToken}, true })
	wantNoTokenCode(t, "user who is off", w.askFor("api", access), 400, "invalid_token")
	w.editUser("alice", func(u *store.User) { u.Disabled = false })
	w.askFor("api", access).fetched(t)
	w.deleteSession(b)
	wantNoTokenCode(t, "session that has ended", w.askFor("api", access), 400, "invalid_token")
}

// wantNoTokenCode fails unless the reply is this error.
func wantNoTokenCode(t *testing.T, name string, r *reply, status int, code string) {
	t.Helper()
	if r.StatusCode != status || !strings.Contains(r.text, `"error":"`+code+`"`) || strings.Contains(r.text, `access_token"`) ||
		r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: status %d %s, want %d %s", name, r.StatusCode, r.text, status, code)
	}
}

// A token that is bound to a key needs the proof of it, for this token and this address, once.
func TestAskForUpstreamTokenDPoP(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, mayAsk)
	var access string
	bound := send(t, http.MethodPost, w.URL+"/token", w.redeemForm(w.code(w.login("Demo"), nil)),
		withProofs(basic("rp", w.secret()), w.tokenProof("ES256")))
	decode(t, bound, &struct {
		AccessToken *string `json:"access_token"`
	}{&access})
	ask := func(client, proof string) *reply {
		var proofs []string
		if proof != "" {
			proofs = []string{proof}
		}
		return send(t, http.MethodPost, w.URL+"/broker/demo/token", url.Values{"token": {access}}, withProofs(basic(client, w.secret()), proofs...))
	}
	proof := func(key string, changes fields) string {
		return w.proofFor(key, "POST", "/broker/demo/token", fields{"ath": athOf(access)}.with(changes))
	}
	good := proof("ES256", nil)
	ask("rp", good).fetched(t)
	for name, row := range map[string]struct {
		client, proof, code string
	}{
		"the same proof":    {"rp", good, "invalid_dpop_proof"},
		"no proof":          {"rp", "", "invalid_dpop_proof"},
		"the API, without":  {"api", "", "invalid_dpop_proof"},
		"another key":       {"rp", proof("other", nil), "invalid_token"},
		"no ath":            {"rp", proof("ES256", fields{"ath": nil}), "invalid_token"},
		"of another alias":  {"rp", proof("ES256", fields{"htu": w.URL + "/broker/other/token"}), "invalid_dpop_proof"},
		"of another method": {"rp", proof("ES256", fields{"htm": "GET"}), "invalid_dpop_proof"},
	} {
		wantNoTokenCode(t, name, ask(row.client, row.proof), http.StatusBadRequest, row.code)
	}
	ask("rp", proof("ES256", nil)).fetched(t)
}
