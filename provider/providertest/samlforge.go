package providertest

import (
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// Who forgeries are about: the attacker has an account of their own at the identity provider.
var (
	samlVictim   = User{Subject: "victim-1", Username: "victim", Email: "victim@example.com", GivenName: "Vic", FamilyName: "Tim"}
	samlAttacker = User{Subject: "attacker-1", Username: "attacker", Email: "attacker@example.com", GivenName: "At", FamilyName: "Tacker"}
)

// A samlAttack is what an attacker knows of a login, and what the identity provider can be brought to sign.
type samlAttack struct {
	idp    *SAML
	login  *samlLogin
	nameID string // of the session that a logout is about
	index  string
	asked  *samlInbound // the LogoutRequest of the target that a LogoutResponse is to answer
}

// about is the answer that the identity provider gives when this user logs in.
func (a *samlAttack) about(u User) *samlOutcome {
	out := a.idp.outcome(a.login, &samlSession{index: xmlID(), user: u, since: a.idp.cfg.Now()})
	return out
}

// posted is a document in a form.
func (a *samlAttack) posted(text string) []samlMessage {
	form := url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString([]byte(text))}}
	if a.login.relayState != "" {
		form.Set("RelayState", a.login.relayState)
	}
	return []samlMessage{{form: form}}
}

// sent is a document by the binding that was asked for, as the identity provider sends it.
func (a *samlAttack) sent(text string) ([]samlMessage, error) {
	switch a.login.binding {
	case "HTTP-Redirect":
		return a.queried(a.idp.signer(), text)
	case "HTTP-Artifact":
		return a.artifact(text, nil), nil
	}
	return a.posted(text), nil
}

// document is the answer in a form; none if the forgery does not fit.
func (a *samlAttack) document(out *samlOutcome, err error) ([]samlMessage, error) {
	switch {
	case errors.Is(err, errLeaveOut):
		return nil, nil
	case err != nil:
		return nil, err
	}
	text, err := out.document()
	return a.posted(text), err
}

func (a *samlAttack) strangerKey() *certKey {
	a.idp.mu.Lock()
	defer a.idp.mu.Unlock()
	return a.idp.mustKey(&a.idp.stranger)
}

// SAMLForgeries returns all there are, each on its own.
func SAMLForgeries() []SAMLForgery {
	return slices.Concat(samlGenuine(), samlWrappings(), samlSignatures(), samlConditions(), samlDocuments(), samlEncrypted(), samlBombs(), samlQueries(),
		samlArtifacts(), samlLogoutRequests(), samlLogoutResponses())
}

const (
	whyWrapping  = "signature wrapping: identity read from another element than the signed one (CVE-2022-41912, CVE-2025-47949, CVE-2026-89043, CVE-2026-18092)"
	whyShape     = "several of what there must be one of in ds:Signature (CVE-2025-29774, CVE-2026-33487)"
	whyComment   = "comments, processing instructions or CDATA that split text (CVE-2025-29775, CVE-2018-0489 and its kind)"
	whyKeyInfo   = "a key taken from the message (CVE-2024-32962, CVE-2023-48703)"
	whyUnsigned  = "something that nobody has signed"
	whyAlgorithm = "a broken or foreign algorithm"
	whyParser    = "two parsers or two look-ups that disagree (CVE-2024-45409, CVE-2025-25291, CVE-2025-25292, CVE-2025-66567, CVE-2022-39299, CVE-2025-54419)"
	whyEncrypted = "decrypted, and for that believed (CVE-2026-2092, CVE-2026-18108)"
	whyOracle    = "decryption that says what went wrong, or panics (GHSA-hwqm-qvj9-4jr2)"
	whyCondition = "a condition that is not checked (CVE-2026-1190, CVE-2026-41577, CVE-2026-9093, CVE-2026-53424)"
	whyReplay    = "an assertion that is used twice (CVE-2026-18967, CVE-2026-53425)"
	whyOtherIdP  = "the issuer that is expected is not the one that is used (CVE-2026-49283, CVE-2026-109372)"
	whyInjection = "values that turn into markup or script (CVE-2023-45683, CVE-2026-29191, CVE-2026-46490)"
	whyQuery     = "a signature over a query that is read in another way than it was signed (CVE-2026-18569 and its kind)"
	whyArtifact  = "an artifact that stands for something else than who sent it says (SAML Bindings §3.6.5)"
	whyLogout    = "logout by anybody (GHSA-pcgw-qcv5-h8ch, CVE-2026-18569)"
)

