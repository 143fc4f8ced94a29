package providertest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// A samlParting is a logout that goes from one service provider to the next.
type samlParting struct {
	index   string
	left    []samlParticipant
	pending string // id of the LogoutRequest that is out
	// answer is what the service provider gets that asked for the logout; nil if the user did, here.
	answer *samlAnswer
	failed bool
}

type samlAnswer struct {
	sp             SAMLServiceProvider
	id, relayState string
}

// logout is the page on which a user signs out everywhere.
func (i *SAML) logout(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie(i.cookie)
	p := &samlParting{}
	if err == nil {
		i.mu.Lock()
		if s := i.sessions[cookie.Value]; s != nil {
			p.index, p.left = s.index, slices.Clone(s.sps)
		}
		delete(i.sessions, cookie.Value)
		i.mu.Unlock()
		http.SetCookie(w, &http.Cookie{Name: i.cookie, Path: "/", MaxAge: -1})
	}
	i.part(w, p)
}

// slo is the single logout service: a service provider asks for a logout, or answers that it is done.
func (i *SAML) slo(w http.ResponseWriter, r *http.Request) {
	m, err := receiveSAML(r)
	var p *samlParting
	if err == nil && m.root.Tag == "LogoutResponse" {
		p, err = i.logoutResponse(m)
	} else if err == nil {
		p, err = i.logoutRequest(m)
	}
	i.note(m, err)
	if err != nil {
		i.failPage(w, http.StatusBadRequest, err.Error())
		return
	}
	i.part(w, p)
}

// logoutRequest ends the session that a service provider names (SAML Core §3.7.1).
func (i *SAML) logoutRequest(m *samlInbound) (*samlParting, error) {
	sp, err := i.sender(m, "LogoutRequest", i.SLO(), true)
	if err != nil {
		return nil, err
	}
	if until := m.root.SelectAttrValue("NotOnOrAfter", ""); until != "" {
		if at, err := time.Parse(time.RFC3339, until); err != nil || !i.cfg.Now().Before(at) {
			return nil, errors.New("NotOnOrAfter has passed")
		}
	}
	name, err := onlyChild(m.root, samlAssertionNS, "NameID")
	if err != nil {
		return nil, err
	}
	var indexes []string
	for _, e := range m.root.FindElements("./SessionIndex") {
		indexes = append(indexes, e.Text())
	}
	p := &samlParting{answer: &samlAnswer{sp, m.root.SelectAttrValue("ID", ""), m.relayState}}
	i.mu.Lock()
	defer i.mu.Unlock()
	for cookie, s := range i.sessions {
		if !s.knows(sp.EntityID, name) || len(indexes) > 0 && !slices.Contains(indexes, s.index) {
			continue
		}
		p.index = s.index
		for _, other := range s.sps {
			if other.entityID != sp.EntityID {
				p.left = append(p.left, other)
			}
		}
		delete(i.sessions, cookie)
	}
	return p, nil
}

// knows reports whether a service provider knows the user of s by this name.
func (s *samlSession) knows(entityID string, name *etree.Element) bool {
	return slices.ContainsFunc(s.sps, func(p samlParticipant) bool {
		e, err := readXML(p.nameID)
		if err != nil || p.entityID != entityID || e.Text() != name.Text() {
			return false
		}
		for _, attr := range []string{"Format", "NameQualifier", "SPNameQualifier"} {
			if e.SelectAttrValue(attr, "") != name.SelectAttrValue(attr, "") {
				return false
			}
		}
		return true
	})
}

// logoutResponse goes on with the logout that it belongs to.
func (i *SAML) logoutResponse(m *samlInbound) (*samlParting, error) {
	if _, err := i.sender(m, "LogoutResponse", i.SLO(), true); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	p := i.partings[m.relayState]
	if p == nil || p.pending != m.root.SelectAttrValue("InResponseTo", "") {
		return nil, errors.New("it answers no request")
	}
	delete(i.partings, m.relayState)
	status := m.root.FindElement("./Status/StatusCode")
	p.failed = p.failed || status == nil || status.SelectAttrValue("Value", "") != samlStatus+"Success"
	return p, nil
}

// part tells the next service provider, or whoever began it that it is over.
func (i *SAML) part(w http.ResponseWriter, p *samlParting) {
	for len(p.left) > 0 {
		next := p.left[0]
		p.left = p.left[1:]
		sp, ok := i.sp(next.entityID)
		if !ok || sp.Logout == "" {
			continue
		}
		p.left = slices.DeleteFunc(p.left, func(o samlParticipant) bool { return o == next })
		id, relayState := xmlID(), samlSecret()
		p.pending = id
		i.mu.Lock()
		prune(i.partings)
		i.partings[relayState] = p
		i.mu.Unlock()
		i.sendLogout(w, sp, "SAMLRequest", i.logoutRequestXML(sp, id, next.nameID, p.index), relayState)
		return
	}
	if p.answer == nil || p.answer.sp.Logout == "" {
		i.look.render(w, http.StatusOK, page{Kind: "signed out"})
		return
	}
	status := `<samlp:StatusCode Value="` + samlStatus + `Success"/>`
	if p.failed {
		status = `<samlp:StatusCode Value="` + samlStatus + `Responder"><samlp:StatusCode Value="` + samlStatus + `PartialLogout"/></samlp:StatusCode>`
	}
	i.sendLogout(w, p.answer.sp, "SAMLResponse", i.logoutXML("LogoutResponse", p.answer.sp.Logout, xmlID(),
		` InResponseTo="`+esc(p.answer.id)+`"`, `<samlp:Status>`+status+`</samlp:Status>`), p.answer.relayState)
}

