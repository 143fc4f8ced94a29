package providertest

import (
	"bytes"
	"cmp"
	"compress/flate"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

const samlMaxAge = 5 * time.Minute // of a message

// A samlInbound is a message that arrived.
type samlInbound struct {
	binding    string // the last part of its name
	text       string
	root       *etree.Element
	relayState string
	covered    string // of a signed query
	sigAlg     string
	signature  []byte
}

// receiveSAML reads a message by HTTP-Redirect or HTTP-POST (SAML Bindings §3.4, §3.5). What it returns is not nil even
// with an error.
func receiveSAML(r *http.Request) (*samlInbound, error) {
	m := &samlInbound{binding: "HTTP-POST"}
	name, form := "SAMLRequest", r.URL.Query()
	if r.Method == http.MethodPost {
		if err := r.ParseForm(); err != nil {
			return m, err
		}
		form = r.PostForm
	} else {
		m.binding = "HTTP-Redirect"
	}
	if form.Has("SAMLResponse") {
		name = "SAMLResponse"
	}
	for _, parameter := range []string{"SAMLRequest", "SAMLResponse", "RelayState", "SigAlg", "Signature"} {
		if len(form[parameter]) > 1 {
			return m, fmt.Errorf("%s is there more than once", parameter)
		}
	}
	m.relayState = form.Get("RelayState")
	data, err := base64.StdEncoding.DecodeString(form.Get(name))
	if err != nil || len(data) == 0 {
		return m, fmt.Errorf("%s is missing or no base64", name)
	}
	if m.binding == "HTTP-Redirect" {
		if data, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data)), 1<<20)); err != nil {
			return m, fmt.Errorf("inflate: %w", err)
		}
		m.coverQuery(r.URL.RawQuery, name, form)
	}
	m.text = string(data)
	m.root, err = readXML(m.text)
	return m, err
}

// coverQuery finds the octets that were signed (SAML Bindings §3.4.4.1): the parameters as they were sent.
func (m *samlInbound) coverQuery(raw, name string, form url.Values) {
	sent := map[string]string{}
	for part := range strings.SplitSeq(raw, "&") {
		key, value, _ := strings.Cut(part, "=")
		sent[key] = value
	}
	m.covered = name + "=" + sent[name]
	if form.Has("RelayState") {
		m.covered += "&RelayState=" + sent["RelayState"]
	}
	m.covered += "&SigAlg=" + sent["SigAlg"]
	m.sigAlg = form.Get("SigAlg")
	m.signature, _ = base64.StdEncoding.DecodeString(form.Get("Signature")) // nothing is no signature either
}

// verify checks the signature, by the query or enveloped.
func (m *samlInbound) verify(certs []*x509.Certificate) error {
	switch {
	case m.binding != "HTTP-Redirect":
		return verifyEnveloped(m.root, certs)
	case child(m.root, "Signature") != nil:
		return errors.New("an enveloped signature in a query (SAML Bindings §3.4.4.1)")
	case m.sigAlg == "":
		return errors.New("no signature")
	}
	return verifyValue(certs, m.sigAlg, []byte(m.covered), m.signature)
}

// sender checks what holds of all messages to this provider, and returns from whom it is.
func (i *SAML) sender(m *samlInbound, tag, at string, mustSign bool) (sp SAMLServiceProvider, err error) {
	e := m.root
	if e.Tag != tag || e.NamespaceURI() != samlProtocolNS {
		return sp, fmt.Errorf("a %s in place of a %s", e.Tag, tag)
	}
	issuer, err := onlyChild(e, samlAssertionNS, "Issuer")
	if err != nil {
		return sp, err
	}
	sp, ok := i.sp(issuer.Text())
	if !ok {
		return sp, fmt.Errorf("no service provider %q is registered", issuer.Text())
	}
	signed := len(m.signature) > 0 || child(e, "Signature") != nil
	if mustSign || signed {
		if err := m.verify(sp.Certificates); err != nil {
			return sp, err
		}
	}
	id := e.SelectAttrValue("ID", "")
	issued, err := time.Parse(time.RFC3339, e.SelectAttrValue("IssueInstant", ""))
	age := i.cfg.Now().Sub(issued)
	switch {
	case e.SelectAttrValue("Version", "") != "2.0":
		return sp, errors.New("Version is not 2.0")
	case err != nil || !strings.HasSuffix(e.SelectAttrValue("IssueInstant", ""), "Z"):
		return sp, errors.New("IssueInstant is no time in UTC (SAML Core §1.3.3)")
	case age > samlMaxAge || age < -samlMaxAge:
		return sp, errors.New("IssueInstant is too far from now")
	case e.SelectAttrValue("Destination", "") != at && (signed || e.SelectAttr("Destination") != nil):
		return sp, fmt.Errorf("Destination is %q, want %q", e.SelectAttrValue("Destination", ""), at)
	case id == "" || id[0] >= '0' && id[0] <= '9' || strings.ContainsAny(id, " :"):
		return sp, fmt.Errorf("ID %q is none (xs:ID)", id)
	case len(m.relayState) > 80:
		return sp, errors.New("RelayState has more than 80 bytes (SAML Bindings §3.4.3)")
	}
	return sp, i.once(sp.EntityID + " " + id)
}

// once refuses an id that was there before.
func (i *SAML) once(id string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.seen[id] {
		return errors.New("a message with this ID was there before")
	}
	prune(i.seen)
	i.seen[id] = true
	return nil
}

