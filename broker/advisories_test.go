package broker_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oauth2"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// Published holes of comparable systems that no other test here is about. Of those that cannot apply:
//
//   - Other tenants' ids (CVE-2025-27507, CVE-2026-55670, CVE-2026-9094): a broker has one tenant. Ids are random, and the store's
//     kit tests that a deleted user's sessions and grants are nobody's.
//   - Intents that are used twice or by another session (CVE-2025-46815, CVE-2026-105207): there is none but the pending login,
//     which is sealed for one browser and taken once: TestCallbackState, TestCallbackReplay.

// Zitadel CVE-2024-29892: what mappers and upstreams call a claim decides nothing in our tokens.
func TestMappersWriteNoReservedClaims(t *testing.T) {
	t.Parallel()
	reserved := []string{
		"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "acr", "amr", "azp", "sid", "nonce", "auth_time", "at_hash", "client_id", "scope",
		"cnf", "act", "roles", "groups", "identity_provider", "active", "token_type", "email_verified", "typ", "urn:zitadel:iam:user:roles",
	}
	evil := func(stage provider.Stage) provider.Mapper {
		return provider.Mapper{Name: "evil", Stage: stage, Sync: provider.SyncForce, Map: func(m *provider.Mapping) error {
			for _, name := range reserved {
				switch stage {
				case provider.StageLookup:
					if m.Identity.Claims == nil {
						m.Identity.Claims = map[string]any{}
					}
					m.Identity.Claims[name] = "evil"
				case provider.StageProfile:
					m.Profile.Attributes[name] = []string{"evil"}
					m.Profile.Notes[name] = "evil"
				default:
					m.Profile.Notes[name] = "evil"
				}
			}
			return nil
		}}
	}
	w := newWorld(t, func(c *broker.Config) {
		c.Providers[0].Mappers = []provider.Mapper{evil(provider.StageLookup), evil(provider.StageProfile), evil(provider.StageSession)}
		c.Clients[0].Scopes = []string{"openid", "profile", "email", "roles", "groups"}
	})
	b := w.login("Demo")
	asked := map[string]any{}
	for _, name := range reserved {
		asked[name] = nil
	}
	claims, err := json.Marshal(map[string]any{"id_token": asked, "userinfo": asked})
	if err != nil {
		t.Fatal(err)
	}
	a := w.redeem(w.code(b, func(v url.Values) {
		v.Set("claims", string(claims))
		v.Set("scope", "openid profile email roles groups")
	}), nil).tokens(t)
	for name, said := range map[string]string{
		"ID token":      fmt.Sprint(part(t, a.IDToken, 0), part(t, a.IDToken, 1)),
		"access token":  fmt.Sprint(part(t, a.AccessToken, 0), part(t, a.AccessToken, 1)),
		"userinfo":      w.userinfo(a.AccessToken).text,
		"introspection": send(t, http.MethodPost, w.URL+"/introspect", url.Values{"token": {a.AccessToken}}, basic("rp", w.secret())).text,
	} {
		if strings.Contains(said, "evil") || !strings.Contains(said, w.named("alice").ID) {
			t.Errorf("%s says %s", name, said)
		}
	}
}

// Zitadel CVE-2026-29193: where the first login makes nobody a user, no way in does.
func TestClosedRegistration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, also(unsolicited(t, func(*broker.Provider) {}), func(c *broker.Config) {
		c.FirstLogin = flow.Flow{{ID: "closed", Do: steps(flow.Deny("no"))}, {ID: "create", Do: firstlogin.CreateUserIfUnique{}}}
	}))
	for name, enter := range map[string]func(*brokertest.Browser) *brokertest.Page{
		"the login page":        func(b *brokertest.Browser) *brokertest.Page { return b.Get(w.Origin + "/").Click("Demo") },
		"the provider's":        func(b *brokertest.Browser) *brokertest.Page { return b.Get(w.URL + "/broker/demo/login") },
		"an application":        func(b *brokertest.Browser) *brokertest.Page { return b.Get(w.rp.LoginURL()).Click("Demo") },
		"an application's hint": func(b *brokertest.Browser) *brokertest.Page { return b.Get(w.rp.AuthURL() + "&idp_hint=demo") },
		"nobody asked": func(b *brokertest.Browser) *brokertest.Page {
			form := url.Values{"SAMLResponse": {w.samlAnswer("_a", "")}}
			return b.Post(brokertest.CallbackURL(w.URL, "saml"), form, samlPages)
		},
	} {
		b := brokertest.NewBrowser(t)
		if page := enter(b); w.signedIn(b) || w.users("alice", "samlalice") > 0 || w.rp.Login().Subject != "" {
			t.Errorf("%s: status %d at %s, %d users", name, page.Status, page.URL, w.users("alice", "samlalice"))
		}
	}
	w.reconfigure(unsolicited(t, func(*broker.Provider) {})) // it was the flow that refused
	if w.login("Demo"); w.users("alice") != 1 {
		t.Error("nobody comes in otherwise, either")
	}
}

