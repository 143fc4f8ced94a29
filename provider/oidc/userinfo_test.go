package oidc_test

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
)

func reply(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestUserInfoRefused(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	said := func(body string) http.HandlerFunc { return reply(200, "application/json", body) }
	for _, row := range []struct {
		name  string
		reply http.HandlerFunc
		kind  provider.Kind
		want  string
	}{
		{"another subject", said(`{"sub":"alice-2"}`), provider.Invalid, "another subject"},
		{"subject in capitals", said(`{"sub":"ALICE-1"}`), provider.Invalid, "another subject"},
		{"subject under another name", said(`{"SUB":"alice-1"}`), provider.Invalid, "another subject"},
		{"subject missing", said(`{"name":"Alice"}`), provider.Invalid, "another subject"},
		{"subject empty", said(`{"sub":""}`), provider.Invalid, "another subject"},
		{"subject null", said(`{"sub":null}`), provider.Invalid, "another subject"},
		{"subject zero", said(`{"sub":0}`), provider.Invalid, "another subject"},
		{"subject a list", said(`{"sub":["alice-1"]}`), provider.Invalid, "another subject"},
		{"subject an object", said(`{"sub":{"alice-1":1}}`), provider.Invalid, "another subject"},
		{"null", said(`null`), provider.Invalid, "no JSON object"},
		{"a list", said(`[{"sub":"alice-1"}]`), provider.Invalid, "no JSON object"},
		{"empty", said(``), provider.Invalid, "no JSON object"},
		{"two objects", said(`{"sub":"alice-1"}{"sub":"root"}`), provider.Invalid, "follows"},
		{"cut", said(`{"sub":"alice-1"`), provider.Invalid, "no JSON object"},
		{"no type", reply(200, "", `{"sub":"alice-1"}`), provider.Invalid, "answer is"},
		{"HTML", reply(200, "text/html", `{"sub":"alice-1"}`), provider.Invalid, "answer is"},
		{"text", reply(200, "text/plain", `{"sub":"alice-1"}`), provider.Invalid, "answer is"},
		{"JWT that is none", reply(200, "application/jwt", `{"sub":"alice-1"}`), provider.Invalid, "not a signed JWT"},
		{"201", reply(201, "application/json", `{"sub":"alice-1"}`), provider.Invalid, "status 201"},
		{"401", reply(401, "application/json", `{"sub":"alice-1"}`), provider.Invalid, "status 401"},
		{"403", reply(403, "application/json", `{"sub":"alice-1"}`), provider.Invalid, "status 403"},
		{"500", reply(500, "application/json", `{"sub":"alice-1"}`), provider.Unavailable, "status 500"},
		{"429", reply(429, "application/json", `{"sub":"alice-1"}`), provider.Unavailable, "status 429"},
		{"huge", said(`{"sub":"alice-1","x":"` + strings.Repeat("x", 1<<20) + `"}`), provider.Unavailable, "more than 1048576 bytes"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/jwks", http.StatusFound) },
			provider.Unavailable, "not redirected"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o.userinfo = row.reply
			_, err := o.login(t, p)
			refused(t, err, row.kind, row.want)
		})
	}
}

func TestUserInfoSpared(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.DisableUserInfo = true
	o.must(t, newProvider(t, cfg))
	delete(o.metadata, "userinfo_endpoint")
	o.must(t, newProvider(t, o.config()))
	if got := o.count("/userinfo"); got != 0 {
		t.Errorf("%d requests", got)
	}
}

