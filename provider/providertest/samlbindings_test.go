package providertest_test

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

// message is one of a service provider, signed.
func (n *naiveSP) message(tag, to, content string) (id, text string, err error) {
	id = "_" + rand26()
	root := etree.NewElement("samlp:" + tag)
	for _, a := range [][2]string{{"xmlns:samlp", "urn:oasis:names:tc:SAML:2.0:protocol"}, {"xmlns:saml", "urn:oasis:names:tc:SAML:2.0:assertion"},
		{"ID", id}, {"Version", "2.0"}, {"IssueInstant", time.Now().UTC().Format(time.RFC3339)}, {"Destination", to}} {
		root.CreateAttr(a[0], a[1])
	}
	root.CreateElement("saml:Issuer").SetText(samlSP)
	inner := etree.NewDocument()
	if err := inner.ReadFromString("<x>" + content + "</x>"); err != nil {
		return "", "", err
	}
	for _, e := range inner.Root().ChildElements() {
		root.AddChild(e)
	}
	signed, err := gosaml(n.idp).SignAuthnRequest(root)
	if err != nil {
		return "", "", err
	}
	doc := etree.NewDocument()
	doc.SetRoot(signed)
	text, err = doc.WriteToString()
	return id, text, err
}

// resolve has an artifact resolved and returns what came.
func (n *naiveSP) resolve(artifact string) (*etree.Element, error) {
	_, text, err := n.message("ArtifactResolve", n.idp.Artifacts(), `<samlp:Artifact>`+artifact+`</samlp:Artifact>`)
	if err != nil {
		return nil, err
	}
	soap := `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>` + text + `</s:Body></s:Envelope>`
	w := httptest.NewRecorder()
	n.idp.ServeHTTP(w, httptest.NewRequest(http.MethodPost, n.idp.Artifacts(), strings.NewReader(soap)))
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(w.Body.Bytes()); err != nil || doc.Root() == nil {
		return nil, fmt.Errorf("status %d: %w", w.Code, err)
	}
	answer := doc.Root().FindElement("./Body/ArtifactResponse")
	if answer == nil {
		return nil, errors.New("no answer")
	}
	return answer, nil
}

// queried checks the signature over a query in the way of the advisories: over the first values, encoded anew, while what is
// read is the last.
func (n *naiveSP) queried(at, name string) error {
	_, raw, _ := strings.Cut(at, "?")
	form, err := url.ParseQuery(raw)
	if err != nil {
		return err
	}
	covered := ""
	for _, parameter := range []string{name, "RelayState", "SigAlg"} {
		if form.Has(parameter) {
			covered += "&" + parameter + "=" + url.QueryEscape(form.Get(parameter))
		}
	}
	value, err := base64.StdEncoding.DecodeString(form.Get("Signature"))
	if err != nil {
		return err
	}
	h := crypto.SHA256.New()
	h.Write([]byte(covered[1:]))
	return rsa.VerifyPKCS1v15(n.idp.Certificates()[0].PublicKey.(*rsa.PublicKey), crypto.SHA256, h.Sum(nil), value)
}