func (i *SAML) logoutRequestXML(sp SAMLServiceProvider, id, nameID, index string) string {
	if index != "" && !i.cfg.OmitSessionIndex {
		nameID += `<samlp:SessionIndex>` + esc(index) + `</samlp:SessionIndex>`
	}
	return i.logoutXML("LogoutRequest", sp.Logout, id, ` NotOnOrAfter="`+xmlTime(i.cfg.Now().Add(samlMaxAge))+`"`, nameID)
}

func (i *SAML) logoutXML(tag, to, id, attributes, content string) string {
	return fmt.Sprintf(`<samlp:%[1]s xmlns:samlp="%[2]s" ID="%[3]s" Version="2.0" IssueInstant="%[4]s" Destination="%[5]s"%[6]s>`+
		`<saml:Issuer xmlns:saml="%[7]s">%[8]s</saml:Issuer>%[9]s</samlp:%[1]s>`,
		tag, samlProtocolNS, id, xmlTime(i.cfg.Now()), esc(to), attributes, samlAssertionNS, esc(i.EntityID()), content)
}

// sendLogout signs a message and sends it by the binding of the service provider.
func (i *SAML) sendLogout(w http.ResponseWriter, sp SAMLServiceProvider, name, text, relayState string) {
	if !sp.LogoutByPost {
		i.redirect(w, sp.Logout, name, text, relayState)
		return
	}
	signed, err := i.signer().signed(text)
	if err != nil {
		i.failPage(w, http.StatusInternalServerError, err.Error())
		return
	}
	form := url.Values{name: {base64.StdEncoding.EncodeToString([]byte(signed))}}
	if relayState != "" {
		form.Set("RelayState", relayState)
	}
	i.look.render(w, http.StatusOK, page{Kind: "post", Action: sp.Logout, Fields: form})
}

// signed returns a document with an enveloped signature.
func (s signing) signed(text string) (string, error) {
	root, err := readXML(text)
	if err != nil {
		return "", err
	}
	if err := s.envelop(root); err != nil {
		return "", err
	}
	return writeXML(root), nil
}

// metadata is the provider's description (SAML Metadata §2.4.3).
func (i *SAML) metadata(w http.ResponseWriter, _ *http.Request) {
	text, err := i.Metadata()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	fmt.Fprint(w, text)
}

// Metadata returns the metadata as it is published.
func (i *SAML) Metadata() (string, error) {
	validity := ` ID="` + xmlID() + `" validUntil="` + xmlTime(i.cfg.Now().Add(24*time.Hour)) + `" cacheDuration="PT1H"`
	own := validity
	if i.cfg.Federation {
		own = ""
	}
	var keys strings.Builder
	for _, cert := range i.Certificates() {
		fmt.Fprintf(&keys, `<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="%s"><ds:X509Data><ds:X509Certificate>%s</ds:X509Certificate>`+
			`</ds:X509Data></ds:KeyInfo></md:KeyDescriptor>`, xmlSignatureNS, base64.StdEncoding.EncodeToString(cert.Raw))
	}
	endpoint := func(tag, binding, location, more string) string {
		return fmt.Sprintf(`<md:%s Binding="%s" Location="%s"%s/>`, tag, binding, esc(location), more)
	}
	text := `<md:EntityDescriptor xmlns:md="` + samlMetadataNS + `" entityID="` + esc(i.EntityID()) + `"` + own +
		`><md:IDPSSODescriptor WantAuthnRequestsSigned="false" protocolSupportEnumeration="` + samlProtocolNS + `">` + keys.String() +
		endpoint("ArtifactResolutionService", samlBinding+"SOAP", i.Artifacts(), ` index="0"`) +
		endpoint("SingleLogoutService", samlBinding+"HTTP-Redirect", i.SLO(), "") + endpoint("SingleLogoutService", samlBinding+"HTTP-POST", i.SLO(), "") +
		`<md:NameIDFormat>` + samlFormat20 + `persistent</md:NameIDFormat>` +
		endpoint("SingleSignOnService", samlBinding+"HTTP-Redirect", i.SSO(), "") + endpoint("SingleSignOnService", samlBinding+"HTTP-POST", i.SSO(), "") +
		`</md:IDPSSODescriptor></md:EntityDescriptor>`
	if i.cfg.Federation {
		other := strings.ReplaceAll(text, esc(i.cfg.URL), "https://other.example")
		text = `<md:EntitiesDescriptor xmlns:md="` + samlMetadataNS + `" Name="federation"` + validity + `>` + other + text + `</md:EntitiesDescriptor>`
	}
	if h := i.hook().Metadata; h != nil {
		text = h(text)
	}
	if !i.cfg.SignMetadata {
		return text, nil
	}
	return i.signer().signed(text)
}