func TestUserInfoSigned(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	mallory := newKey(t, "ES256", "k1")
	say := func(key testKey, header, claims object) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			h := object{"alg": "ES256", "kid": "k1"}
			merge(header)(h)
			c := object{"iss": o.URL, "aud": clientID, "sub": "alice-1", "name": "Alice, signed"}
			merge(claims)(c)
			for name, value := range c {
				if value == "absent" {
					delete(c, name)
				}
			}
			payload, _ := json.Marshal(c)
			w.Header().Set("Content-Type", "application/jwt")
			io.WriteString(w, sign(t, key.private, h, payload))
		}
	}
	o.userinfo = say(o.signer, nil, object{"exp": o.ago(-time.Minute)})
	if got := o.must(t, p).Name; got != "Alice, signed" {
		t.Errorf("name %q", got)
	}
	for _, row := range []struct {
		name           string
		key            testKey
		header, claims object
		want           string
	}{
		{"key of somebody else", mallory, nil, nil, "signature"},
		{"alg none", mallory, object{"alg": "none"}, nil, "accepted are"},
		{"type of an access token", o.signer, object{"typ": "at+jwt"}, nil, "type"},
		{"crit", o.signer, object{"crit": []string{"x"}}, nil, "crit"},
		{"issuer of somebody else", o.signer, nil, object{"iss": "https://evil.example"}, "another issuer"},
		{"no issuer", o.signer, nil, object{"iss": "absent"}, "another issuer"},
		{"audience of somebody else", o.signer, nil, object{"aud": "evil"}, "another client"},
		{"no audience", o.signer, nil, object{"aud": "absent"}, "aud is missing"},
		{"audience a number", o.signer, nil, object{"aud": []any{1, clientID}}, "other than strings"},
		{"expired", o.signer, nil, object{"exp": o.ago(61 * time.Second)}, "expired"},
		{"exp a string", o.signer, nil, object{"exp": "1"}, "exp is no number"},
		{"another subject", o.signer, nil, object{"sub": "root"}, "another subject"},
		{"no subject", o.signer, nil, object{"sub": "absent"}, "another subject"},
		{"a logout token", o.signer, nil, object{"events": object{}}, "security event"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o.userinfo = say(row.key, row.header, row.claims)
			_, err := o.login(t, p)
			refused(t, err, provider.Invalid, row.want)
		})
	}
}

