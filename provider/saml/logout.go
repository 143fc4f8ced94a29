package saml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
)

var (
	_ provider.LogoutStarter  = (*Provider)(nil)
	_ provider.LogoutReceiver = (*Provider)(nil)
	_ provider.LogoutAnswerer = (*Provider)(nil)
)

const (
	logoutLifetime = 10 * time.Minute // of a request, which waits on a page until somebody clicks
	maxSessions    = 50
	maxRelayState  = 1024 // more than the 80 bytes that SAML allows, as it is not ours
)

// A parting is what has to be remembered between BeginLogout and FinishLogout.
type parting struct {
	Request string `json:"i"` // id of the LogoutRequest
}

// BeginLogout sends the browser to the single logout service (SAML Profiles §4.4), or nowhere if the identity provider has
// none, or there is nothing by which it would know whose session is meant, or no key to sign the request with.
func (p *Provider) BeginLogout(ctx context.Context, r provider.LogoutRequest) (*provider.Redirect, error) {
	name := p.nameOf(r)
	if p.signingKey() == nil || name == nil {
		return nil, nil
	}
	up, err := p.upstream(ctx)
	if err != nil {
		return nil, err
	}
	to, binding, err := up.logout(p.cfg.LogoutBinding)
	if err != nil {
		return nil, nil //nolint:nilerr // there is nowhere to go
	}
	m := p.newMessage("LogoutRequest", to.location)
	m.root.CreateAttr("NotOnOrAfter", p.now().Add(logoutLifetime).UTC().Format(time.RFC3339))
	m.root.CreateAttr("Reason", "urn:oasis:names:tc:SAML:2.0:logout:user")
	e := m.root.CreateElement("saml:NameID")
	for _, a := range []struct{ name, value string }{
		{"Format", name.Format}, {"NameQualifier", name.NameQualifier}, {"SPNameQualifier", name.SPNameQualifier},
	} {
		if a.value != "" {
			e.CreateAttr(a.name, a.value)
		}
	}
	e.SetText(name.Value)
	if r.Session != "" {
		m.root.CreateElement("samlp:SessionIndex").SetText(r.Session)
	}
	redirect, err := p.send("SAMLRequest", to.location, binding, m, r.State)
	if err != nil {
		return nil, fail(provider.Misconfigured, "sign logout request: %w", err)
	}
	redirect.PostBack = true
	if redirect.Data, err = json.Marshal(parting{m.id}); err != nil {
		return nil, fail(provider.Invalid, "begin logout: %w", err)
	}
	return redirect, nil
}

// nameOf returns the name by which the identity provider knows whose session is meant, nil if that is not known.
func (p *Provider) nameOf(r provider.LogoutRequest) *nameID {
	var name nameID
	switch {
	case r.IDToken != "" && json.Unmarshal([]byte(r.IDToken), &name) == nil && name.Value != "":
		return &name
	case r.Subject != "" && !p.subjectFromAttribute():
		name = nameID{Value: r.Subject}
		if p.cfg.NameIDFormat != NameIDUnspecified {
			name.Format = string(p.cfg.NameIDFormat)
		}
		return &name
	}
	return nil
}

// ReceiveLogout verifies a LogoutRequest (SAML Profiles §4.4.3.2), which must be signed, say that it is for where it
// arrived, and be of now. It names a session, a NameID, or both. Where the NameID does not say who it is
// (Config.SubjectAttribute), a request that names no session cannot be carried out.
func (p *Provider) ReceiveLogout(ctx context.Context, m provider.LogoutMessage) (*provider.Logout, error) {
	in, err := receive("SAMLRequest", m.URL, m.Params, HTTPPost, HTTPRedirect)
	if err != nil {
		return nil, fail(provider.Invalid, "logout request: %w", err)
	}
	var l *provider.Logout
	err = p.withKeys(ctx, func(up *upstream) error {
		e, h, err := p.openLogout(up, in, "LogoutRequest", m.URL)
		if err != nil {
			return err
		}
		l, err = p.readLogout(e, h)
		return err
	})
	if err != nil {
		return nil, invalid("logout request", err)
	}
	l.State = in.relayState
	return l, nil
}

// openLogout checks what holds of each message about logout, and returns the one that was signed.
func (p *Provider) openLogout(up *upstream, in *inbound, tag, at string) (*etree.Element, *header, error) {
	e, err := p.signedMessage(up, in)
	if err != nil {
		return nil, nil, err
	}
	if !is(e, nsProtocol, tag) {
		return nil, nil, fmt.Errorf("it is a %s", quote(e.Tag))
	}
	h, err := readHeader(e)
	if err != nil {
		return nil, nil, err
	}
	if h.issuer != up.entityID {
		return nil, nil, fmt.Errorf("issuer is %s, want %q", quote(h.issuer), up.entityID)
	}
	if err := p.checkIssued(h.issued); err != nil {
		return nil, nil, err
	}
	at, _, _ = strings.Cut(at, "?")
	return e, &h, h.checkDestination(at, true)
}

