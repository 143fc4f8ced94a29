package providertest

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// A samlFarewell is a message about logout in the making: a LogoutRequest, or a LogoutResponse.
type samlFarewell struct {
	tag, parameter string
	to, id, issuer string
	relayState     string
	issued         time.Duration // from now

	// Of a request.
	name, index string
	until       time.Duration // from now
	// Of a response.
	answers, status, sub string

	signer signing
	after  func(e *etree.Element) // after it was signed, in a form
}

func (a *samlAttack) farewell(request bool) *samlFarewell {
	f := &samlFarewell{
		tag: "LogoutResponse", parameter: "SAMLResponse", to: a.login.sp.Logout, id: xmlID(), issuer: a.idp.EntityID(),
		status: "Success", signer: a.idp.signer(),
	}
	if request {
		f.tag, f.parameter, f.relayState = "LogoutRequest", "SAMLRequest", "relay"
		f.name, f.index, f.until = a.nameID, a.index, samlMaxAge
	} else {
		f.relayState, f.answers = a.asked.relayState, a.asked.root.SelectAttrValue("ID", "")
	}
	return f
}

// text is the document, not signed. Empty fields are left out.
func (f *samlFarewell) text(a *samlAttack) string {
	now := a.idp.cfg.Now()
	attributes, content := "", f.name
	if f.tag == "LogoutRequest" {
		attributes = ` NotOnOrAfter="` + xmlTime(now.Add(f.until)) + `"`
		if f.index != "" {
			content += `<samlp:SessionIndex>` + f.index + `</samlp:SessionIndex>`
		}
	} else {
		attributes = ` InResponseTo="` + esc(f.answers) + `"`
		sub := ""
		if f.sub != "" {
			sub = `<samlp:StatusCode Value="` + samlStatus + f.sub + `"/>`
		}
		content = `<samlp:Status><samlp:StatusCode Value="` + samlStatus + f.status + `">` + sub + `</samlp:StatusCode></samlp:Status>`
	}
	text := a.idp.logoutXML(f.tag, f.to, f.id, attributes, content)
	text = strings.Replace(text, ` IssueInstant="`+xmlTime(now), ` IssueInstant="`+xmlTime(now.Add(f.issued)), 1)
	text = strings.Replace(text, esc(a.idp.EntityID()), esc(f.issuer), 1)
	if f.to == "" {
		text = strings.Replace(text, ` Destination=""`, "", 1)
	}
	return text
}

// byRedirect and byPost are the two ways in which it travels.
func (f *samlFarewell) byRedirect(a *samlAttack) (samlMessage, error) {
	query, err := f.signer.query(f.parameter, f.text(a), f.relayState)
	return samlMessage{query: query}, err
}

func (f *samlFarewell) byPost(a *samlAttack) (samlMessage, error) {
	e, err := readXML(f.text(a))
	if err == nil && f.signer.key != nil {
		err = f.signer.envelop(e)
	}
	if err != nil {
		return samlMessage{}, err
	}
	if f.after != nil {
		f.after(e)
	}
	form := url.Values{f.parameter: {base64.StdEncoding.EncodeToString([]byte(writeXML(e)))}}
	if f.relayState != "" {
		form.Set("RelayState", f.relayState)
	}
	return samlMessage{form: form}, nil
}

var samlFarewells = map[string]func(*samlFarewell, *samlAttack) (samlMessage, error){
	"redirect": (*samlFarewell).byRedirect, "POST": (*samlFarewell).byPost,
}

// farewellForgeries are of one of the two messages. add makes one that is sent so many times by each binding, and query one
// of a query that is changed after it was signed.
type farewellForgeries struct {
	prefix string
	kind   samlKind
	all    []SAMLForgery
}

func (s *farewellForgeries) forgery(name, why string, make func(a *samlAttack) ([]samlMessage, error)) *SAMLForgery {
	s.all = append(s.all, SAMLForgery{Name: s.prefix + name, Why: why, user: samlVictim, kind: s.kind, make: make})
	return &s.all[len(s.all)-1]
}

func (s *farewellForgeries) add(name, why string, genuine bool, times int, edit func(a *samlAttack, f *samlFarewell)) {
	for binding, send := range samlFarewells {
		s.forgery(name+", by "+binding, why, func(a *samlAttack) ([]samlMessage, error) {
			f := a.farewell(s.kind == samlLogoutRequest)
			edit(a, f)
			m, err := send(f, a)
			return slices.Repeat([]samlMessage{m}, times), err
		}).Genuine = genuine
	}
}

// posted adds one that is changed after it was signed, in a form. prepare says what the identity provider signs.
func (s *farewellForgeries) posted(name, why string, prepare func(f *samlFarewell), after func(a *samlAttack, e *etree.Element)) {
	s.forgery(name+", by POST", why, func(a *samlAttack) ([]samlMessage, error) {
		f := a.farewell(s.kind == samlLogoutRequest)
		prepare(f)
		f.after = func(e *etree.Element) { after(a, e) }
		m, err := f.byPost(a)
		return []samlMessage{m}, err
	})
}