// forgery is one that is made of the identity provider's answer about a user.
func forgery(name, why string, u User, edit func(a *samlAttack, out *samlOutcome) error) SAMLForgery {
	return SAMLForgery{Name: name, Why: why, user: u, make: func(a *samlAttack) ([]samlMessage, error) {
		out := a.about(u)
		return a.document(out, edit(a, out))
	}}
}

// --- what must be accepted

func samlGenuine() []SAMLForgery {
	genuine := func(name, why string, u User, edit func(out *samlOutcome)) SAMLForgery {
		f := forgery(name, why, u, func(_ *samlAttack, out *samlOutcome) error { edit(out); return nil })
		f.Genuine = true
		return f
	}
	many := samlVictim
	values := make([]string, 5000)
	for i := range values {
		values[i] = "group-" + strconv.Itoa(i)
	}
	many.Claims = map[string]any{"memberOf": values}
	odd := User{Subject: `"><script>alert('&amp;')</script>`, Username: "odd", Email: "odd@example.com", GivenName: `<b>"Odd"</b>`, FamilyName: "'&amp;'"}
	all := []SAMLForgery{
		genuine("genuine", "otherwise nothing here says anything", samlVictim, func(*samlOutcome) {}),
		genuine("genuine with 5,000 attribute values", "libraries that give up at 500", many, func(*samlOutcome) {}),
		genuine("genuine with markup in the NameID", whyInjection, odd, func(*samlOutcome) {}),
		genuine("genuine with several confirmations", "only one of them has to hold (SAML Core §2.4.1.1)", samlVictim, func(out *samlOutcome) {
			out.edit = func(r *etree.Element) {
				c := r.FindElement(pathConfirmation)
				other := c.Copy()
				child(other, "SubjectConfirmationData").CreateAttr("Recipient", "https://other.example/acs")
				c.Parent().InsertChildAt(c.Index(), other)
			}
		}),
		genuine("genuine without NotBefore", "it is optional (SAML Core §2.5.1)", samlVictim, func(out *samlOutcome) {
			out.edit = func(r *etree.Element) { r.FindElement(pathConditions).RemoveAttr("NotBefore") }
		}),
	}
	for _, sign := range samlLayouts {
		all = append(all, genuine("genuine, signed: "+string(sign), "SAML allows each", samlVictim, func(out *samlOutcome) { out.sign = sign }))
		all = append(all, genuine("genuine without KeyInfo, signed: "+string(sign), "which keys count is known without it", samlVictim,
			func(out *samlOutcome) { out.sign, out.signer.keyInfo = sign, nil }))
	}
	return all
}

var samlLayouts = []SAMLSign{SAMLSignAssertion, SAMLSignResponse, SAMLSignBoth}

const (
	pathConditions   = "./Assertion/Conditions"
	pathConfirmation = "./Assertion/Subject/SubjectConfirmation"
	pathData         = pathConfirmation + "/SubjectConfirmationData"
	pathName         = "./Assertion/Subject/NameID"
	pathAuthn        = "./Assertion/AuthnStatement"
)

// --- signature wrapping

