package saml_test

import (
	"crypto/sha1" // the standard's name for who sent an artifact
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

func artifact(entity string, kind byte) string {
	source := sha1.Sum([]byte(entity))
	return base64Of(append(append([]byte{0, kind, 0, 0}, source[:]...), make([]byte, 20)...))
}

// resolver answers requests for artifacts with a message that it gets the request for.
func resolver(t *testing.T, answer func(request *etree.Element) string) saml.Config {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		text := answer(doc.FindElement("./soap:Envelope/soap:Body/samlp:ArtifactResolve"))
		if text == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	cfg := config()
	cfg.ResponseBinding = saml.HTTPArtifact
	cfg.Endpoints.ArtifactResolution = s.URL
	cfg.InsecureAllowHTTP, cfg.InsecureAllowPrivateNetworks = true, true
	return cfg
}

// resolved wraps a response as it comes by SOAP, with the prefixes declared outside.
func resolved(request *etree.Element, response string, edit func(*etree.Element)) string {
	response = strings.Replace(response, ` xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"`, "", 1)
	s := `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"><s:Body>` +
		`<samlp:ArtifactResponse ID="_ar" Version="2.0" IssueInstant="` + stamp(epoch) + `" InResponseTo="` + request.SelectAttrValue("ID", "") + `"><saml:Issuer>` + idpEntity + `</saml:Issuer>` +
		`<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>` + response + `</samlp:ArtifactResponse></s:Body></s:Envelope>`
	if edit == nil {
		return s
	}
	doc := etree.NewDocument()
	must(doc.ReadFromString(s))
	edit(doc.FindElement("//samlp:ArtifactResponse"))
	s, err := doc.WriteToString()
	must(err)
	return s
}

func TestArtifact(t *testing.T) {
	t.Parallel()
	sign := func(e *etree.Element) { signElement(t, e, idpKey(), string(saml.RSASHA256), false, nil, "") }
	tests := []struct {
		name, artifact, signed string
		edit                   func(*etree.Element)
		want                   string
	}{
		{"signed assertion", artifact(idpEntity, 4), "a", nil, ""},
		{"signed response", artifact(idpEntity, 4), "r", nil, ""},
		{"signed around it all", artifact(idpEntity, 4), "", sign, ""},
		{"not signed", artifact(idpEntity, 4), "", nil, "neither"},
		{"changed", artifact(idpEntity, 4), "", func(e *etree.Element) {
			sign(e)
			e.FindElement(".//saml:NameID").SetText("admin")
		}, "digest"},
		{"another request", artifact(idpEntity, 4), "a", func(e *etree.Element) { e.CreateAttr("InResponseTo", "_x") }, "another request"},
		{"another issuer", artifact(idpEntity, 4), "a", func(e *etree.Element) { e.FindElement("./saml:Issuer").SetText("x") }, "issuer"},
		{"old", artifact(idpEntity, 4), "a", func(e *etree.Element) { e.CreateAttr("IssueInstant", stamp(epoch.Add(-time.Hour))) }, "too long ago"},
		{"refused", artifact(idpEntity, 4), "a", func(e *etree.Element) {
			e.FindElement("./samlp:Status/samlp:StatusCode").CreateAttr("Value", "urn:oasis:names:tc:SAML:2.0:status:Requester")
		}, "misconfigured"},
		{"nothing in it", artifact(idpEntity, 4), "a", func(e *etree.Element) { e.RemoveChild(e.FindElement("./samlp:Response")) }, "expired"},
		{"two in it", artifact(idpEntity, 4), "a", func(e *etree.Element) { e.AddChild(e.FindElement("./samlp:Response").Copy()) }, "twice"},
		{"of another provider", artifact("https://other.example", 4), "a", nil, "another identity provider"},
		{"of another type", artifact(idpEntity, 3), "a", nil, "artifact"},
		{"none", "x", "a", nil, "artifact"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var f *forge
			cfg := resolver(t, func(r *etree.Element) string {
				if r.FindElement("./samlp:Artifact").Text() != test.artifact {
					return ""
				}
				return resolved(r, f.response(t), test.edit)
			})
			p := newProvider(t, cfg)
			data, id := begin(t, p, provider.Request{})
			f = newForge(id)
			f.signed = test.signed
			identity, err := p.Finish(t.Context(), provider.Callback{
				URL: acs + "?SAMLart=x", Data: data, Params: url.Values{"SAMLart": {test.artifact}, "RelayState": {state}},
			})
			if test.want != "" {
				refused(t, identity, err, test.want)
			} else if err != nil || identity.Subject != "alice-1" {
				t.Errorf("identity %+v, error %v", identity, err)
			}
		})
	}
	p := newProvider(t, resolver(t, func(*etree.Element) string { return "" }))
	data, _ := begin(t, p, provider.Request{})
	_, err := p.Finish(t.Context(), provider.Callback{URL: acs, Data: data, Params: url.Values{"SAMLart": {artifact(idpEntity, 4)}}})
	wantKind(t, err, provider.Unavailable)
	for _, params := range []url.Values{
		posted("x").Params,
		{"SAMLart": {artifact(idpEntity, 4), artifact(idpEntity, 4)}},
		{"SAMLart": {artifact(idpEntity, 4)}, "RelayState": {state, state}},
	} {
		_, err = p.Finish(t.Context(), provider.Callback{URL: acs, Data: data, Params: params})
		wantKind(t, err, provider.Invalid)
	}
}