// farewell takes a message about logout with the mistakes of the advisories.
func (n *naiveSP) farewell(name, answers, relayState, at string, form url.Values) error {
	byRedirect := form == nil
	if byRedirect {
		u, err := url.Parse(at)
		if err != nil {
			return err
		}
		form = u.Query()
	}
	values := form[name]
	if len(values) == 0 {
		return errors.New("nothing came")
	}
	data, err := base64.StdEncoding.DecodeString(values[len(values)-1])
	if err != nil {
		return err
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(inflated(data)); err != nil || doc.Root() == nil {
		return errors.New("no XML")
	}
	root := doc.Root()
	if !n.believes {
		if byRedirect {
			err = n.queried(at, name)
		} else if !n.signed(root) {
			err = errors.New("not signed")
		}
		if err != nil {
			return err
		}
	}
	if n.lax {
		return nil
	}
	issuer, status, who := root.FindElement("./Issuer"), root.FindElement("./Status/StatusCode"), root.FindElement("./NameID")
	switch {
	case issuer == nil || issuer.Text() != n.idp.EntityID():
		return errors.New("issuer")
	case root.SelectAttrValue("Destination", "") != sloAtSP:
		return errors.New("destination")
	case name == "SAMLRequest" && (who == nil || who.Text() != "victim-1"):
		return errors.New("somebody else")
	case name == "SAMLResponse" && (root.SelectAttrValue("InResponseTo", "") != answers || form.Get("RelayState") != relayState):
		return errors.New("another request")
	case name == "SAMLResponse" && (status == nil || !strings.HasSuffix(status.SelectAttrValue("Value", ""), ":Success")):
		return errors.New("status")
	}
	return nil
}

const sloAtSP = "https://sp.example/slo"

func rand26() string { return fmt.Sprintf("%026d", time.Now().UnixNano()) }

// Forgeries by HTTP-Redirect, by HTTP-Artifact and about logout are good ones, too: somebody falls for each. Those about how
// a signature covers fool one who checks signatures; lies fool one who checks nothing else.
func TestSAMLForgeriesByOtherBindingsAreGood(t *testing.T) {
	t.Parallel()
	// Nobody can read these, or gets an answer.
	hopeless := []string{"nothing", "no base64", "too short", "made up", "artifact: replayed", "resolved, too large", "resolved, none"}
	for prefix, tt := range map[string]struct {
		binding string
		least   int
	}{
		"redirect: ": {"HTTP-Redirect", 35}, "artifact: ": {"HTTP-Artifact", 35}, "logout: ": {"HTTP-POST", 50}, "logout answer: ": {"HTTP-POST", 50},
	} {
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			idp := newNaiveTarget(t)
			sp := func(n naiveSP) *naiveSP { n.idp, n.binding = idp, tt.binding; return &n }
			finds, lax := sp(naiveSP{}), sp(naiveSP{lax: true})
			naive := []*naiveSP{sp(naiveSP{believes: true}), sp(naiveSP{believes: true, last: true}), sp(naiveSP{believes: true, lax: true}), finds, lax}
			n := 0
			for _, f := range providertest.SAMLForgeries() {
				if !strings.HasPrefix(f.Name, prefix) {
					continue
				}
				n++
				name := strings.TrimPrefix(f.Name, prefix)
				replay := func(n *naiveSP) providertest.SAMLResult {
					return f.Replay(t, providertest.SAMLTarget{IdP: idp, Begin: n.begin})
				}
				if !slices.Contains(hopeless, name) && !slices.Contains(hopeless, f.Name) && !slices.ContainsFunc(naive, func(n *naiveSP) bool { return replay(n).Accepted }) {
					t.Errorf("%s: nobody falls for it", f.Name)
				}
				switch {
				case f.Genuine && !strings.Contains(name, "small letters"), strings.HasPrefix(name, "wrapped"),
					strings.HasPrefix(name, "another message behind the"), strings.HasPrefix(name, "escapes changed"):
					if got := replay(finds); !got.Accepted {
						t.Errorf("%s: who checks signatures refuses it: %v", f.Name, got.Err)
					}
				case strings.HasPrefix(name, "another"), strings.HasPrefix(name, "no "), strings.HasPrefix(name, "of "), name == "expired":
					if got := replay(lax); !got.Accepted && !strings.Contains(name, "message") && !strings.Contains(name, "RelayState") &&
						!strings.Contains(name, "algorithm") && !slices.Contains(hopeless, name) {
						t.Errorf("%s: who checks signatures only refuses it: %v", f.Name, got.Err)
					}
				}
			}
			if n < tt.least {
				t.Errorf("%d forgeries, want %d", n, tt.least)
			}
		})
	}
}

// What is left out is what does not fit the target.
func TestSAMLForgeriesLeftOut(t *testing.T) {
	t.Parallel()
	idp := newNaiveTarget(t)
	kinds := map[string]string{"redirect: genuine": "HTTP-Redirect", "artifact: genuine": "HTTP-Artifact", "genuine": "HTTP-POST"}
	for _, f := range providertest.SAMLForgeries() {
		want, ok := kinds[f.Name]
		if !ok {
			continue
		}
		for _, binding := range kinds {
			n := &naiveSP{idp: idp, believes: true, binding: binding}
			if got := f.Replay(t, providertest.SAMLTarget{IdP: idp, Begin: n.begin}); got.LeftOut != (binding != want) || got.Accepted == got.LeftOut {
				t.Errorf("%s at %s: %+v", f.Name, binding, got)
			}
		}
		delete(kinds, f.Name)
	}
	if len(kinds) > 0 {
		t.Errorf("there is no %v", kinds)
	}
}
