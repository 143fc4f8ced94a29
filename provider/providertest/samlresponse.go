package providertest

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// A samlSession is what the provider remembers of a browser.
type samlSession struct {
	index string
	user  User
	since time.Time
	sps   []samlParticipant
}

// A samlParticipant was told of a session.
type samlParticipant struct {
	entityID string
	nameID   string // element
}

func (i *SAML) session(r *http.Request) *samlSession {
	cookie, err := r.Cookie(i.cookie)
	if err != nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sessions[cookie.Value]
}

// enter begins a session for a user who has just proved who they are, as far as this provider asks for proof.
func (i *SAML) enter(w http.ResponseWriter, r *http.Request, l *samlLogin, user User) {
	if user.Error != "" {
		i.refuse(w, l, "Responder", user.Error)
		return
	}
	s := &samlSession{index: xmlID(), user: user, since: i.cfg.Now()}
	value := samlSecret()
	i.mu.Lock()
	if old, err := r.Cookie(i.cookie); err == nil {
		if have := i.sessions[old.Value]; have != nil && have.user.Subject == user.Subject {
			s.index, s.sps = have.index, have.sps
		}
		delete(i.sessions, old.Value)
	}
	prune(i.sessions)
	i.sessions[value] = s
	i.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: i.cookie, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(i.cfg.URL, "https:")})
	i.answer(w, l, s)
}

func (i *SAML) answer(w http.ResponseWriter, l *samlLogin, s *samlSession) {
	out := i.outcome(l, s)
	if h := i.hook().Response; h != nil {
		out.text = h
	}
	i.mu.Lock()
	s.sps = append(s.sps, samlParticipant{l.sp.EntityID, out.nameID})
	i.mu.Unlock()
	text, err := out.document()
	if err != nil {
		i.failPage(w, http.StatusInternalServerError, err.Error())
		return
	}
	i.sendResponse(w, l, text)
}

// refuse answers with a status that is none of success (SAML Core §3.2.2.2).
func (i *SAML) refuse(w http.ResponseWriter, l *samlLogin, code, sub string) {
	out := i.outcome(l, &samlSession{since: i.cfg.Now()})
	out.status = code
	out.edit = func(response *etree.Element) {
		response.FindElement("./Status/StatusCode").CreateElement("samlp:StatusCode").CreateAttr("Value", samlStatus+sub)
		response.RemoveChild(child(response, "Assertion"))
	}
	out.sign, out.encrypt = SAMLSignResponse, false
	text, err := out.document()
	if err != nil {
		i.failPage(w, http.StatusInternalServerError, err.Error())
		return
	}
	i.sendResponse(w, l, text)
}

// A samlOutcome is a response in the making. Forgers change it at each of its stages.
type samlOutcome struct {
	login      *samlLogin
	issuer     string
	now        time.Time
	session    *samlSession
	index      string // SessionIndex; "" for none
	attributes []samlAttribute
	nameID     string // element
	status     string
	sign       SAMLSign // "" signs nothing
	signer     signing
	encrypt    bool
	text       func(string) string           // of the document, before all
	edit       func(response *etree.Element) // before anything is signed
	inner      func(response *etree.Element) // after the assertion was signed, before it is encrypted
	outer      func(response *etree.Element) // after all
}

func (i *SAML) outcome(l *samlLogin, s *samlSession) *samlOutcome {
	out := &samlOutcome{login: l, issuer: i.EntityID(), now: i.cfg.Now(), session: s, index: s.index, status: "Success",
		attributes: s.user.attributes(), nameID: i.nameID(l, s.user), sign: l.sp.Sign, signer: i.signer(), encrypt: l.sp.EncryptTo != nil}
	if i.cfg.OmitSessionIndex {
		out.index = ""
	}
	return out
}

// nameID names a user in the format that was asked for (SAML Core §8.3).
func (i *SAML) nameID(l *samlLogin, u User) string {
	format, value, qualified := samlFormat20+"persistent", u.Subject, true
	switch l.format {
	case samlFormat20 + "transient":
		format, value = l.format, xmlID()
	case samlFormat11 + "emailAddress":
		format, value, qualified = l.format, u.Email, false
	case samlFormat11 + "unspecified":
		format, value, qualified = l.format, u.Username, false
	}
	qualifiers := ""
	if qualified {
		qualifiers = ` NameQualifier="` + esc(i.EntityID()) + `" SPNameQualifier="` + esc(l.sp.EntityID) + `"`
	}
	return `<saml:NameID xmlns:saml="` + samlAssertionNS + `" Format="` + format + `"` + qualifiers + `>` + esc(value) + `</saml:NameID>`
}