// differing is what differs between any two answers: their ids, and what is sealed or random in them.
var differing = regexp.MustCompile(`[A-Z2-7]{16,}|[A-Za-z0-9_-]{40,}`)

// CVE-2026-23511, CVE-2024-41952, CVE-2026-4633: a stranger learns neither who has an account nor which providers there are
// that are not offered. Only the address of one that is off says so: who was sent there has to learn why they cannot sign in.
func TestNobodyLearnsWhoExists(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Providers[0].Domains = []string{"example.com"}
		c.Providers[1].Disabled = true
	})
	w.login("Demo") // alice@example.com exists
	at := func(path string, params url.Values) func(string) *reply {
		return func(name string) *reply {
			filled := url.Values{}
			for key := range params {
				filled.Set(key, strings.ReplaceAll(params.Get(key), "{}", name))
			}
			return send(t, http.MethodGet, w.URL+path+"?"+filled.Encode(), nil, nil)
		}
	}
	post := func(path string, params url.Values) func(string) *reply {
		return func(name string) *reply {
			filled := url.Values{}
			for key := range params {
				filled.Set(key, strings.ReplaceAll(params.Get(key), "{}", name))
			}
			return send(t, http.MethodPost, w.URL+path, filled, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") })
		}
	}
	request := func(name, value string) url.Values { return changed(w.authParams(), set(name, value)) }
	passive := request("prompt", "none")
	passive.Set("login_hint", "{}@example.com")
	typed := w.authParams()
	typed.Set("email", "{}@example.com")
	elsewhere := request("email", "{}@elsewhere.example")
	for _, row := range []struct {
		name       string
		ask        func(string) *reply
		one, other string // of one length
	}{
		{"login_hint of a domain", at("/authorize", request("login_hint", "{}@example.com")), "alice", "nobod"},
		{"login_hint that is a name", at("/authorize", request("login_hint", "{}")), "alice", "nobod"},
		{"login_hint without a page", at("/authorize", passive), "alice", "nobod"},
		{"the e-mail form", post("/authorize", typed), "alice", "nobod"},
		{"the e-mail form, of no provider's domain", post("/authorize", elsewhere), "alice", "nobod"},
		{"the host's e-mail form", post("/login", url.Values{"email": {"{}@example.com"}}), "alice", "nobod"},
		{"a device's page", at("/device", url.Values{"user_code": {"BBBB-BBBB"}, "login_hint": {"{}@example.com"}}), "alice", "nobod"},
		{"a provider that is off, by hint", at("/authorize", request("idp_hint", "{}")), "other", "nobod"},
		{"a provider that is off, by Keycloak's hint", at("/authorize", request("kc_idp_hint", "{}")), "other", "nobod"},
		{"a provider that is off, by its callback", func(alias string) *reply {
			return at("/broker/"+alias+"/endpoint", url.Values{"state": {"x"}, "code": {"y"}})("")
		}, "other", "nobod"},
		{"a provider that is off, by its icon", func(alias string) *reply { return at("/icon/"+alias, nil)("") }, "other", "nobod"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			one, other := row.ask(row.one), row.ask(row.other)
			same := func(r *reply, name string) string {
				return differing.ReplaceAllString(strings.ReplaceAll(r.Header.Get("Location")+"\n"+r.text, name, "NAME"), "RANDOM")
			}
			if one.StatusCode != other.StatusCode || same(one, row.one) != same(other, row.other) {
				t.Errorf("%s: status %d to\n%s\n%s: status %d to\n%s", row.one, one.StatusCode, same(one, row.one), row.other, other.StatusCode, same(other, row.other))
			}
			if row.one == "alice" && len(one.text) != len(other.text) {
				t.Errorf("%d and %d bytes", len(one.text), len(other.text))
			}
		})
	}
}

