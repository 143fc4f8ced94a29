package oidc_test

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
)

func TestBegin(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	redirect, q, err := o.begin(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(redirect.URL, o.URL+"/authorize?") || redirect.Form != nil || redirect.PostBack {
		t.Errorf("redirect %+v", redirect)
	}
	if len(redirect.Data) > 400 {
		t.Errorf("%d bytes of data", len(redirect.Data))
	}
	for name, want := range map[string]string{
		"response_type": "code", "client_id": clientID, "redirect_uri": callback, "scope": "openid profile email",
		"code_challenge_method": "S256",
	} {
		if got := q[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if len(q.Get("code_challenge")) != 43 || len(q.Get("nonce")) < 22 || q.Get("state") == "" {
		t.Errorf("challenge %q, nonce %q, state %q", q.Get("code_challenge"), q.Get("nonce"), q.Get("state"))
	}
	if len(q) != 8 {
		t.Errorf("%d parameters, want no more than the protocol's 8: %v", len(q), q)
	}
	for _, secret := range []string{"nonce", "code_challenge", "state"} {
		if _, again, _ := o.begin(t, p); again.Get(secret) == q.Get(secret) {
			t.Errorf("%s is the same in two logins", secret)
		}
	}
	for _, r := range []provider.Request{{}, {State: "x"}, {RedirectURI: callback}} {
		_, err := p.Begin(t.Context(), r)
		refused(t, err, provider.Misconfigured, "redirect URI and a state")
	}
}

func TestBeginForwards(t *testing.T) {
	t.Parallel()
	age := 90 * time.Second
	wish := provider.Request{
		Prompt:    []string{"login", "consent"},
		LoginHint: "a&b=c@x.example",
		UILocales: []string{"de-AT", "fr"},
		ACRValues: []string{"urn:loa:2", "silver"},
		MaxAge:    &age,
		Params: url.Values{"claims": {`{"a":"b c&"}`}, "hd": {"example.com"}, "twice": {"1", "2"}, "redirect_uri": {"https://evil"},
			"secret": {"x"}},
	}
	for _, row := range []struct {
		name string
		edit func(*oidc.Config)
		want map[string]string
	}{
		{"by default", func(*oidc.Config) {}, map[string]string{"prompt": "login consent", "acr_values": "urn:loa:2 silver"}},
		{"prompt ignored, but for a new proof", func(c *oidc.Config) { c.IgnorePrompt = true },
			map[string]string{"prompt": "login", "acr_values": "urn:loa:2 silver"}},
		{"prompt fixed", func(c *oidc.Config) { c.Prompt = []string{"select_account"} },
			map[string]string{"prompt": "login select_account", "acr_values": "urn:loa:2 silver"}},
		{"prompt fixed, with login", func(c *oidc.Config) { c.Prompt = []string{"consent", "login"} },
			map[string]string{"prompt": "consent login", "acr_values": "urn:loa:2 silver"}},
		{"prompt unknown there in part", func(c *oidc.Config) { c.PromptValues = []string{"login", "select_account"} },
			map[string]string{"prompt": "login", "acr_values": "urn:loa:2 silver"}},
		{"everything", func(c *oidc.Config) {
			c.ForwardLoginHint, c.ForwardUILocales, c.ForwardMaxAge = true, true, true
			c.ForwardParams = []string{"claims", "hd", "twice", "absent"}
			c.AuthParams = map[string]string{"access_type": "offline", "hd": "fixed.example"}
			c.FormPost = true
		}, map[string]string{"prompt": "login consent", "acr_values": "urn:loa:2 silver", "login_hint": "a&b=c@x.example",
			"ui_locales": "de-AT fr", "max_age": "90", "claims": `{"a":"b c&"}`, "hd": "fixed.example", "access_type": "offline",
			"response_mode": "form_post"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			o.request = func(r *provider.Request) {
				state, redirectURI := r.State, r.RedirectURI
				*r = wish
				r.State, r.RedirectURI = state, redirectURI
			}
			cfg := o.config()
			row.edit(&cfg)
			redirect, q, err := o.begin(t, newProvider(t, cfg))
			if err != nil {
				t.Fatal(err)
			}
			if redirect.PostBack != cfg.FormPost {
				t.Errorf("PostBack = %v", redirect.PostBack)
			}
			got := map[string]string{}
			for name, values := range q {
				switch name {
				case "response_type", "client_id", "scope", "state", "nonce", "code_challenge", "code_challenge_method":
				case "redirect_uri":
					if len(values) != 1 || values[0] != callback {
						t.Errorf("redirect_uri %q", values)
					}
				default:
					got[name] = strings.Join(values, "|")
				}
			}
			if !reflect.DeepEqual(got, row.want) {
				t.Errorf("forwarded %v\nwant      %v", got, row.want)
			}
		})
	}
}

func TestPromptNone(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name      string
		edit      func(*oidc.Config)
		requested []string
		want      string        // the parameter
		kind      provider.Kind // of the error, if want is ""
	}{
		{"not accepted", func(*oidc.Config) {}, []string{"none"}, "", provider.LoginRequired},
		{"accepted", func(c *oidc.Config) { c.AcceptPromptNone = true }, []string{"none"}, "none", 0},
		{"accepted, but ignored", func(c *oidc.Config) { c.AcceptPromptNone, c.IgnorePrompt = true, true }, []string{"none"}, "none", 0},
		{"ignored", func(c *oidc.Config) { c.IgnorePrompt = true }, []string{"none"}, "", provider.LoginRequired},
		{"another is fixed", func(c *oidc.Config) { c.AcceptPromptNone, c.Prompt = true, []string{"login"} }, []string{"none"}, "",
			provider.LoginRequired},
		{"fixed", func(c *oidc.Config) { c.Prompt = []string{"none"} }, []string{"none"}, "none", 0},
		{"fixed, and a new proof is asked for", func(c *oidc.Config) { c.Prompt = []string{"none"} }, []string{"login"}, "", provider.LoginRequired},
		{"fixed, not requested", func(c *oidc.Config) { c.Prompt = []string{"none"} }, nil, "none", 0},
		{"beside others", func(c *oidc.Config) { c.AcceptPromptNone = true }, []string{"none", "login"}, "", provider.Invalid},
		{"unknown there", func(c *oidc.Config) { c.PromptValues = []string{"consent"} }, []string{"none"}, "", provider.LoginRequired},
		{"unknown there, and accepted", func(c *oidc.Config) { c.AcceptPromptNone, c.PromptValues = true, []string{"consent"} }, []string{"none"},
			"none", 0},
		{"beside what is unknown", func(c *oidc.Config) { c.AcceptPromptNone, c.PromptValues = true, []string{"none"} },
			[]string{"none", "consent"}, "none", 0},
		{"login unknown there", func(c *oidc.Config) { c.PromptValues = []string{"consent"} }, []string{"login"}, "", provider.LoginRequired},
		{"nothing known there", func(c *oidc.Config) { c.PromptValues = []string{} }, []string{"login"}, "", provider.LoginRequired},
		{"login unknown there, and fixed", func(c *oidc.Config) { c.Prompt, c.PromptValues = []string{"login"}, []string{} }, []string{"login"},
			"login", 0},
		{"login unknown there, another fixed", func(c *oidc.Config) { c.Prompt, c.PromptValues = []string{"consent"}, []string{"consent"} },
			[]string{"login"}, "", provider.LoginRequired},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			cfg := o.config()
			row.edit(&cfg)
			o.request = func(r *provider.Request) { r.Prompt = row.requested }
			_, q, err := o.begin(t, newProvider(t, cfg))
			if row.want == "" {
				refused(t, err, row.kind, "begin login")
			} else if err != nil || q.Get("prompt") != row.want {
				t.Errorf("prompt %q, %v", q["prompt"], err)
			}
		})
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		scopes []string
		want   string
	}{
		{nil, "openid profile email"},
		{[]string{}, "openid"},
		{[]string{"email"}, "openid email"},
		{[]string{"email", "openid", "groups"}, "email openid groups"},
	} {
		o := newOP(t)
		cfg := o.config()
		cfg.Scopes = row.scopes
		if _, q, err := o.begin(t, newProvider(t, cfg)); err != nil || q.Get("scope") != row.want {
			t.Errorf("scopes %q: %q, %v", row.scopes, q.Get("scope"), err)
		}
	}
}