// samlHolders are where the genuine element is put when it has been replaced: outer is the response, forged what took its
// place.
var samlHolders = []struct {
	name string
	put  func(outer, forged, genuine *etree.Element)
}{
	{"before it", func(_, forged, genuine *etree.Element) { insertBefore(forged, genuine) }},
	{"behind it", func(outer, _, genuine *etree.Element) { outer.AddChild(genuine) }},
	{"in it", func(_, forged, genuine *etree.Element) { forged.AddChild(genuine) }},
	{"first in it", func(_, forged, genuine *etree.Element) { forged.InsertChildAt(0, genuine) }},
	{"in Extensions", func(outer, _, genuine *etree.Element) {
		extensions := etree.NewElement("samlp:Extensions")
		extensions.AddChild(genuine)
		insertBefore(child(outer, "Status"), extensions)
	}},
	{"in the Object of a Signature", func(_, forged, genuine *etree.Element) { holderIn(forged, "Object").AddChild(genuine) }},
	{"in a Signature", func(_, forged, genuine *etree.Element) { holderIn(forged, "").AddChild(genuine) }},
	{"in KeyInfo", func(_, forged, genuine *etree.Element) { holderIn(forged, "KeyInfo").AddChild(genuine) }},
	{"in Status", func(outer, _, genuine *etree.Element) {
		child(outer, "Status").CreateElement("samlp:StatusDetail").AddChild(genuine)
	}},
	{"in Advice", func(outer, forged, genuine *etree.Element) {
		a := forged
		if a.Tag != "Assertion" {
			a = child(outer, "Assertion")
		}
		advice := etree.NewElement("saml:Advice")
		advice.AddChild(genuine)
		insertBefore(child(a, "AuthnStatement"), advice)
	}},
	{"in an AttributeValue", func(outer, forged, genuine *etree.Element) {
		value := forged.FindElement(".//AttributeValue")
		value.Child = nil
		value.AddChild(genuine)
	}},
}

func insertBefore(e, other *etree.Element) { e.Parent().InsertChildAt(e.Index(), other) }

// holderIn returns the Signature of e, or a part of it, which it makes where they are not there.
func holderIn(e *etree.Element, tag string) *etree.Element {
	sig := child(e, "Signature")
	if sig == nil {
		sig = etree.NewElement("ds:Signature")
		sig.CreateAttr("xmlns:ds", xmlSignatureNS)
		e.InsertChildAt(1, sig)
	}
	if tag == "" {
		return sig
	}
	if part := child(sig, tag); part != nil {
		return part
	}
	return sig.CreateElement("ds:" + tag)
}

// samlCarriers say which signature stands where.
var samlCarriers = []struct {
	name string
	move func(forged, genuine *etree.Element)
}{
	{"signature left", func(_, _ *etree.Element) {}},
	{"signature moved", func(forged, genuine *etree.Element) {
		if sig := child(genuine, "Signature"); sig != nil {
			forged.InsertChildAt(1, genuine.RemoveChildAt(sig.Index()))
		}
	}},
	{"signature copied", func(forged, genuine *etree.Element) {
		if sig := child(genuine, "Signature"); sig != nil {
			forged.InsertChildAt(1, sig.Copy())
		}
	}},
}

func samlWrappings() []SAMLForgery {
	var all []SAMLForgery
	for _, level := range []string{"assertion", "response"} {
		for _, sign := range []SAMLSign{SAMLSign(level), SAMLSignBoth} {
			for _, holder := range samlHolders {
				if level == "response" && strings.HasSuffix(holder.name, "fore it") {
					continue // there is nothing before the root
				}
				for _, carrier := range samlCarriers {
					for _, w := range []wrapping{{}, {same: true}, {kept: true}, {same: true, kept: true}} {
						if w.kept && sign != SAMLSignBoth {
							continue // there is no other
						}
						w.level, w.put, w.move = level, holder.put, carrier.move
						name := "wrapping of the " + level + ", signed: " + string(sign) + ", genuine " + holder.name + ", " + carrier.name + w.suffix()
						all = append(all, forgery(name, whyWrapping, samlAttacker, func(_ *samlAttack, out *samlOutcome) error {
							out.sign, out.encrypt = sign, false
							out.outer = w.wrap
							return nil
						}))
					}
				}
			}
		}
	}
	return slices.Concat(all, samlBeside(), samlWrappedInCiphertext(), samlWrappedCiphertexts())
}