func (s *farewellForgeries) query(name, why string, genuine bool, prepare func(f *samlFarewell), edit func(a *samlAttack, q *samlQuery)) {
	s.forgery(name+", by redirect", why, func(a *samlAttack) ([]samlMessage, error) {
		f := a.farewell(s.kind == samlLogoutRequest)
		prepare(f)
		m, err := f.byRedirect(a)
		q := parseQuery(m.query)
		edit(a, q)
		return q.message(), err
	}).Genuine = genuine
}

// both are what is forged of either message. harmless says what the identity provider would sign for an attacker, and harm
// is that message as the attacker wants it.
func (s *farewellForgeries) both(harmless func(f *samlFarewell), harm func(e *etree.Element)) {
	as := func(*samlAttack, *samlFarewell) {}
	s.add("genuine", "otherwise nothing here says anything", true, 1, as)
	for name, signer := range samlForeignSigners {
		s.add(name, whyLogout, false, 1, func(a *samlAttack, f *samlFarewell) {
			signer, err := signer(a)
			if err != nil {
				panic(err) // the system has no random numbers
			}
			f.signer = signer
		})
	}
	s.add("replayed", whyReplay, false, 2, as)
	s.add("of yesterday", whyCondition, false, 1, func(_ *samlAttack, f *samlFarewell) { f.issued = -24 * time.Hour })
	s.add("of tomorrow", whyCondition, false, 1, func(_ *samlAttack, f *samlFarewell) { f.issued = 24 * time.Hour })
	s.add("another destination", whyCondition, false, 1, func(_ *samlAttack, f *samlFarewell) { f.to = "https://other.example/slo" })
	s.add("no destination", whyCondition, false, 1, func(_ *samlAttack, f *samlFarewell) { f.to = "" })
	s.add("another issuer", whyOtherIdP, false, 1, func(_ *samlAttack, f *samlFarewell) { f.issuer = "https://other.example/idp" })
	s.add("no issuer", whyOtherIdP, false, 1, func(_ *samlAttack, f *samlFarewell) { f.issuer = "" })

	plain := func(*samlFarewell) {}
	s.posted("not signed", whyUnsigned, func(f *samlFarewell) { f.signer.key = nil }, func(*samlAttack, *etree.Element) {})
	s.posted("changed", whyUnsigned, harmless, func(_ *samlAttack, e *etree.Element) { harm(e) })
	s.posted("changed, with its digest", whyUnsigned, harmless, func(_ *samlAttack, e *etree.Element) { harm(e); redigest(e) })
	s.posted("changed, without signature", whyUnsigned, harmless, func(_ *samlAttack, e *etree.Element) { harm(e); unsign(e) })
	s.posted("changed, without SignatureValue", whyUnsigned, harmless, func(_ *samlAttack, e *etree.Element) {
		harm(e)
		sig := child(e, "Signature")
		sig.RemoveChild(child(sig, "SignatureValue"))
	})
	for _, place := range []string{"Extensions", "the Object of the Signature"} {
		for _, id := range []string{"of its own", "that is the same"} {
			s.posted("wrapped in "+place+", under an id "+id, whyWrapping, harmless, func(_ *samlAttack, e *etree.Element) {
				genuine := e.Copy()
				harm(e)
				if id == "of its own" {
					e.CreateAttr("ID", xmlID())
				}
				holder := child(e, "Signature").CreateElement("ds:Object")
				if place == "Extensions" {
					unsign(genuine)
					holder = etree.NewElement("samlp:Extensions")
					e.InsertChildAt(1, holder)
				}
				holder.AddChild(genuine)
			})
		}
	}

	s.query("not signed", whyUnsigned, false, plain, func(_ *samlAttack, q *samlQuery) { q.drop("SigAlg"); q.drop("Signature") })
	s.query("without Signature", whyUnsigned, false, plain, func(_ *samlAttack, q *samlQuery) { q.drop("Signature") })
	s.query("an empty Signature", whyUnsigned, false, plain, func(_ *samlAttack, q *samlQuery) { q.set("Signature", "") })
	s.query("without SigAlg", whyAlgorithm, false, plain, func(_ *samlAttack, q *samlQuery) { q.drop("SigAlg") })
	s.query("algorithm none", whyAlgorithm, false, plain, func(_ *samlAttack, q *samlQuery) { q.set("SigAlg", "none") })
	s.query("another RelayState", whyQuery, false, plain, func(_ *samlAttack, q *samlQuery) { q.set("RelayState", samlSecret()) })
	s.query("without RelayState", whyQuery, false, plain, func(_ *samlAttack, q *samlQuery) { q.drop("RelayState") })
	s.query("two RelayStates", whyQuery, false, plain, func(_ *samlAttack, q *samlQuery) { q.add("RelayState", "other") })
	s.query("two algorithms", whyQuery, false, plain, func(_ *samlAttack, q *samlQuery) { q.first("SigAlg", "none") })
	s.query("two signatures", whyQuery, false, plain, func(_ *samlAttack, q *samlQuery) { q.first("Signature", "AAAA") })
	s.query("genuine, in another order", "what is covered has an order of its own (SAML Bindings §3.4.4.1)", true, plain,
		func(_ *samlAttack, q *samlQuery) { slices.Reverse(q.parts) })
	s.query("genuine, with small letters in escapes", "what is covered is what was sent (SAML Bindings §3.4.4.1)", true, plain,
		func(a *samlAttack, q *samlQuery) {
			for i := range q.parts[:3] {
				q.parts[i].value = smallEscapes(q.parts[i].value)
			}
			q.sign(a)
		})
	s.query("escapes changed after it was signed", "what is signed are the octets that were sent (SAML Bindings §3.4.4.1)", false, plain,
		func(_ *samlAttack, q *samlQuery) {
			p := q.get("SigAlg")
			p.value = smallEscapes(p.value)
		})
	for name, put := range map[string]func(q *samlQuery, name, text string){
		"in the place of":           func(q *samlQuery, name, text string) { q.set(name, text) },
		"before":                    func(q *samlQuery, name, text string) { q.first(name, text) },
		"behind":                    func(q *samlQuery, name, text string) { q.add(name, text) },
		"before, its name escaped,": func(q *samlQuery, name, text string) { q.first(strings.Replace(name, "S", "%53", 1), text) },
	} {
		s.query("another message "+name+" the one that is signed", whyQuery, false, harmless, func(a *samlAttack, q *samlQuery) {
			f := a.farewell(s.kind == samlLogoutRequest)
			put(q, f.parameter, deflate64(f.text(a)))
		})
	}
}

