package saml_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

const slo = acs + "/logout"

func leaving() saml.Config {
	cfg := config()
	cfg.SigningKeys = []saml.Key{spKey()}
	return cfg
}

// What a login left behind is what the request names.
func TestBeginLogout(t *testing.T) {
	t.Parallel()
	const name = `<saml:NameID Format="` + string(saml.NameIDTransient) + `" NameQualifier="q" SPNameQualifier="s">T &amp; 1</saml:NameID>`
	for _, binding := range []saml.Binding{saml.HTTPRedirect, saml.HTTPPost} {
		cfg := leaving()
		cfg.LogoutBinding, cfg.SubjectAttribute = binding, "id"
		p := newProvider(t, cfg)
		data, id := begin(t, p, provider.Request{})
		f := newForge(id)
		f.nameID, f.attributes = name, attribute("id", "42")
		identity, err := finish(t, p, data, f.response(t))
		if err != nil {
			t.Fatal(err)
		}
		redirect, err := p.BeginLogout(t.Context(), provider.LogoutRequest{
			IDToken: identity.LogoutHint, Subject: identity.Subject, Session: identity.Session, State: state,
		})
		if err != nil || !redirect.PostBack || (redirect.Form != nil) != (binding == saml.HTTPPost) {
			t.Fatalf("BeginLogout = %+v, %v", redirect, err)
		}
		r := sent(t, redirect, "SAMLRequest")
		got := find(t, r, "./saml:NameID")
		if got.Text() != "T & 1" || got.SelectAttrValue("Format", "") != string(saml.NameIDTransient) ||
			got.SelectAttrValue("NameQualifier", "") != "q" || got.SelectAttrValue("SPNameQualifier", "") != "s" {
			t.Errorf("NameID = %s", write(got))
		}
		if find(t, r, "./samlp:SessionIndex").Text() != "session-1" || r.SelectAttrValue("Destination", "") != sloURL {
			t.Errorf("request = %s", write(r))
		}
		if signed := r.FindElement("./ds:Signature") != nil; signed != (binding == saml.HTTPPost) || !signed && !strings.Contains(redirect.URL, "&Signature=") {
			t.Errorf("%s: the request is not signed, or in the wrong way", binding)
		}
	}
}

func TestBeginLogoutNowhere(t *testing.T) {
	t.Parallel()
	fromAttribute := leaving()
	fromAttribute.SubjectAttribute = "id"
	noService := leaving()
	noService.Endpoints.SingleLogout = ""
	for name, test := range map[string]struct {
		cfg saml.Config
		r   provider.LogoutRequest
	}{
		"no key":                          {config(), provider.LogoutRequest{Subject: "a"}},
		"no service":                      {noService, provider.LogoutRequest{Subject: "a"}},
		"nobody":                          {leaving(), provider.LogoutRequest{}},
		"a subject that it does not know": {fromAttribute, provider.LogoutRequest{Subject: "a"}},
		"a hint that is none":             {leaving(), provider.LogoutRequest{IDToken: "eyJ"}},
	} {
		if redirect, err := newProvider(t, test.cfg).BeginLogout(t.Context(), test.r); redirect != nil || err != nil {
			t.Errorf("%s: BeginLogout = %+v, %v, want nothing", name, redirect, err)
		}
	}
	redirect, err := newProvider(t, leaving()).BeginLogout(t.Context(), provider.LogoutRequest{Subject: "a"})
	if err != nil {
		t.Fatal(err)
	}
	r := sent(t, redirect, "SAMLRequest")
	if e := find(t, r, "./saml:NameID"); e.Text() != "a" || r.FindElement("./samlp:SessionIndex") != nil {
		t.Errorf("request = %s", write(r))
	}
}

const logoutTemplate = `<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_out" Version="2.0" IssueInstant="%s" Destination="%s" NotOnOrAfter="%s"><saml:Issuer>%s</saml:Issuer><saml:NameID>alice-1</saml:NameID><samlp:SessionIndex>session-1</samlp:SessionIndex></samlp:LogoutRequest>`

const logoutAnswer = `<samlp:LogoutResponse xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_bye" Version="2.0" IssueInstant="%s" Destination="%s" InResponseTo="%s"><saml:Issuer>%s</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status></samlp:LogoutResponse>`

// logoutResponse answers the request of that id.
func logoutResponse(request string) string {
	return fmt.Sprintf(logoutAnswer, stamp(epoch), slo, request, idpEntity)
}