// samlBeside leaves the genuine element where it is, and hides a forged assertion where no signature covers it.
func samlBeside() []SAMLForgery {
	var all []SAMLForgery
	for _, level := range []string{"assertion", "response"} {
		for _, holder := range samlHolders {
			inSignature := strings.Contains(holder.name, "Signature") || strings.Contains(holder.name, "KeyInfo")
			if !inSignature && (level == "response" || holder.name == "in it" || holder.name == "first in it" || holder.name == "in Advice" ||
				holder.name == "in an AttributeValue") {
				continue // a signature covers it
			}
			for _, w := range []wrapping{{}, {same: true}} {
				name := "wrapping of the " + level + ", genuine left, forged " + holder.name + w.suffix()
				all = append(all, forgery(name, whyWrapping, samlAttacker, func(_ *samlAttack, out *samlOutcome) error {
					out.sign, out.encrypt = SAMLSign(level), false
					out.outer = func(r *etree.Element) {
						genuine := child(r, "Assertion")
						forged := genuine.Copy()
						unsign(forged)
						becomeVictim(forged)
						w.rename(forged)
						if level == "response" {
							genuine = r
						}
						holder.put(r, genuine, forged)
					}
					return nil
				}))
			}
		}
	}
	return all
}

// A wrapping puts a forged element in the place of the genuine one.
type wrapping struct {
	level string // "assertion" or "response"
	same  bool   // the forged one has the same ID
	kept  bool   // the signature of the other level stays, though it holds no more
	put   func(outer, forged, genuine *etree.Element)
	move  func(forged, genuine *etree.Element)
}

func (w *wrapping) suffix() (s string) {
	if w.same {
		s += ", same ID"
	}
	if w.kept {
		s += ", the other signature kept"
	}
	return s
}

func (w *wrapping) rename(forged *etree.Element) {
	if !w.same {
		forged.CreateAttr("ID", xmlID())
	}
}

func (w *wrapping) wrap(r *etree.Element) {
	if w.level == "response" {
		genuine, inner := r.Copy(), child(r, "Assertion")
		unsign(r)
		if !w.kept {
			unsign(inner)
		}
		becomeVictim(inner)
		w.rename(r)
		w.rename(inner)
		w.move(r, genuine)
		w.put(r, r, genuine)
		return
	}
	if !w.kept {
		unsign(r)
	}
	genuine := child(r, "Assertion")
	forged := genuine.Copy()
	unsign(forged)
	becomeVictim(forged)
	w.rename(forged)
	insertBefore(genuine, forged)
	r.RemoveChild(genuine)
	w.move(forged, genuine)
	w.put(r, forged, genuine)
}

// samlWrappedInCiphertext are wrappings of an assertion that are encrypted, so that nothing of them is seen before.
func samlWrappedInCiphertext() []SAMLForgery {
	var all []SAMLForgery
	for _, holder := range samlHolders {
		if slices.Contains([]string{"before it", "behind it", "in Extensions", "in Status"}, holder.name) {
			continue // one element is encrypted
		}
		for _, carrier := range samlCarriers {
			for _, w := range []wrapping{{}, {same: true}} {
				w.level, w.put, w.move = "assertion", holder.put, carrier.move
				name := "wrapping of the assertion, encrypted, genuine " + holder.name + ", " + carrier.name + w.suffix()
				all = append(all, forgery(name, whyWrapping, samlAttacker, func(a *samlAttack, out *samlOutcome) error {
					if a.login.sp.EncryptTo == nil {
						return errLeaveOut
					}
					out.sign, out.encrypt, out.inner = SAMLSignAssertion, true, w.wrap
					return nil
				}))
			}
		}
	}
	return all
}