func TestUnsolicited(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.Unsolicited = map[string]string{"": "/", "reports": "/reports?x=y"}
	limit := 30 * time.Minute
	recent, strong := cfg, cfg
	recent.MaxAge, strong.AuthnContextClasses = &limit, []string{"urn:x:strong"}
	bare := func(r *etree.Element) {
		r.RemoveAttr("InResponseTo")
		r.FindElement(".//saml:SubjectConfirmationData").RemoveAttr("InResponseTo")
	}
	hourOld := func(r *etree.Element) {
		bare(r)
		r.FindElement(".//saml:AuthnStatement").CreateAttr("AuthnInstant", stamp(epoch.Add(-time.Hour)))
	}
	answer := func(edit func(*etree.Element), relayState ...string) provider.Callback {
		f := newForge("_x")
		f.signed, f.edit = "ra", edit
		cb := posted(f.response(t))
		delete(cb.Params, "RelayState")
		if len(relayState) > 0 {
			cb.Params["RelayState"] = relayState
		}
		return cb
	}
	tests := []struct {
		name   string
		cfg    saml.Config
		cb     provider.Callback
		target string
		want   string
	}{
		{"without RelayState", cfg, answer(bare), "/", ""},
		{"with one", cfg, answer(bare, "reports"), "/reports?x=y", ""},
		{"switched off", config(), answer(bare), "", "nobody asked for"},
		{"another RelayState", cfg, answer(bare, "https://evil.example/"), "", "RelayState"},
		{"two", cfg, answer(bare, "reports", ""), "", "2 times"},
		{"somebody else's answer to a request", cfg, answer(nil), "", "there was none"},
		{"an empty request", cfg, answer(func(r *etree.Element) {
			bare(r)
			r.FindElement(".//saml:SubjectConfirmationData").CreateAttr("InResponseTo", "")
		}), "", "there was none"},
		{"of an old session there", cfg, answer(hourOld), "/", ""},
		{"of an old session there, against MaxAge", recent, answer(hourOld), "", "MaxAge"},
		{"by a class that is not wanted", strong, answer(bare), "", "not what was asked for"},
		{"for another", cfg, answer(func(r *etree.Element) {
			bare(r)
			r.FindElement(".//saml:SubjectConfirmationData").CreateAttr("Recipient", "https://broker.example/id/broker/y/endpoint")
		}), "", "recipient"},
	}
	for _, test := range tests {
		identity, target, err := newProvider(t, test.cfg).FinishUnsolicited(t.Context(), test.cb)
		if test.want != "" {
			if _, ok := errors.AsType[*provider.Error](err); identity != nil || !ok || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %+v, %v, want an error with %q", test.name, identity, err, test.want)
			}
			continue
		}
		if err != nil || identity.Subject != "alice-1" || identity.Once == nil || target != test.target {
			t.Errorf("%s: %+v, %q, %v", test.name, identity, target, err)
		}
	}
	// What nobody asked for is no answer to somebody who asked.
	p := newProvider(t, cfg)
	data, _ := begin(t, p, provider.Request{})
	cb := answer(bare)
	cb.Data = data
	identity, err := p.Finish(t.Context(), cb)
	refused(t, identity, err, "which request")
}