// signedMessage returns a message as its signature covers it: one over the query, or its own.
func (p *Provider) signedMessage(up *upstream, in *inbound) (*etree.Element, error) {
	keys, err := p.keys(up)
	if err != nil {
		return nil, err
	}
	if in.detached != nil {
		if err := in.detached.verify(keys); err != nil {
			return nil, err
		}
		return parse(in.data, ofMessage)
	}
	e, err := parse(in.data, ofMessage)
	if err != nil {
		return nil, err
	}
	if !hasSignature(e) {
		return nil, errors.New("it is not signed")
	}
	return verified(e, keys, ofMessage)
}

func (p *Provider) readLogout(e *etree.Element, h *header) (*provider.Logout, error) {
	until, _, err := instant(e, "NotOnOrAfter")
	if err != nil {
		return nil, err
	}
	if err := p.checkTimes(time.Time{}, until); err != nil {
		return nil, err
	}
	l := &provider.Logout{Issuer: h.issuer, ID: h.id, Expires: p.usableUntil(h.issued)}
	name, err := p.nameIDIn(e)
	if err != nil {
		return nil, err
	}
	if name != nil && !p.subjectFromAttribute() {
		l.Subject = name.Value
	}
	sessions := all(e, nsProtocol, "SessionIndex")
	if len(sessions) > maxSessions {
		return nil, errors.New("too many sessions")
	}
	for _, s := range sessions {
		session, err := text(s)
		if err != nil {
			return nil, err
		}
		if l.Session == "" {
			l.Session = session
		} else {
			l.MoreSessions = append(l.MoreSessions, session)
		}
	}
	if l.Subject == "" && l.Session == "" {
		return nil, errors.New("it names neither a session nor a subject")
	}
	return l, nil
}

// AnswerLogout sends the browser back with a LogoutResponse.
func (p *Provider) AnswerLogout(ctx context.Context, l *provider.Logout, done bool) (*provider.Redirect, error) {
	if p.signingKey() == nil {
		return nil, fail(provider.Misconfigured, "answer logout: there are no SigningKeys")
	}
	up, err := p.upstream(ctx)
	if err != nil {
		return nil, err
	}
	to, binding, err := up.logout(p.cfg.LogoutBinding)
	if err != nil {
		return nil, fail(provider.Misconfigured, "answer logout: the identity provider has no single logout service")
	}
	m := p.newMessage("LogoutResponse", to.response)
	m.root.CreateAttr("InResponseTo", l.ID)
	code := "Success"
	if !done {
		code = "Responder"
	}
	m.root.CreateElement("samlp:Status").CreateElement("samlp:StatusCode").CreateAttr("Value", statusPrefix+code)
	state := l.State
	if len(state) > maxRelayState {
		state = ""
	}
	redirect, err := p.send("SAMLResponse", to.response, binding, m, state)
	if err != nil {
		return nil, fail(provider.Misconfigured, "sign logout response: %w", err)
	}
	return redirect, nil
}

// FinishLogout verifies the LogoutResponse that a browser brings back, and returns an error too if the identity provider
// says that it, or another of its service providers, has not signed the user out.
func (p *Provider) FinishLogout(ctx context.Context, cb provider.Callback) error {
	var begun parting
	if err := json.Unmarshal(cb.Data, &begun); err != nil || begun.Request == "" {
		return fail(provider.Invalid, "the data of the logout is not what BeginLogout returned")
	}
	in, err := receive("SAMLResponse", cb.URL, cb.Params, HTTPPost, HTTPRedirect)
	if err != nil {
		return fail(provider.Invalid, "logout response: %w", err)
	}
	err = p.withKeys(ctx, func(up *upstream) error {
		e, h, err := p.openLogout(up, in, "LogoutResponse", cb.URL)
		if err != nil {
			return err
		}
		if err := checkRequest(h.inResponseTo, begun.Request); err != nil {
			return err
		}
		s, err := readStatus(e)
		if err != nil {
			return err
		}
		if s.sub == "PartialLogout" {
			return fail(provider.Unavailable, "not everybody was told (PartialLogout)")
		}
		return s.err()
	})
	if err != nil {
		return invalid("logout response", err)
	}
	return nil
}