// document makes the response: edited, signed, encrypted.
func (o *samlOutcome) document() (string, error) {
	text := o.template()
	if o.text != nil {
		text = o.text(text)
	}
	response, err := readXML(text)
	if err != nil {
		return "", err
	}
	if o.edit != nil {
		o.edit(response)
	}
	if a := child(response, "Assertion"); a != nil {
		if err := o.finish(response, a); err != nil {
			return "", err
		}
	}
	if o.sign == SAMLSignResponse || o.sign == SAMLSignBoth {
		if err := o.signer.envelop(response); err != nil {
			return "", err
		}
	}
	if o.outer != nil {
		o.outer(response)
	}
	return writeXML(response), nil
}

// finish signs and encrypts the assertion.
func (o *samlOutcome) finish(response, a *etree.Element) error {
	if o.sign == SAMLSignAssertion || o.sign == SAMLSignBoth {
		if err := o.signer.envelop(a); err != nil {
			return err
		}
	}
	if o.inner != nil {
		o.inner(response)
		if other := child(response, "Assertion"); other != nil {
			a = other
		}
	}
	if !o.encrypt || o.login.sp.EncryptTo == nil {
		return nil
	}
	text, err := o.login.sp.Encryption.element("EncryptedAssertion", writeXML(a), o.login.sp.EncryptTo)
	if err != nil {
		return err
	}
	encrypted, err := readXML(text)
	if err != nil {
		return err
	}
	response.InsertChildAt(a.Index(), encrypted)
	response.RemoveChild(a)
	return nil
}

func (o *samlOutcome) template() string {
	answers, index, statement := "", "", ""
	if o.login.id != "" {
		answers = ` InResponseTo="` + esc(o.login.id) + `"`
	}
	if o.index != "" {
		index = ` SessionIndex="` + o.index + `"`
	}
	for _, a := range o.attributes {
		statement += `<saml:Attribute Name="` + esc(a.name) + `" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic">`
		for _, v := range a.values {
			statement += `<saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ` +
				`xsi:type="xs:string">` + esc(v) + `</saml:AttributeValue>`
		}
		statement += `</saml:Attribute>`
	}
	if statement != "" {
		statement = `<saml:AttributeStatement>` + statement + `</saml:AttributeStatement>`
	}
	return strings.NewReplacer("{now}", xmlTime(o.now), "{soon}", xmlTime(o.now.Add(5*time.Minute)), "{before}", xmlTime(o.now.Add(-time.Minute)),
		"{since}", xmlTime(o.session.since), "{later}", xmlTime(o.now.Add(8*time.Hour)), "{acs}", esc(o.login.acs), "{answers}", answers,
		"{issuer}", esc(o.issuer), "{status}", samlStatus+o.status, "{nameid}", o.nameID, "{audience}", esc(o.login.sp.EntityID),
		"{index}", index, "{class}", esc(o.login.class), "{attributes}", statement, "{rid}", xmlID(), "{aid}", xmlID()).Replace(responseXML)
}

const responseXML = `<samlp:Response xmlns:samlp="` + samlProtocolNS + `" ID="{rid}" Version="2.0" IssueInstant="{now}" Destination="{acs}"{answers}>` +
	`<saml:Issuer xmlns:saml="` + samlAssertionNS + `">{issuer}</saml:Issuer><samlp:Status><samlp:StatusCode Value="{status}"/></samlp:Status>` +
	`<saml:Assertion xmlns:saml="` + samlAssertionNS + `" ID="{aid}" Version="2.0" IssueInstant="{now}"><saml:Issuer>{issuer}</saml:Issuer>` +
	`<saml:Subject>{nameid}<saml:SubjectConfirmation Method="` + samlBearer + `"><saml:SubjectConfirmationData Recipient="{acs}" NotOnOrAfter="{soon}"{answers}/>` +
	`</saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="{before}" NotOnOrAfter="{soon}"><saml:AudienceRestriction><saml:Audience>{audience}` +
	`</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="{since}"{index} SessionNotOnOrAfter="{later}"><saml:AuthnContext>` +
	`<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:{class}</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>{attributes}` +
	`</saml:Assertion></samlp:Response>`

// sendResponse sends a response by the binding that was asked for.
func (i *SAML) sendResponse(w http.ResponseWriter, l *samlLogin, text string) {
	form := url.Values{}
	if l.relayState != "" {
		form.Set("RelayState", l.relayState)
	}
	switch l.binding {
	case "HTTP-Redirect":
		i.redirect(w, l.acs, "SAMLResponse", text, l.relayState)
	case "HTTP-Artifact":
		form.Set("SAMLart", i.artifact(samlArtifact{entityID: l.sp.EntityID, text: text}))
		w.Header().Set("Location", withQuery(l.acs, form))
		w.WriteHeader(http.StatusSeeOther)
	default:
		form.Set("SAMLResponse", base64.StdEncoding.EncodeToString([]byte(text)))
		i.look.render(w, http.StatusOK, page{Kind: "post", Action: l.acs, Fields: form})
	}
}