// samlWrappedCiphertexts are wrappings around an EncryptedAssertion, whose genuine content somebody may look for when they decrypt.
func samlWrappedCiphertexts() []SAMLForgery {
	var all []SAMLForgery
	for _, how := range []string{"plain", "encrypted"} {
		for _, holder := range samlHolders {
			if how == "encrypted" && slices.Contains([]string{"first in it", "in Advice", "in an AttributeValue"}, holder.name) {
				continue // there is nothing to put it into
			}
			add := func(name string, sign SAMLSign, wrap func(r, forged *etree.Element)) {
				all = append(all, forgery(name+", forged "+how, whyWrapping, samlAttacker, func(a *samlAttack, out *samlOutcome) error {
					if a.login.sp.EncryptTo == nil {
						return errLeaveOut
					}
					forged, err := a.forgedAssertion(how == "encrypted")
					out.sign, out.encrypt, out.outer = sign, true, func(r *etree.Element) { wrap(r, forged) }
					return err
				}))
			}
			add("wrapping of the encrypted assertion, genuine "+holder.name, SAMLSignAssertion, func(r, forged *etree.Element) {
				genuine := child(r, "EncryptedAssertion")
				insertBefore(genuine, forged)
				r.RemoveChild(genuine)
				holder.put(r, forged, genuine)
			})
			if holder.name == "before it" {
				continue // there is nothing before the root
			}
			for _, sign := range []SAMLSign{SAMLSignResponse, SAMLSignBoth} {
				for _, carrier := range samlCarriers {
					name := "wrapping of the response with an encrypted assertion, signed: " + string(sign) + ", genuine " + holder.name + ", " + carrier.name
					add(name, sign, func(r, forged *etree.Element) {
						genuine := r.Copy()
						unsign(r)
						r.CreateAttr("ID", xmlID())
						place := child(r, "EncryptedAssertion")
						insertBefore(place, forged)
						r.RemoveChild(place)
						carrier.move(r, genuine)
						holder.put(r, r, genuine)
					})
				}
			}
		}
	}
	return all
}

// forgedAssertion is one about the victim that nobody has signed.
func (a *samlAttack) forgedAssertion(encrypted bool) (*etree.Element, error) {
	response, err := a.about(samlVictim).plain()
	if err != nil {
		return nil, err
	}
	e := standalone(child(response, "Assertion"))
	unsign(e)
	if !encrypted {
		return e, nil
	}
	text, err := a.login.sp.Encryption.element("EncryptedAssertion", writeXML(e), a.login.sp.EncryptTo)
	if err != nil {
		return nil, err
	}
	return readXML(text)
}

func unsign(e *etree.Element) {
	if sig := child(e, "Signature"); sig != nil {
		e.RemoveChild(sig)
	}
}

// becomeVictim makes an assertion speak of somebody else.
func becomeVictim(a *etree.Element) {
	a.FindElement("./Subject/NameID").SetText(samlVictim.Subject)
	for _, value := range a.FindElements(".//AttributeValue") {
		value.SetText(strings.ReplaceAll(value.Text(), "attacker", "victim"))
	}
}

// --- conditions: the identity provider has signed all of these