func TestAuthorizationEndpointWithQuery(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.metadata["authorization_endpoint"] = o.URL + "/authorize?p=policy"
	_, q, err := o.begin(t, newProvider(t, o.config()))
	if err != nil || q.Get("p") != "policy" || q.Get("client_id") != clientID {
		t.Errorf("parameters %v, %v", q, err)
	}
}

func TestPKCE(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	o.must(t, p) // the provider compares verifier and challenge

	// The verifier of another login does not redeem this one's code.
	other, _, err := o.begin(t, p)
	if err != nil {
		t.Fatal(err)
	}
	o.data = func([]byte) []byte { return other.Data }
	_, err = o.login(t, p)
	refused(t, err, provider.Expired, "invalid_grant")
	o.data = nil

	cfg := o.config()
	cfg.InsecureSkipPKCE = true
	p = newProvider(t, cfg)
	if _, q, err := o.begin(t, p); err != nil || q.Has("code_challenge") || q.Has("code_challenge_method") {
		t.Errorf("challenge sent: %v, %v", q, err)
	}
	o.must(t, p)
	if o.tokenReq.PostForm.Has("code_verifier") {
		t.Error("verifier sent")
	}
}

// Row 44, where this differs on purpose: PKCE is S256. The method plain, in which whoever reads the request knows the verifier,
// is not to be had (RFC 9700 §2.1.1), whatever the provider says that it knows.
func TestPKCEIsNeverPlain(t *testing.T) {
	t.Parallel()
	for name, methods := range map[string]any{"plain alone": []string{"plain"}, "plain first": []string{"plain", "S256"}, "none": []string{}} {
		o := newOP(t)
		o.metadata["code_challenge_methods_supported"] = methods
		p := newProvider(t, o.config())
		if _, q, err := o.begin(t, p); err != nil || q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 {
			t.Errorf("%s: parameters %v, %v", name, q, err)
		}
		o.must(t, p) // the provider compares the challenge with the hash of the verifier
	}
	for field, edit := range map[string]func(*oidc.Config){
		"AuthParams":    func(c *oidc.Config) { c.AuthParams = map[string]string{"code_challenge_method": "plain"} },
		"ForwardParams": func(c *oidc.Config) { c.ForwardParams = []string{"code_challenge_method"} },
	} {
		cfg := oidc.Config{Issuer: "https://op.example", ClientID: clientID, ClientSecret: clientSecret}
		edit(&cfg)
		if _, err := oidc.New(cfg); err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("%s can choose the method: %v", field, err)
		}
	}
}