// redirect sends a message with a signature over the query.
func (i *SAML) redirect(w http.ResponseWriter, to, name, text, relayState string) {
	query, err := i.signer().query(name, text, relayState)
	if err != nil {
		i.failPage(w, http.StatusInternalServerError, err.Error())
		return
	}
	separator := "?"
	if strings.Contains(to, "?") {
		separator = "&"
	}
	w.Header().Set("Location", to+separator+query)
	w.WriteHeader(http.StatusSeeOther)
}

// query is a message for HTTP-Redirect (SAML Bindings §3.4.4.1), whose own signature, if it has one, is removed.
func (s signing) query(name, text, relayState string) (string, error) {
	root, err := readXML(text)
	if err != nil {
		return "", err
	}
	if sig := child(root, "Signature"); sig != nil {
		root.RemoveChild(sig)
	}
	query := name + "=" + url.QueryEscape(deflate64(writeXML(root)))
	if relayState != "" {
		query += "&RelayState=" + url.QueryEscape(relayState)
	}
	query += "&SigAlg=" + url.QueryEscape(s.alg.uri)
	value, err := s.key.sign(s.alg, []byte(query))
	return query + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(value)), err
}

func deflate64(text string) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err != nil || w.Close() != nil {
		panic("there is this level, and a buffer takes everything")
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// A samlArtifact stands for a response.
type samlArtifact struct {
	entityID, text string
	seal           func(answer *etree.Element) error // what a forger does in place of the signature; nil signs
}

// artifact keeps a response and returns what stands for it.
func (i *SAML) artifact(a samlArtifact) string {
	artifact := newArtifact(4, i.EntityID())
	i.mu.Lock()
	defer i.mu.Unlock()
	prune(i.artifacts)
	i.artifacts[artifact] = a
	return artifact
}

// newArtifact returns one, of type 4 if it is to be good (SAML Bindings §3.6.4).
func newArtifact(kind byte, entityID string) string {
	source := sha1.Sum([]byte(entityID))
	handle := make([]byte, 20)
	_, _ = rand.Read(handle) // never fails
	return base64.StdEncoding.EncodeToString(append(append([]byte{0, kind, 0, 0}, source[:]...), handle...))
}

// resolve is the artifact resolution service (SAML Profiles §5), which answers a service provider that signs.
func (i *SAML) resolve(w http.ResponseWriter, r *http.Request) {
	m := &samlInbound{binding: "SOAP"}
	text, err := i.resolved(m, r)
	i.note(m, err)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	fmt.Fprintf(w, `<s:Envelope xmlns:s=%q><s:Body>%s</s:Body></s:Envelope>`, soapNS, text)
}

func (i *SAML) resolved(m *samlInbound, r *http.Request) (string, error) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		return "", err
	}
	m.text = body.String()
	soap, err := readXML(m.text)
	if err != nil {
		return "", err
	}
	if soap.Tag != "Envelope" || soap.NamespaceURI() != soapNS || child(soap, "Body") == nil {
		return "", errors.New("no SOAP envelope")
	}
	if m.root, err = onlyChild(child(soap, "Body"), samlProtocolNS, "ArtifactResolve"); err != nil {
		return "", err
	}
	sp, err := i.sender(m, "ArtifactResolve", i.Artifacts(), true)
	if err != nil {
		return "", err
	}
	artifact, err := onlyChild(m.root, samlProtocolNS, "Artifact")
	if err != nil {
		return "", err
	}
	i.mu.Lock()
	kept := i.artifacts[artifact.Text()]
	if kept.entityID == sp.EntityID {
		delete(i.artifacts, artifact.Text())
	} else {
		kept = samlArtifact{} // somebody else's is no news
	}
	i.mu.Unlock()
	answer, err := readXML(fmt.Sprintf(`<samlp:ArtifactResponse xmlns:samlp="%s" ID="%s" Version="2.0" IssueInstant="%s" InResponseTo="%s">`+
		`<saml:Issuer xmlns:saml="%s">%s</saml:Issuer><samlp:Status><samlp:StatusCode Value="%sSuccess"/></samlp:Status>%s</samlp:ArtifactResponse>`,
		samlProtocolNS, xmlID(), xmlTime(i.cfg.Now()), esc(m.root.SelectAttrValue("ID", "")), samlAssertionNS, esc(i.EntityID()), samlStatus, kept.text))
	if err != nil {
		return "", err
	}
	if kept.seal == nil {
		kept.seal = i.signer().envelop
	}
	if err := kept.seal(answer); err != nil {
		return "", err
	}
	return writeXML(answer), nil
}