func logoutRequest() string {
	return fmt.Sprintf(logoutTemplate, stamp(epoch), slo, stamp(epoch.Add(time.Minute)), idpEntity)
}

// deliver brings a message, signed as the binding has it.
func deliver(t *testing.T, name, doc string, binding saml.Binding, key *saml.Key, edit func(*etree.Element), after func(*etree.Element)) provider.Callback {
	t.Helper()
	root := read(t, doc)
	if edit != nil {
		edit(root)
	}
	if binding == saml.HTTPPost && key != nil {
		signElement(t, root, *key, string(saml.RSASHA256), false, nil, "")
	}
	if after != nil {
		after(root)
	}
	if binding == saml.HTTPPost {
		return provider.Callback{URL: slo, Params: url.Values{name: {base64Of([]byte(write(root)))}, "RelayState": {state}}}
	}
	cb := queried(t, name, write(root), key, saml.RSASHA256, nil)
	cb.URL = slo + cb.URL[len(acs):]
	return cb
}

func TestReceiveLogout(t *testing.T) {
	t.Parallel()
	key, other := idpKey(), otherKey()
	set := func(name, value string) func(*etree.Element) {
		return func(e *etree.Element) { e.CreateAttr(name, value) }
	}
	unset := func(name string) func(*etree.Element) { return func(e *etree.Element) { e.RemoveAttr(name) } }
	drop := func(path string) func(*etree.Element) {
		return func(e *etree.Element) { e.RemoveChild(e.FindElement(path)) }
	}
	tests := []struct {
		name  string
		key   *saml.Key
		edit  func(*etree.Element)
		after func(*etree.Element)
		want  string // "" if it is accepted
		got   provider.Logout
	}{
		{"session and subject", &key, nil, nil, "", provider.Logout{Subject: "alice-1", Session: "session-1"}},
		{"subject", &key, drop("./samlp:SessionIndex"), nil, "", provider.Logout{Subject: "alice-1"}},
		{"session", &key, drop("./saml:NameID"), nil, "", provider.Logout{Session: "session-1"}},
		{"sessions", &key, func(e *etree.Element) { e.AddChild(newText("samlp:SessionIndex", "session-2")) }, nil, "",
			provider.Logout{Subject: "alice-1", Session: "session-1", MoreSessions: []string{"session-2"}}},
		{"no NotOnOrAfter", &key, unset("NotOnOrAfter"), nil, "", provider.Logout{Subject: "alice-1", Session: "session-1"}},
		{"nobody", &key, func(e *etree.Element) {
			drop("./saml:NameID")(e)
			drop("./samlp:SessionIndex")(e)
		}, nil, "neither", provider.Logout{}},
		{"too many sessions", &key, func(e *etree.Element) {
			for range 50 {
				e.AddChild(newText("samlp:SessionIndex", "session-2"))
			}
		}, nil, "too many", provider.Logout{}},
		{"empty session", &key, func(e *etree.Element) { e.AddChild(newText("samlp:SessionIndex", "")) }, nil, "empty", provider.Logout{}},
		{"not signed", nil, nil, nil, "not signed", provider.Logout{}},
		{"signed by a stranger", &other, nil, nil, "none of the keys", provider.Logout{}},
		{"no destination", &key, unset("Destination"), nil, "destination", provider.Logout{}},
		{"destination", &key, set("Destination", acs), nil, "destination", provider.Logout{}},
		{"issuer", &key, func(e *etree.Element) { e.FindElement("./saml:Issuer").SetText("https://other.example") }, nil, "issuer", provider.Logout{}},
		{"old", &key, set("IssueInstant", stamp(epoch.Add(-12*time.Minute))), nil, "too long ago", provider.Logout{}},
		{"of the future", &key, set("IssueInstant", stamp(epoch.Add(2*time.Minute))), nil, "future", provider.Logout{}},
		{"expired", &key, set("NotOnOrAfter", stamp(epoch.Add(-time.Minute))), nil, "expired", provider.Logout{}},
		{"no id", &key, unset("ID"), nil, "", provider.Logout{}},
		{"a response", &key, func(e *etree.Element) { e.Tag = "LogoutResponse" }, nil, "it is a", provider.Logout{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, leaving())
			for _, binding := range []saml.Binding{saml.HTTPRedirect, saml.HTTPPost} {
				if test.name == "no id" && binding == saml.HTTPPost {
					continue // the test's own signature would need it
				}
				cb := deliver(t, "SAMLRequest", logoutRequest(), binding, test.key, test.edit, test.after)
				l, err := p.ReceiveLogout(t.Context(), provider.LogoutMessage{URL: cb.URL, Params: cb.Params})
				if test.want != "" || test.name == "no id" {
					if l != nil || err == nil || !strings.Contains(err.Error(), test.want) {
						t.Errorf("%s: ReceiveLogout = %+v, %v, want an error with %q", binding, l, err, test.want)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", binding, err)
					continue
				}
				want := test.got
				want.Issuer, want.ID, want.State, want.Expires = idpEntity, "_out", state, l.Expires
				if !reflect.DeepEqual(*l, want) || !l.Expires.After(epoch.Add(10*time.Minute)) {
					t.Errorf("%s: ReceiveLogout = %+v, want %+v", binding, *l, want)
				}
			}
		})
	}
	// With wrapped signatures, and with a subject that is an attribute.
	p := newProvider(t, leaving())
	for name, after := range map[string]func(*etree.Element){
		"another name": func(e *etree.Element) { e.FindElement("./saml:NameID").SetText("bob") },
		"wrapped": func(e *etree.Element) {
			original := e.Copy()
			e.CreateAttr("ID", "_evil")
			e.FindElement("./saml:NameID").SetText("bob")
			ext := etree.NewElement("samlp:Extensions")
			ext.AddChild(withoutSignature(original))
			e.InsertChildAt(0, ext)
		},
	} {
		cb := deliver(t, "SAMLRequest", logoutRequest(), saml.HTTPPost, &key, nil, after)
		if l, err := p.ReceiveLogout(t.Context(), provider.LogoutMessage{URL: cb.URL, Params: cb.Params}); l != nil || err == nil {
			t.Errorf("%s: ReceiveLogout = %+v, %v", name, l, err)
		}
	}
	cfg := leaving()
	cfg.SubjectAttribute = "id"
	p = newProvider(t, cfg)
	cb := deliver(t, "SAMLRequest", logoutRequest(), saml.HTTPRedirect, &key, nil, nil)
	l, err := p.ReceiveLogout(t.Context(), provider.LogoutMessage{URL: cb.URL, Params: cb.Params})
	if err != nil || l.Subject != "" || l.Session != "session-1" {
		t.Errorf("ReceiveLogout = %+v, %v", l, err)
	}
	cb = deliver(t, "SAMLRequest", logoutRequest(), saml.HTTPRedirect, &key, drop("./samlp:SessionIndex"), nil)
	if l, err := p.ReceiveLogout(t.Context(), provider.LogoutMessage{URL: cb.URL, Params: cb.Params}); l != nil || err == nil {
		t.Errorf("a NameID that says nothing: ReceiveLogout = %+v, %v", l, err)
	}
}