// Ory CVE-2026-33503, 33504, 33505: what stands for a page of a list is the id that it follows, and a forged one only skips.
func TestForgedPages(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	all := []string{"a", "b", "c"}
	for _, id := range all {
		if err := s.PutClient(t.Context(), &store.Client{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	for _, after := range []string{"", "b", "bb", "zzz", "' OR 1=1 --", "a' UNION SELECT * FROM clients --", "\x00", "\xff\xfe", strings.Repeat("b", 1<<16), `{"id":"a"}`} {
		list, err := s.ListClients(t.Context(), after, 10)
		if err != nil {
			t.Errorf("after %.20q: %v", after, err)
		}
		var got, want []string
		for _, c := range list {
			got = append(got, c.ID)
		}
		for _, id := range all {
			if id > after {
				want = append(want, id)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("after %.20q: %q, want %q", after, got, want)
		}
	}
}

// subjectsOfNobody are what programs write for an id that is not there, and what no store could keep.
var subjectsOfNobody = []string{
	"", " ", "\t", "\x00", "null", "undefined", "NaN", "[object Object]", "None", "nil", "<nil>", "(null)", "0", " null ", "a\nb", "\xff",
	strings.Repeat("a", 1025),
}

// Keycloak CVE-2026-82968: no id at the upstream, or one that stands for none, is nobody's, whoever has lost it and whichever the
// protocol.
func TestSubjectThatIsNone(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, w *world, name, subject string) {
		t.Helper()
		b := brokertest.NewBrowser(t)
		page := b.Get(w.Origin + "/").Click(name)
		if page.Status < 400 || w.signedIn(b) {
			t.Errorf("subject %.20q: status %d at %s", subject, page.Status, page.URL)
		}
	}
	empty := func(t *testing.T, w *world) {
		t.Helper()
		if n := w.users("alice", "null", "undefined", "0", "octo", "samlalice"); n > 0 {
			t.Errorf("%d users", n)
		}
	}
	t.Run("a mapper", func(t *testing.T) {
		t.Parallel()
		var subject string
		w := newWorld(t, mapped(provider.SyncImport, provider.Mapper{Name: "loses it", Stage: provider.StageLookup, Map: func(m *provider.Mapping) error {
			m.Identity.Subject = subject
			return nil
		}}))
		for _, subject = range subjectsOfNobody {
			refused(t, w, "Demo", subject)
		}
		empty(t, w)
	})
	t.Run("OpenID Connect", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		for _, subject := range subjectsOfNobody {
			if subject == "" { // the double's own default
				continue
			}
			w.op.SetUser(providertest.User{Subject: subject, Username: "alice"})
			w.op.LoginAs(subject)
			refused(t, w, "Demo", subject)
		}
		empty(t, w)
	})
	t.Run("OAuth 2.0", func(t *testing.T) {
		t.Parallel()
		o := newOAuth2World(t, func(*oauth2.Config) {})
		for _, subject := range subjectsOfNobody {
			o.said["sub"], o.said["preferred_username"] = subject, "octo"
			if utf8.ValidString(subject) { // nothing else arrives by JSON
				refused(t, o.world, "Git", subject)
			}
		}
		empty(t, o.world)
	})
	for name, edit := range map[string]func(*saml.Config, *broker.Provider){
		"SAML": nil, "SAML by attribute": func(c *saml.Config, _ *broker.Provider) { c.SubjectAttribute = "uid" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSAMLWorld(t, edit)
			for i, subject := range subjectsOfNobody {
				if subject == "\x00" || subject == "\xff" { // nothing that XML can say
					continue
				}
				var text bytes.Buffer
				if err := xml.EscapeText(&text, []byte(subject)); err != nil {
					t.Fatal(err)
				}
				b := stopped(t)
				page := w.samlLoginAs(t, b, fmt.Sprint("_s", i), func(answer string) string {
					return strings.NewReplacer(">saml-alice<", ">"+text.String()+"<", ">samlalice<", ">"+text.String()+"<").Replace(answer)
				})
				if page.Status < 400 || w.signedIn(b) {
					t.Errorf("subject %.20q: status %d", subject, page.Status)
				}
			}
			empty(t, w)
		})
	}
}