func TestIdentityOfClaims(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	// What ID token and userinfo say, and what must come of it.
	for _, row := range []struct {
		name     string
		id, info object
		want     func(*provider.Identity) // sets what differs from an identity of nothing but a subject
	}{
		{"nothing", nil, nil, func(*provider.Identity) {}},
		{"everything, by the ID token", object{
			"preferred_username": "alice", "email": "a@x.example", "email_verified": true, "given_name": "Alice", "family_name": "A",
			"name": "Alice A", "locale": "de-AT", "picture": "https://x.example/a.png", "groups": []string{"g1", "g2"},
			"acr": "silver", "amr": []string{"pwd", "otp"}, "auth_time": now, "sid": "s-1",
		}, nil, func(id *provider.Identity) {
			id.Username, id.Email, id.EmailVerified, id.FirstName, id.LastName = "alice", "a@x.example", true, "Alice", "A"
			id.Name, id.Locale, id.Picture, id.Groups = "Alice A", "de-AT", "https://x.example/a.png", []string{"g1", "g2"}
			id.ACR, id.AMR, id.AuthTime, id.Session = "silver", []string{"pwd", "otp"}, time.Unix(now, 0), "s-1"
		}},
		{"userinfo wins for the profile", object{"name": "old", "given_name": "kept", "groups": []string{"old"}},
			object{"name": "new", "groups": []string{"new"}},
			func(id *provider.Identity) { id.Name, id.FirstName, id.Groups = "new", "kept", []string{"new"} }},
		{"userinfo never says how and when", object{"acr": "1", "amr": []string{"pwd"}, "auth_time": now - 60, "sid": "s"},
			object{"acr": "9", "amr": []string{"hwk"}, "auth_time": now, "sid": "evil", "iss": "https://evil.example", "aud": "evil",
				"exp": 1, "nonce": "x", "azp": "evil", "tid": "evil"},
			func(id *provider.Identity) {
				id.ACR, id.AMR, id.AuthTime, id.Session = "1", []string{"pwd"}, time.Unix(now-60, 0), "s"
			}},
		{"userinfo cannot add how and when", nil, object{"acr": "9", "amr": []string{"hwk"}, "auth_time": now, "sid": "evil"},
			func(*provider.Identity) {}},
		{"user name is the address if there is none", object{"email": "a@x.example"}, nil,
			func(id *provider.Identity) { id.Username, id.Email = "a@x.example", "a@x.example" }},
		{"tick for another document's address", object{"email": "old@x.example", "email_verified": true}, object{"email": "new@x.example"},
			func(id *provider.Identity) { id.Username, id.Email = "new@x.example", "new@x.example" }},
		{"tick without an address", object{"email": "a@x.example"}, object{"email_verified": true},
			func(id *provider.Identity) { id.Username, id.Email = "a@x.example", "a@x.example" }},
		{"tick taken back without an address", object{"email": "a@x.example", "email_verified": true}, object{"email_verified": false},
			func(id *provider.Identity) {
				id.Username, id.Email, id.EmailVerified = "a@x.example", "a@x.example", true
			}},
		{"address null in userinfo", object{"email": "a@x.example", "email_verified": true}, object{"email": nil, "email_verified": false},
			func(id *provider.Identity) {
				id.Username, id.Email, id.EmailVerified = "a@x.example", "a@x.example", true
			}},
		{"address empty in userinfo", object{"email": "a@x.example", "email_verified": true}, object{"email": ""},
			func(*provider.Identity) {}},
		{"address a list in userinfo", object{"email": "a@x.example", "email_verified": true},
			object{"email": []string{"b@x.example"}, "email_verified": true}, func(*provider.Identity) {}},
		{"both by userinfo", object{"email": "old@x.example"}, object{"email": "new@x.example", "email_verified": true},
			func(id *provider.Identity) {
				id.Username, id.Email, id.EmailVerified = "new@x.example", "new@x.example", true
			}},
		{"tick as a word", object{"email": "a@x.example", "email_verified": "true"}, nil, func(id *provider.Identity) {
			id.Username, id.Email, id.EmailVerified = "a@x.example", "a@x.example", true
		}},
		{"tick as another word", object{"email": "a@x.example", "email_verified": "True"}, nil,
			func(id *provider.Identity) { id.Username, id.Email = "a@x.example", "a@x.example" }},
		{"tick as a number", object{"email": "a@x.example", "email_verified": 1}, nil,
			func(id *provider.Identity) { id.Username, id.Email = "a@x.example", "a@x.example" }},
		{"tick under another name", object{"email": "a@x.example"}, object{"Email_Verified": true, "EMAIL": "root@x.example"},
			func(id *provider.Identity) { id.Username, id.Email = "a@x.example", "a@x.example" }},
		{"tick for nothing", object{"email_verified": true}, nil, func(*provider.Identity) {}},
		{"wrong types", object{"name": 5, "given_name": []string{"x"}, "groups": object{"a": 1}, "amr": 7, "acr": true, "sid": nil,
			"preferred_username": nil, "picture": 1, "locale": object{}}, nil, func(*provider.Identity) {}},
		{"not for people", object{"name": "a\nb", "preferred_username": "a\x00b", "family_name": strings.Repeat("x", 2049)}, nil,
			func(*provider.Identity) {}},
		{"pictures that are none", object{"picture": "javascript:alert(1)"}, nil, func(*provider.Identity) {}},
		{"groups of mixed types", object{"groups": []any{"a", 1, nil, "", "b"}}, nil,
			func(id *provider.Identity) { id.Groups = []string{"a", "b"} }},
		{"one group", object{"groups": "a"}, nil, func(id *provider.Identity) { id.Groups = []string{"a"} }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			o.claims = merge(row.id)
			info := object{"sub": "alice-1"}
			merge(row.info)(info)
			o.userinfo = func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, info) }
			got := o.must(t, newProvider(t, o.config()))
			want := &provider.Identity{Issuer: o.URL, Subject: "alice-1", Username: "alice-1"}
			row.want(want)
			if got.Claims["iss"] != o.URL || got.Claims["sub"] != "alice-1" || got.Claims["aud"] != clientID {
				t.Errorf("claims %v", got.Claims)
			}
			if got.Email != "" && got.Claims["email"] != got.Email {
				t.Errorf("address %q, claim %v", got.Email, got.Claims["email"])
			}
			if verified := got.Claims["email_verified"]; got.Email != "" && !got.EmailVerified && (verified == true || verified == "true") {
				t.Errorf("the claims call the address verified: %v", got.Claims)
			}
			got.Claims, got.Tokens = nil, nil
			if !reflect.DeepEqual(got, want) {
				t.Errorf("identity\n%+v\nwant\n%+v", got, want)
			}
		})
	}
}