func TestAnswerLogout(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{true, false} {
		for _, binding := range []saml.Binding{saml.HTTPRedirect, saml.HTTPPost} {
			cfg := leaving()
			cfg.LogoutBinding, cfg.Endpoints.LogoutResponse = binding, "https://idp.example/slo/answer"
			redirect, err := newProvider(t, cfg).AnswerLogout(t.Context(), &provider.Logout{ID: "_out", State: "r&s"}, done)
			if err != nil || !strings.HasPrefix(redirect.URL, "https://idp.example/slo/answer") {
				t.Fatalf("AnswerLogout = %+v, %v", redirect, err)
			}
			r := sent(t, redirect, "SAMLResponse")
			code := strings.TrimPrefix(find(t, r, "./samlp:Status/samlp:StatusCode").SelectAttrValue("Value", ""), "urn:oasis:names:tc:SAML:2.0:status:")
			if r.SelectAttrValue("InResponseTo", "") != "_out" || (code == "Success") != done {
				t.Errorf("answer = %s", write(r))
			}
			relay := redirect.Form.Get("RelayState")
			if binding == saml.HTTPRedirect {
				u, _ := url.Parse(redirect.URL)
				relay = u.Query().Get("RelayState")
			}
			if relay != "r&s" {
				t.Errorf("RelayState = %q", relay)
			}
		}
	}
	redirect, err := newProvider(t, leaving()).AnswerLogout(t.Context(), &provider.Logout{ID: "_out", State: strings.Repeat("r", 1025)}, true)
	if err != nil || strings.Contains(redirect.URL, "RelayState") {
		t.Errorf("a RelayState without end: %+v, %v", redirect, err)
	}
	if _, err := newProvider(t, config()).AnswerLogout(t.Context(), &provider.Logout{ID: "_out"}, true); err == nil {
		t.Error("answered without a key")
	}
}

