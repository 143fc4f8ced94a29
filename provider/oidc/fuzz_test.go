package oidc_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
)

// Whatever the browser brings: an error is a *provider.Error with a code that is one, nothing is redeemed but the one
// code of an answer that is unambiguous and this provider's.
func FuzzCallback(f *testing.F) {
	const begun = `{"r":"https://x","t":1}`
	for _, seed := range []string{
		"state=s&code=c", "state=s&code=c&iss=ISSUER", "state=s&code=c&iss=https://evil", "state=s&error=access_denied",
		"state=s&error=login_required&error_description=x%0ay", "state=s&state=s&code=c", "code=c", "", "state=s&code=c&error=",
		"state=s&error=%22%5c+", "state=s&code=%00", "iss=&state=s&code=c", "state=s&code=c&code=d",
	} {
		f.Add(seed, []byte(begun))
	}
	o := newOP(f)
	var redeemed string
	o.reply = func(w http.ResponseWriter) {
		redeemed = o.tokenReq.PostForm.Get("code")
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, object{"error": "invalid_grant"})
	}
	p := newProvider(f, o.config())
	f.Fuzz(func(t *testing.T, query string, data []byte) {
		params, err := url.ParseQuery(strings.ReplaceAll(query, "ISSUER", o.URL))
		if err != nil {
			return
		}
		redeemed = ""
		id, err := p.Finish(t.Context(), provider.Callback{Params: params, Data: data})
		e, ok := errors.AsType[*provider.Error](err)
		if id != nil || !ok {
			t.Fatalf("Finish = %v, %v", id, err)
		}
		if len(e.Code) > 64 || strings.ContainsFunc(e.Code, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			t.Errorf("code %q", e.Code)
		}
		if strings.ContainsAny(e.Error(), "\r\n\x1b") {
			t.Errorf("error %q", e)
		}
		if redeemed == "" {
			if query == "state=s&code=c&iss=ISSUER" && string(data) == begun {
				t.Errorf("nothing was redeemed: %v", err)
			}
			return
		}
		for _, name := range []string{"state", "code"} {
			if len(params[name]) != 1 || params.Get(name) == "" {
				t.Errorf("%s is %q", name, params[name])
			}
		}
		if redeemed != params.Get("code") || params.Has("error") || (params.Has("iss") && params.Get("iss") != o.URL) {
			t.Errorf("%q was redeemed of %v", redeemed, params)
		}
	})
}

// Whatever a provider signs: who gets in is who the token names, for this client, by this issuer, in this login.
func FuzzIDTokenClaims(f *testing.F) {
	const genuine = `{"iss":"ISSUER","sub":"alice","aud":"broker","exp":9999999999,"iat":NOW,"nonce":"NONCE"}`
	for _, seed := range []string{
		genuine,
		`{"iss":"ISSUER","sub":"alice","aud":["broker","x"],"azp":"broker","exp":9999999999,"iat":NOW,"nonce":"NONCE","email":"a@x","email_verified":"true","groups":["a",1]}`,
		`{"iss":"ISSUER","sub":null,"aud":"broker","exp":9999999999,"iat":NOW,"nonce":"NONCE"}`,
		`{"iss":"ISSUER","SUB":"root","sub":"alice","aud":"broker","exp":9e9,"iat":NOW,"nonce":"NONCE","auth_time":NOW}`,
		`{}`, `null`, `[]`, `{"sub":"a","sub":"b"}`, `{"aud":{}}`, `{"exp":1e999}`,
	} {
		f.Add([]byte(seed))
	}
	o := newOP(f)
	cfg := o.config()
	cfg.DisableUserInfo = true
	p := newProvider(f, cfg)
	f.Fuzz(func(t *testing.T, payload []byte) {
		mustEnter := string(payload) == genuine
		var nonce string
		o.payload = func(right []byte) []byte {
			var c struct {
				Nonce string `json:"nonce"`
				Iat   json.Number
			}
			if err := json.Unmarshal(right, &c); err != nil {
				t.Fatal(err)
			}
			nonce = c.Nonce
			payload = []byte(strings.NewReplacer("ISSUER", o.URL, `"nonce":"NONCE"`, `"nonce":"`+nonce+`"`, "NOW", string(c.Iat)).Replace(string(payload)))
			return payload
		}
		id, err := o.login(t, p)
		if err != nil {
			if _, ok := errors.AsType[*provider.Error](err); !ok || mustEnter {
				t.Errorf("error %v", err)
			}
			return
		}
		var c map[string]any
		if err := json.Unmarshal(payload, &c); err != nil {
			t.Fatalf("no JSON was accepted: %v", err)
		}
		audience, _ := c["aud"].([]any)
		if c["iss"] != o.URL || c["nonce"] != nonce || c["sub"] != id.Subject || id.Subject == "" || id.Username == "" ||
			(c["aud"] != clientID && len(audience) == 0) {
			t.Errorf("%s was accepted as %+v", payload, id)
		}
		if id.EmailVerified && (id.Email == "" || c["email"] != id.Email) {
			t.Errorf("address %q counts as verified in %s", id.Email, payload)
		}
	})
}

// Whatever is configured: New says no or the provider works as far as the request, and neither panics.
func FuzzNew(f *testing.F) {
	const issuer, at = "https://op.example", "https://op.example/a?b"
	f.Add(issuer, at, "openid", "^a$", "x")
	f.Add("https://op.example/{tenantid}", "javascript:x", "a b", "(", "redirect_uri")
	f.Fuzz(func(t *testing.T, name, endpoint, scope, pattern, param string) {
		p, err := oidc.New(oidc.Config{
			Issuer: name, ClientID: clientID, ClientSecret: clientSecret, Scopes: []string{scope}, ForwardParams: []string{param},
			Endpoints:      oidc.Endpoints{Authorization: endpoint, Token: endpoint, JWKS: endpoint},
			EssentialClaim: "c", EssentialValue: pattern,
		})
		if err != nil {
			if name == issuer && endpoint == at && scope == "openid" && pattern == "^a$" && param == "x" {
				t.Error(err)
			}
			return
		}
		r, err := p.Begin(t.Context(), provider.Request{RedirectURI: callback, State: "s", Params: url.Values{param: {"forwarded"}}})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(r.URL)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.Fragment != "" {
			t.Fatalf("redirect to %q, %v", r.URL, err)
		}
		own, _ := url.Parse(endpoint)
		for _, name := range []string{"state", "nonce", "redirect_uri", "client_id", "response_type", "code_challenge"} {
			if got := u.Query()[name]; len(got) != 1+len(own.Query()[name]) || got[len(got)-1] == "forwarded" {
				t.Errorf("%s = %q in %s", name, got, r.URL)
			}
		}
	})
}
