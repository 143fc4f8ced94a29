package saml

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/beevik/etree"
	saml2 "github.com/russellhaering/gosaml2"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/provider"
)

// A login is what has to be remembered between Begin and Finish. It is sealed by the broker.
type login struct {
	Request string   `json:"i"` // id of the AuthnRequest
	ACS     string   `json:"r"` // the redirect URI, which SAML calls AssertionConsumerService
	Begun   int64    `json:"t"` // Unix time
	Fresh   bool     `json:"f,omitempty"`
	Classes []string `json:"c,omitempty"` // one of which the answer must have
}

// parseLogin reads what Begin wrote. That it came back unchanged is the caller's promise.
func parseLogin(data []byte) (*login, error) {
	var l login
	if err := json.Unmarshal(data, &l); err != nil || l.Request == "" || l.ACS == "" || l.Begun <= 0 {
		return nil, fail(provider.Invalid, "the data of the login is not what Begin returned")
	}
	return &l, nil
}

// Begin says where to send the browser.
func (p *Provider) Begin(ctx context.Context, r provider.Request) (*provider.Redirect, error) {
	if r.RedirectURI == "" || r.State == "" {
		return nil, fail(provider.Misconfigured, "begin login: a redirect URI and a state are needed")
	}
	w, err := p.wishes(r)
	if err != nil {
		return nil, err
	}
	up, err := p.upstream(ctx)
	if err != nil {
		return nil, err
	}
	to, binding, err := up.signOn(p.cfg.RequestBinding)
	if err != nil {
		return nil, err
	}
	if up.wantsSigned && p.signingKey() == nil {
		return nil, fail(provider.Misconfigured, "begin login: the identity provider wants signed requests: set SigningKeys")
	}
	m, err := p.authnRequest(to, r, w)
	if err != nil {
		return nil, fail(provider.Misconfigured, "begin login: %w", err)
	}
	redirect, err := p.send("SAMLRequest", to, binding, m, r.State)
	if err != nil {
		return nil, fail(provider.Misconfigured, "sign request: %w", err)
	}
	l := login{Request: m.id, ACS: r.RedirectURI, Begun: p.now().Unix(), Fresh: w.fresh}
	if p.cfg.AuthnContextComparison == CompareExact {
		l.Classes = w.classes
	}
	if redirect.Data, err = json.Marshal(l); err != nil {
		return nil, fail(provider.Invalid, "begin login: %w", err)
	}
	redirect.PostBack = p.cfg.ResponseBinding != HTTPRedirect
	return redirect, nil
}

// wishes are what of the application's is passed on.
type wishes struct {
	passive bool
	fresh   bool
	classes []string
	hint    string
}

// wishes refuses an application that wants no page where that cannot be passed on, as it must not get one.
func (p *Provider) wishes(r provider.Request) (w wishes, err error) {
	w.fresh = p.cfg.ForceAuthn || r.MaxAge != nil && *r.MaxAge <= 0
	w.fresh = w.fresh || !p.cfg.IgnorePrompt && slices.Contains(r.Prompt, "login")
	if slices.Contains(r.Prompt, "none") {
		switch {
		case len(r.Prompt) > 1:
			return w, fail(provider.Invalid, "begin login: prompt none stands beside others")
		case !p.cfg.AcceptPromptNone:
			return w, fail(provider.LoginRequired, "begin login: the application wants no page, and this provider is not asked for that")
		}
		w.passive = true
	}
	w.classes = p.cfg.AuthnContextClasses
	if p.cfg.ForwardACRValues && len(r.ACRValues) > 0 {
		w.classes = r.ACRValues
	}
	if p.cfg.ForwardLoginHint {
		w.hint = r.LoginHint
	}
	return w, nil
}

// authnRequest builds the request (SAML Core §3.4.1).
func (p *Provider) authnRequest(to string, r provider.Request, w wishes) (*message, error) {
	sp := &saml2.SAMLServiceProvider{
		IdentityProviderSSOURL:      to,
		ServiceProviderIssuer:       p.cfg.EntityID,
		AssertionConsumerServiceURL: r.RedirectURI,
		ForceAuthn:                  w.fresh,
		IsPassive:                   w.passive,
		NameIdFormat:                string(p.cfg.NameIDFormat),
		Clock:                       dsig.NewFakeClockAt(p.now()),
	}
	if len(w.classes) > 0 {
		sp.RequestedAuthnContext = &saml2.RequestedAuthnContext{Comparison: string(p.cfg.AuthnContextComparison), Contexts: w.classes}
	}
	doc, err := sp.BuildAuthRequestDocumentNoSig()
	if err != nil {
		return nil, err
	}
	root := doc.Root()
	m := &message{root: root, id: newID()}
	root.CreateAttr("ID", m.id)
	root.CreateAttr("ProtocolBinding", string(p.cfg.ResponseBinding))
	if p.cfg.AttributeService != nil {
		root.CreateAttr("AttributeConsumingServiceIndex", strconv.Itoa(int(*p.cfg.AttributeService)))
	}
	policy, err := one(root, nsProtocol, "NameIDPolicy")
	if err != nil {
		return nil, err
	}
	policy.CreateAttr("AllowCreate", strconv.FormatBool(!p.cfg.DisallowCreate))
	if w.hint != "" {
		subject := etree.NewElement("saml:Subject")
		subject.CreateElement("saml:NameID").SetText(w.hint)
		root.InsertChildAt(policy.Index(), subject)
	}
	if len(p.cfg.AuthnContextDecls) > 0 {
		context := root.CreateElement("samlp:RequestedAuthnContext")
		context.CreateAttr("Comparison", string(p.cfg.AuthnContextComparison))
		for _, ref := range p.cfg.AuthnContextDecls {
			context.CreateElement("saml:AuthnContextDeclRef").SetText(ref)
		}
	}
	return m, nil
}

// A message is one of ours that goes out.
type message struct {
	root *etree.Element
	id   string
}

// newMessage begins one (SAML Core §3.2).
func (p *Provider) newMessage(tag, to string) *message {
	m := &message{root: etree.NewElement("samlp:" + tag), id: newID()}
	m.root.CreateAttr("xmlns:samlp", nsProtocol)
	m.root.CreateAttr("xmlns:saml", nsAssertion)
	m.root.CreateAttr("ID", m.id)
	m.root.CreateAttr("Version", "2.0")
	m.root.CreateAttr("IssueInstant", p.now().UTC().Format(time.RFC3339))
	m.root.CreateAttr("Destination", to)
	m.root.CreateElement("saml:Issuer").SetText(p.cfg.EntityID)
	return m
}

func (m *message) bytes() ([]byte, error) {
	doc := etree.NewDocument()
	doc.SetRoot(m.root)
	doc.WriteSettings = etree.WriteSettings{CanonicalAttrVal: true, CanonicalText: true}
	return doc.WriteToBytes()
}

// newID returns an id that begins as XML wants it.
func newID() string { return "_" + rand.Text() }