func TestGroupsClaim(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.GroupsClaim = "https://x.example/roles"
	o.claims = merge(object{"groups": []string{"no"}, "https://x.example/roles": []string{"yes"}})
	if got := o.must(t, newProvider(t, cfg)).Groups; !reflect.DeepEqual(got, []string{"yes"}) {
		t.Errorf("groups %q", got)
	}
}

func TestClaimsKeepNumbers(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.claims = set("uid", json.Number("9007199254740993"))
	if got := o.must(t, newProvider(t, o.config())).Claims["uid"]; got != json.Number("9007199254740993") {
		t.Errorf("uid %v", got)
	}
}

func TestEssentialClaim(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, value string
		claim       any
		ok          bool
	}{
		{"equal", "staff", "staff", true},
		{"another", "staff", "guest", false},
		{"part", "staff", "staffers", false},
		{"part at the end", "staff", "my staff", false},
		{"line after it", "staff", "staff\nx", false},
		{"line before it", "staff", "x\nstaff", false},
		{"other case", "staff", "Staff", false},
		{"either", "staff|admin", "admin", true},
		{"either, part", "staff|admin", "staffing", false},
		{"pattern", `.+@corp\.example`, "a@corp.example", true},
		{"pattern with a dot that is one", `.+@corp\.example`, "a@corp.example.evil", false},
		{"one of a list", "staff", []string{"guest", "staff"}, true},
		{"none of a list", "staff", []string{"guest", "staffx"}, false},
		{"empty list", "staff", []string{}, false},
		{"list in a list", "staff", []any{[]string{"staff"}}, false},
		{"missing", ".*", nil, false},
		{"empty pattern is any value", "", "x", true},
		{"empty pattern, no value", "", nil, false},
		{"empty pattern, empty value", "", "", false},
		{"empty pattern, an object", "", object{"a": 1}, false},
		{"bool", "true", true, true},
		{"bool false", "true", false, false},
		{"number", "42", 42, true},
		{"object", ".*", object{"staff": "staff"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			cfg := o.config()
			cfg.EssentialClaim, cfg.EssentialValue = "role", row.value
			p := newProvider(t, cfg)
			o.claims = func(m object) {
				m["Role"] = "staff" // names are exact
				if row.claim != nil {
					delete(m, "Role")
					m["role"] = row.claim
				}
			}
			if row.ok {
				o.must(t, p)
				return
			}
			_, err := o.login(t, p)
			refused(t, err, provider.ClaimMismatch, `"role"`)
		})
	}
	t.Run("by userinfo", func(t *testing.T) {
		t.Parallel()
		o := newOP(t)
		cfg := o.config()
		cfg.EssentialClaim, cfg.EssentialValue = "role", "staff"
		o.userinfo = func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, object{"sub": "alice-1", "role": "staff"}) }
		o.must(t, newProvider(t, cfg))
	})
}