func samlConditions() []SAMLForgery {
	const far = 10 * time.Minute // beyond any skew
	set := func(path, attr, value string) func(*etree.Element) {
		return func(r *etree.Element) { under(r, path).CreateAttr(attr, value) }
	}
	drop := func(path, attr string) func(*etree.Element) {
		return func(r *etree.Element) { under(r, path).RemoveAttr(attr) }
	}
	remove := func(path string) func(*etree.Element) {
		return func(r *etree.Element) { e := under(r, path); e.Parent().RemoveChild(e) }
	}
	text := func(path, value string) func(*etree.Element) {
		return func(r *etree.Element) { under(r, path).SetText(value) }
	}
	both := func(edits ...func(*etree.Element)) func(*etree.Element) {
		return func(r *etree.Element) {
			for _, edit := range edits {
				edit(r)
			}
		}
	}
	when := func(path, attr string, offset time.Duration) func(*samlAttack) func(*etree.Element) {
		return func(a *samlAttack) func(*etree.Element) { return set(path, attr, xmlTime(a.idp.cfg.Now().Add(offset))) }
	}
	var all []SAMLForgery
	add := func(name string, edit func(a *samlAttack) func(*etree.Element)) {
		for _, sign := range []SAMLSign{SAMLSignAssertion, SAMLSignBoth} {
			all = append(all, forgery("conditions, signed: "+string(sign)+": "+name, whyCondition, samlVictim, func(a *samlAttack, out *samlOutcome) error {
				out.sign, out.edit = sign, edit(a)
				return nil
			}))
		}
	}
	const audience = pathConditions + "/AudienceRestriction/Audience"
	const other = "https://other.example/sp"
	for name, edit := range map[string]func(*etree.Element){
		"another issuer":                  both(text("./Issuer", other), text("./Assertion/Issuer", other)),
		"another issuer of the response":  text("./Issuer", other),
		"another issuer of the assertion": text("./Assertion/Issuer", other),
		"no issuer of the assertion":      remove("./Assertion/Issuer"),
		"another destination":             set(".", "Destination", other),
		"another recipient":               set(pathData, "Recipient", other),
		"no recipient":                    drop(pathData, "Recipient"),
		"another audience":                text(audience, other),
		"no audience":                     remove(pathConditions + "/AudienceRestriction"),
		"an empty audience":               text(audience, ""),
		"an empty restriction":            remove(audience),
		"an audience restriction too many": func(r *etree.Element) {
			again(r, pathConditions+"/AudienceRestriction").FindElement("./Audience").SetText(other)
		},
		"no NotOnOrAfter of the confirmation":      drop(pathData, "NotOnOrAfter"),
		"no InResponseTo":                          both(drop(".", "InResponseTo"), drop(pathData, "InResponseTo")),
		"no InResponseTo of the confirmation":      drop(pathData, "InResponseTo"),
		"an empty InResponseTo":                    both(set(".", "InResponseTo", ""), set(pathData, "InResponseTo", "")),
		"an empty InResponseTo of the response":    set(".", "InResponseTo", ""),
		"another InResponseTo":                     both(set(".", "InResponseTo", "_other"), set(pathData, "InResponseTo", "_other")),
		"another InResponseTo of the response":     set(".", "InResponseTo", "_other"),
		"another InResponseTo of the confirmation": set(pathData, "InResponseTo", "_other"),
		"no AuthnStatement":                        remove(pathAuthn),
		"no AuthnInstant":                          drop(pathAuthn, "AuthnInstant"),
		"no Conditions":                            remove(pathConditions),
		"an unknown condition": func(r *etree.Element) {
			c := under(r, pathConditions).CreateElement("x:Condition")
			c.CreateAttr("xmlns:x", "urn:x")
		},
		"no Subject":                  remove("./Assertion/Subject"),
		"no NameID":                   remove(pathName),
		"an empty NameID":             text(pathName, ""),
		"a NameID of blanks":          text(pathName, " \n "),
		"no confirmation":             remove(pathConfirmation),
		"no data of the confirmation": remove(pathData),
		"holder of key":               set(pathConfirmation, "Method", "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"),
		"sender vouches":              set(pathConfirmation, "Method", "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"),
		"two confirmations, each wrong in its way": func(r *etree.Element) {
			child(again(r, pathConfirmation), "SubjectConfirmationData").CreateAttr("Recipient", other)
			under(r, pathData).CreateAttr("InResponseTo", "_other")
		},
		"version 1.1":                  set("./Assertion", "Version", "1.1"),
		"no version":                   drop("./Assertion", "Version"),
		"no IssueInstant":              drop("./Assertion", "IssueInstant"),
		"a NotOnOrAfter that is none":  set(pathConditions, "NotOnOrAfter", "soon"),
		"status Responder":             set("./Status/StatusCode", "Value", samlStatus+"Responder"),
		"no status":                    remove("./Status"),
		"an empty status":              remove("./Status/StatusCode"),
		"a status that begins right":   set("./Status/StatusCode", "Value", samlStatus+"SuccessNot"),
		"for another service provider": both(set(".", "Destination", other), set(pathData, "Recipient", other), text(audience, other)),
	} {
		add(name, func(*samlAttack) func(*etree.Element) { return edit })
	}
	for name, edit := range map[string]func(*samlAttack) func(*etree.Element){
		"NotBefore to come":                       when(pathConditions, "NotBefore", far),
		"NotOnOrAfter gone":                       when(pathConditions, "NotOnOrAfter", -far),
		"NotBefore of the confirmation to come":   when(pathData, "NotBefore", far),
		"NotOnOrAfter of the confirmation gone":   when(pathData, "NotOnOrAfter", -far),
		"NotOnOrAfter gone beyond allowed skew":   when(pathConditions, "NotOnOrAfter", -4*time.Minute),
		"NotBefore to come beyond allowed skew":   when(pathConditions, "NotBefore", 4*time.Minute),
		"AuthnInstant to come":                    when(pathAuthn, "AuthnInstant", far),
		"SessionNotOnOrAfter gone":                when(pathAuthn, "SessionNotOnOrAfter", -far),
		"issued in the future":                    when("./Assertion", "IssueInstant", far),
		"issued yesterday":                        when("./Assertion", "IssueInstant", -24*time.Hour),
		"an audience that begins right":           func(a *samlAttack) func(*etree.Element) { return text(audience, a.login.sp.EntityID+".evil.example") },
		"a recipient that begins right":           func(a *samlAttack) func(*etree.Element) { return set(pathData, "Recipient", a.login.acs+"/../evil") },
		"a destination that begins right":         func(a *samlAttack) func(*etree.Element) { return set(".", "Destination", a.login.acs+"?evil") },
		"an issuer that begins right":             func(a *samlAttack) func(*etree.Element) { return text("./Assertion/Issuer", a.idp.EntityID()+"/evil") },
		"an InResponseTo that begins right":       func(a *samlAttack) func(*etree.Element) { return set(pathData, "InResponseTo", a.login.id+"x") },
		"a Destination that is not there, signed": func(*samlAttack) func(*etree.Element) { return drop(".", "Destination") },
	} {
		if strings.HasSuffix(name, ", signed") { // only where the response is (SAML Bindings §3.5.5.2)
			all = append(all, forgery("conditions, signed: both: no destination", whyCondition, samlVictim, func(a *samlAttack, out *samlOutcome) error {
				out.sign, out.edit = SAMLSignBoth, edit(a)
				return nil
			}))
			continue
		}
		add(name, edit)
	}
	all = append(all, SAMLForgery{Name: "replay", Why: whyReplay, user: samlVictim, make: func(a *samlAttack) ([]samlMessage, error) {
		m, err := a.document(a.about(samlVictim), nil)
		return append(m, m...), err
	}}, forgery("nobody asked for it", whyCondition, samlVictim, func(a *samlAttack, out *samlOutcome) error {
		unasked := *a.login
		unasked.id = ""
		out.login = &unasked
		return nil
	}), forgery("another identity provider, by its own name and key", whyOtherIdP, samlVictim, func(a *samlAttack, out *samlOutcome) error {
		out.issuer, out.signer.key = other, a.strangerKey()
		out.signer.keyInfo = out.signer.key.cert
		return nil
	}), SAMLForgery{Name: "the RelayState of somebody else", Why: whyInjection, user: samlVictim, make: func(a *samlAttack) ([]samlMessage, error) {
		m, err := a.document(a.about(samlVictim), nil)
		m[0].form.Set("RelayState", `javascript:alert(1)//"><script>alert(1)</script>`)
		return m, err
	}}, SAMLForgery{Name: "no RelayState", Why: "login CSRF", user: samlVictim, make: func(a *samlAttack) ([]samlMessage, error) {
		m, err := a.document(a.about(samlVictim), nil)
		m[0].form.Del("RelayState")
		return m, err
	}})
	slices.SortFunc(all, func(a, b SAMLForgery) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// under returns the element at a path, "." is r.
func under(r *etree.Element, path string) *etree.Element {
	if path == "." {
		return r
	}
	return r.FindElement(path)
}

// again puts a copy of the element at a path behind it.
func again(r *etree.Element, path string) *etree.Element {
	e := under(r, path)
	c := e.Copy()
	e.Parent().InsertChildAt(e.Index()+1, c)
	return c
}

// errLeaveOut says that a forgery does not fit the target.
var errLeaveOut = errors.New("it does not fit")