func (s *farewellForgeries) sorted() []SAMLForgery {
	slices.SortFunc(s.all, func(a, b SAMLForgery) int { return strings.Compare(a.Name, b.Name) })
	return s.all
}

// samlLogoutRequests would end the victim's session. The attacker's own is what the identity provider signs for anybody.
func samlLogoutRequests() []SAMLForgery {
	s := &farewellForgeries{prefix: "logout: ", kind: samlLogoutRequest}
	s.both(func(f *samlFarewell) {
		f.name, f.index = strings.Replace(f.name, samlVictim.Subject, samlAttacker.Subject, 1), ""
	},
		func(e *etree.Element) { child(e, "NameID").SetText(samlVictim.Subject) })
	s.add("genuine, without SessionIndex", "it is about all sessions (SAML Core §3.7.1)", true, 1,
		func(_ *samlAttack, f *samlFarewell) { f.index = "" })
	s.add("expired", whyCondition, false, 1, func(_ *samlAttack, f *samlFarewell) { f.until = -10 * time.Minute })
	s.add("of somebody else", whyLogout, false, 1, func(a *samlAttack, f *samlFarewell) {
		f.name, f.index = strings.Replace(a.nameID, samlVictim.Subject, samlAttacker.Subject, 1), ""
	})
	s.add("of another session", whyLogout, false, 1, func(_ *samlAttack, f *samlFarewell) { f.index = xmlID() })
	s.add("of nobody", whyLogout, false, 1, func(_ *samlAttack, f *samlFarewell) { f.name, f.index = "", "" })
	return s.sorted()
}

// samlLogoutResponses say that the session at the identity provider has ended, while it goes on: who sits down at the browser
// next is signed in by it.
func samlLogoutResponses() []SAMLForgery {
	s := &farewellForgeries{prefix: "logout answer: ", kind: samlLogoutResponse}
	s.both(func(f *samlFarewell) { f.status = "Responder" },
		func(e *etree.Element) { e.FindElement("./Status/StatusCode").CreateAttr("Value", samlStatus+"Success") })
	s.add("another request", whyCondition, false, 1, func(_ *samlAttack, f *samlFarewell) { f.answers = "_other" })
	s.add("an empty request", whyCondition, false, 1, func(_ *samlAttack, f *samlFarewell) { f.answers = "" })
	s.add("a status that is none of success", whyCondition, false, 1, func(_ *samlAttack, f *samlFarewell) { f.status = "Responder" })
	s.add("a status that begins right", whyCondition, false, 1, func(_ *samlAttack, f *samlFarewell) { f.status = "SuccessNot" })
	s.add("not everybody was told", whyCondition, false, 1, func(_ *samlAttack, f *samlFarewell) {
		f.status, f.sub = "Responder", "PartialLogout"
	})
	s.add("not everybody was told, and a success", whyCondition, false, 1, func(_ *samlAttack, f *samlFarewell) { f.sub = "PartialLogout" })
	s.add("the answer to a login", whyParser, false, 1, func(_ *samlAttack, f *samlFarewell) { f.tag = "Response" })
	s.posted("no request", whyCondition, func(f *samlFarewell) { f.signer.key = nil }, func(a *samlAttack, e *etree.Element) {
		e.RemoveAttr("InResponseTo")
		if err := a.idp.signer().envelop(e); err != nil {
			panic(err) // it can elsewhere
		}
	})
	s.posted("another RelayState", whyInjection, func(f *samlFarewell) { f.relayState = samlSecret() }, func(*samlAttack, *etree.Element) {})
	s.posted("without RelayState", whyInjection, func(f *samlFarewell) { f.relayState = "" }, func(*samlAttack, *etree.Element) {})
	return s.sorted()
}