// What others chose is text in what is sent on, never markup (CVE-2026-46490, CVE-2026-29191).
func TestLogoutEscapes(t *testing.T) {
	t.Parallel()
	const evil = `"><saml:Issuer>evil</saml:Issuer><x y='&amp;<!-- -->]]>javascript:alert(1)`
	for _, binding := range []saml.Binding{saml.HTTPRedirect, saml.HTTPPost} {
		cfg := leaving()
		cfg.LogoutBinding = binding
		p := newProvider(t, cfg)
		answer, err := p.AnswerLogout(t.Context(), &provider.Logout{ID: evil, State: evil}, true)
		must(err)
		out, err := p.BeginLogout(t.Context(), provider.LogoutRequest{Subject: evil, Session: evil, State: state})
		must(err)
		for field, redirect := range map[string]*provider.Redirect{"SAMLResponse": answer, "SAMLRequest": out} {
			r := sent(t, redirect, field)
			if issuers := r.FindElements("//saml:Issuer"); len(issuers) != 1 || issuers[0].Text() != spEntity || r.FindElement("//x") != nil {
				t.Errorf("%s by %s: %s", field, binding, write(r))
			}
			if field == "SAMLRequest" {
				if name, session := find(t, r, "./saml:NameID").Text(), find(t, r, "./samlp:SessionIndex").Text(); name != evil || session != evil {
					t.Errorf("%s: NameID %q, SessionIndex %q", binding, name, session)
				}
				continue
			}
			u, err := url.Parse(redirect.URL)
			must(err)
			if id := r.SelectAttrValue("InResponseTo", ""); id != evil || redirect.Form.Get("RelayState")+u.Query().Get("RelayState") != evil ||
				len(u.Query())+len(redirect.Form) > 4 {
				t.Errorf("%s: InResponseTo %q, %s, %v", binding, id, redirect.URL, redirect.Form)
			}
		}
	}
}

func TestFinishLogout(t *testing.T) {
	t.Parallel()
	key, other := idpKey(), otherKey()
	p := newProvider(t, leaving())
	tests := []struct {
		name string
		key  *saml.Key
		edit func(*etree.Element)
		want string
	}{
		{"good", &key, nil, ""},
		{"not signed", nil, nil, "not signed"},
		{"signed by a stranger", &other, nil, "none of the keys"},
		{"another request", &key, func(e *etree.Element) { e.CreateAttr("InResponseTo", "_x") }, "another request"},
		{"no request", &key, func(e *etree.Element) { e.RemoveAttr("InResponseTo") }, "which request"},
		{"destination", &key, func(e *etree.Element) { e.CreateAttr("Destination", acs) }, "destination"},
		{"failed", &key, func(e *etree.Element) {
			e.FindElement(".//samlp:StatusCode").CreateAttr("Value", "urn:oasis:names:tc:SAML:2.0:status:Responder")
		}, "unavailable"},
		{"partly", &key, func(e *etree.Element) {
			e.FindElement(".//samlp:StatusCode").CreateElement("samlp:StatusCode").CreateAttr("Value", "urn:oasis:names:tc:SAML:2.0:status:PartialLogout")
		}, "PartialLogout"},
	}
	for _, test := range tests {
		for _, binding := range []saml.Binding{saml.HTTPRedirect, saml.HTTPPost} {
			redirect, err := p.BeginLogout(t.Context(), provider.LogoutRequest{Subject: "alice-1", State: state})
			if err != nil {
				t.Fatal(err)
			}
			id := sent(t, redirect, "SAMLRequest").SelectAttrValue("ID", "")
			cb := deliver(t, "SAMLResponse", logoutResponse(id), binding, test.key, test.edit, nil)
			cb.Data = redirect.Data
			err = p.FinishLogout(t.Context(), cb)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s by %s: FinishLogout = %v, want %q", test.name, binding, err, test.want)
			}
		}
	}
	if err := p.FinishLogout(t.Context(), provider.Callback{}); err == nil {
		t.Error("finished what was not begun")
	}
}

func TestLogoutHint(t *testing.T) {
	t.Parallel()
	identity, err := try(t, leaving(), nil)
	if err != nil || !json.Valid([]byte(identity.LogoutHint)) {
		t.Errorf("LogoutHint = %q, %v", identity.LogoutHint, err)
	}
	identity, err = try(t, config(), nil)
	if err != nil || identity.LogoutHint != "" {
		t.Errorf("without a key: LogoutHint = %q, %v", identity.LogoutHint, err)
	}
}