// A samlLogin is a request that is to be answered.
type samlLogin struct {
	sp         SAMLServiceProvider
	id         string // of the request; "" if there was none
	acs        string
	binding    string // of the answer
	relayState string
	format     string // of the NameID that is asked for
	force      bool
	passive    bool
	hint       string
	class      string
}

// sso is the single sign-on service.
func (i *SAML) sso(w http.ResponseWriter, r *http.Request) {
	m, err := receiveSAML(r)
	var l *samlLogin
	if err == nil {
		l, err = i.authnRequest(m)
	}
	i.note(m, err)
	if err != nil {
		i.failPage(w, http.StatusBadRequest, err.Error())
		return
	}
	i.begin(w, r, l)
}

// authnRequest checks a request (SAML Core §3.4.1, Profiles §4.1.4.1).
func (i *SAML) authnRequest(m *samlInbound) (*samlLogin, error) {
	e := m.root
	mustSign := false
	if issuer := child(e, "Issuer"); issuer != nil {
		sp, _ := i.sp(issuer.Text())
		mustSign = len(sp.Certificates) > 0 && !i.cfg.LaxRequests
	}
	sp, err := i.sender(m, "AuthnRequest", i.SSO(), mustSign)
	if err != nil {
		return nil, err
	}
	l := &samlLogin{sp: sp, id: e.SelectAttrValue("ID", ""), relayState: m.relayState,
		acs: e.SelectAttrValue("AssertionConsumerServiceURL", sp.ACS[0]), binding: "HTTP-POST", class: "PasswordProtectedTransport"}
	if !slices.Contains(sp.ACS, l.acs) {
		return nil, fmt.Errorf("AssertionConsumerServiceURL %q is not registered", l.acs)
	}
	if binding := e.SelectAttrValue("ProtocolBinding", ""); binding != "" {
		l.binding = strings.TrimPrefix(binding, samlBinding)
		if !slices.Contains([]string{"HTTP-POST", "HTTP-Redirect", "HTTP-Artifact"}, l.binding) {
			return nil, fmt.Errorf("ProtocolBinding %q", binding)
		}
	}
	if policy := child(e, "NameIDPolicy"); policy != nil {
		l.format = policy.SelectAttrValue("Format", "")
	}
	if subject := e.FindElement("./Subject/NameID"); subject != nil {
		l.hint = strings.TrimSpace(subject.Text())
	}
	if class := e.FindElement("./RequestedAuthnContext/AuthnContextClassRef"); class != nil {
		l.class = strings.TrimPrefix(class.Text(), "urn:oasis:names:tc:SAML:2.0:ac:classes:")
	}
	l.force = xsBool(e.SelectAttrValue("ForceAuthn", ""))
	l.passive = xsBool(e.SelectAttrValue("IsPassive", ""))
	return l, nil
}

func xsBool(s string) bool { return s == "true" || s == "1" }

// begin answers at once if it can, or shows the page.
func (i *SAML) begin(w http.ResponseWriter, r *http.Request, l *samlLogin) {
	i.mu.Lock()
	auto, users := i.auto, slices.Clone(i.users)
	i.mu.Unlock()
	s := i.session(r)
	hinted, hint := findUser(users, l.hint)
	switch user, ok := findUser(users, auto); {
	case ok && !l.passive:
		if hint {
			user = hinted
		}
		i.enter(w, r, l, user)
	case s != nil && !l.force && (!hint || hinted.Subject == s.user.Subject):
		i.answer(w, l, s)
	case l.passive:
		i.refuse(w, l, "Responder", "NoPassive")
	default:
		id := samlSecret()
		i.mu.Lock()
		prune(i.logins)
		i.logins[id] = l
		i.mu.Unlock()
		http.Redirect(w, r, i.cfg.URL+"/login?"+url.Values{"id": {id}}.Encode(), http.StatusSeeOther)
	}
}

// start begins a login that no service provider asked for.
func (i *SAML) start(w http.ResponseWriter, r *http.Request) {
	sp, ok := i.sp(r.URL.Query().Get("sp"))
	if !ok {
		i.failPage(w, http.StatusBadRequest, "There is no such service provider.")
		return
	}
	i.begin(w, r, &samlLogin{sp: sp, acs: sp.ACS[0], binding: "HTTP-POST", relayState: r.URL.Query().Get("target"), class: "PasswordProtectedTransport"})
}

// login is the page, and takes what was clicked on it.
func (i *SAML) login(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("id")
	i.mu.Lock()
	l, users := i.logins[id], slices.Clone(i.users)
	i.mu.Unlock()
	if l == nil {
		i.failPage(w, http.StatusBadRequest, "There is no such login, or it is over.")
		return
	}
	if r.Method != http.MethodPost {
		p := page{Kind: "login", Client: cmp.Or(l.sp.Name, l.sp.EntityID), Action: "?" + url.Values{"id": {id}}.Encode()}
		for _, u := range users {
			shown := u.onPage()
			shown.Hinted = l.hint != "" && (l.hint == u.Subject || l.hint == u.Username || l.hint == u.Email)
			p.Users = append(p.Users, shown)
		}
		i.look.render(w, http.StatusOK, p)
		return
	}
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		i.failPage(w, http.StatusForbidden, "This choice was made on another site's page.")
		return
	}
	user, ok := i.user(r.PostFormValue("user"))
	if !ok && !r.PostForm.Has("refuse") {
		i.failPage(w, http.StatusBadRequest, "There is no such user.")
		return
	}
	i.mu.Lock()
	delete(i.logins, id)
	i.mu.Unlock()
	if !ok {
		i.refuse(w, l, "Responder", "RequestDenied")
		return
	}
	i.enter(w, r, l, user)
}
