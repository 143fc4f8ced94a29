package providertest

import (
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// Forgeries of answers by HTTP-Redirect and HTTP-Artifact. What an answer says is attacked by HTTP-POST; here it is how it comes.

// samlLies are answers that the identity provider never gives, or gives to others, whichever way they come.
var samlLies = map[string]func(a *samlAttack, r *etree.Element){
	"another destination": func(_ *samlAttack, r *etree.Element) {
		r.CreateAttr("Destination", "https://other.example/acs")
	},
	"another issuer": func(_ *samlAttack, r *etree.Element) {
		r.FindElement("./Issuer").SetText("https://other.example/idp")
		r.FindElement("./Assertion/Issuer").SetText("https://other.example/idp")
	},
	"another request": func(_ *samlAttack, r *etree.Element) {
		r.CreateAttr("InResponseTo", "_other")
		r.FindElement(pathData).CreateAttr("InResponseTo", "_other")
	},
	"no request": func(_ *samlAttack, r *etree.Element) {
		r.RemoveAttr("InResponseTo")
		r.FindElement(pathData).RemoveAttr("InResponseTo")
	},
	"another recipient": func(_ *samlAttack, r *etree.Element) {
		r.FindElement(pathData).CreateAttr("Recipient", "https://other.example/acs")
	},
	"another audience": func(_ *samlAttack, r *etree.Element) {
		r.FindElement(pathConditions + "/AudienceRestriction/Audience").SetText("https://other.example")
	},
	"expired": func(a *samlAttack, r *etree.Element) {
		gone := xmlTime(a.idp.cfg.Now().Add(-10 * time.Minute))
		r.FindElement(pathConditions).CreateAttr("NotOnOrAfter", gone)
		r.FindElement(pathData).CreateAttr("NotOnOrAfter", gone)
	},
	"of yesterday": func(a *samlAttack, r *etree.Element) {
		r.CreateAttr("IssueInstant", xmlTime(a.idp.cfg.Now().Add(-24*time.Hour)))
	},
	"a status that is none of success": func(_ *samlAttack, r *etree.Element) {
		r.FindElement("./Status/StatusCode").CreateAttr("Value", samlStatus+"Responder")
	},
}

// bare is the document of an answer about u that nothing covers.
func (a *samlAttack) bare(u User, edit func(*samlAttack, *etree.Element)) (string, error) {
	out := a.about(u)
	out.sign, out.encrypt = "", false
	if edit != nil {
		out.edit = func(r *etree.Element) { edit(a, r) }
	}
	return out.document()
}

// --- HTTP-Redirect

// queried is a document in a query, under a signature over that.
func (a *samlAttack) queried(s signing, text string) ([]samlMessage, error) {
	query, err := s.query("SAMLResponse", text, a.login.relayState)
	return []samlMessage{{query: query}}, err
}

func samlQueries() []SAMLForgery {
	var all []SAMLForgery
	add := func(name, why string, make func(a *samlAttack) ([]samlMessage, error)) {
		all = append(all, SAMLForgery{Name: "redirect: " + name, Why: why, user: samlVictim, kind: samlQueried, make: make})
	}
	genuine := func(name, why string, edit func(a *samlAttack, q *samlQuery)) {
		add(name, why, func(a *samlAttack) ([]samlMessage, error) {
			q, err := a.query(samlVictim)
			edit(a, q)
			return q.message(), err
		})
		all[len(all)-1].Genuine = true
	}
	genuine("genuine", "otherwise nothing here says anything", func(*samlAttack, *samlQuery) {})
	genuine("genuine, in another order", "what is covered has an order of its own (SAML Bindings §3.4.4.1)", func(_ *samlAttack, q *samlQuery) {
		slices.Reverse(q.parts)
	})
	genuine("genuine, with small letters in escapes", "what is covered is what was sent (SAML Bindings §3.4.4.1)", func(a *samlAttack, q *samlQuery) {
		for i := range q.parts[:3] {
			q.parts[i].value = smallEscapes(q.parts[i].value)
		}
		q.sign(a)
	})
	genuine("genuine, with a parameter that nobody knows", "proxies and portals add some", func(_ *samlAttack, q *samlQuery) {
		q.add("utm_source", "portal")
	})

	for _, forge := range samlQueryEdits {
		add(forge.name, forge.why, func(a *samlAttack) ([]samlMessage, error) {
			about := samlVictim
			if forge.swap {
				about = samlAttacker
			}
			q, err := a.query(about)
			if err == nil {
				err = forge.edit(a, q)
			}
			return q.message(), err
		})
	}
	for name, lie := range samlLies {
		add(name, whyCondition, func(a *samlAttack) ([]samlMessage, error) {
			text, err := a.bare(samlVictim, lie)
			if err != nil {
				return nil, err
			}
			return a.queried(a.idp.signer(), text)
		})
	}
	for name, signer := range samlForeignSigners {
		add(name, whyKeyInfo, func(a *samlAttack) ([]samlMessage, error) {
			text, err := a.bare(samlVictim, nil)
			if err != nil {
				return nil, err
			}
			s, err := signer(a)
			if err != nil {
				return nil, err
			}
			return a.queried(s, text)
		})
	}
	add("signed in itself, by a stranger, and not in the query", whyKeyInfo, func(a *samlAttack) ([]samlMessage, error) {
		out := a.about(samlVictim)
		out.sign, out.encrypt, out.signer.key = SAMLSignBoth, false, a.strangerKey()
		text, err := out.document()
		q := &samlQuery{}
		q.add("SAMLResponse", deflate64(text))
		q.add("RelayState", a.login.relayState)
		return q.message(), err
	})
	add("replayed", whyReplay, func(a *samlAttack) ([]samlMessage, error) {
		q, err := a.query(samlVictim)
		return append(q.message(), q.message()...), err
	})
	add("of another login, with the RelayState of this one", whyQuery, func(a *samlAttack) ([]samlMessage, error) {
		other := *a.login
		other.relayState = samlSecret()
		theirs := *a
		theirs.login = &other
		q, err := theirs.query(samlVictim)
		q.set("RelayState", a.login.relayState)
		return q.message(), err
	})
	slices.SortFunc(all, func(a, b SAMLForgery) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// samlForeignSigners sign what no trusted key has signed, or in a way that nothing should be signed in.
var samlForeignSigners = map[string]func(a *samlAttack) (signing, error){
	"by a stranger": func(a *samlAttack) (signing, error) {
		return signing{a.strangerKey(), a.idp.alg, a.strangerKey().cert}, nil
	},
	"by SHA-1": func(a *samlAttack) (signing, error) {
		s := a.idp.signer()
		s.alg = sha1Alg
		if a.idp.alg.curve != nil {
			s.alg.uri = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1"
		}
		return s, nil
	},
	"by a key of RSA 1024": func(a *samlAttack) (signing, error) {
		key, err := newCertKey("weak", nil, 1024, a.idp.cfg.Now())
		return signing{key, xmlAlgs["RS256"], nil}, err
	},
}

// A samlQuery is a message by HTTP-Redirect, in parts as they are sent: escaped.
type samlQuery struct{ parts []samlParameter }

type samlParameter struct{ name, value string }

// query is the genuine answer about u.
func (a *samlAttack) query(u User) (*samlQuery, error) {
	q := &samlQuery{}
	text, err := a.bare(u, nil)
	if err != nil {
		return q, err
	}
	m, err := a.queried(a.idp.signer(), text)
	if err != nil {
		return q, err
	}
	return parseQuery(m[0].query), nil
}

func parseQuery(raw string) *samlQuery {
	q := &samlQuery{}
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		q.parts = append(q.parts, samlParameter{name, value})
	}
	return q
}

func (q *samlQuery) message() []samlMessage {
	var parts []string
	for _, p := range q.parts {
		parts = append(parts, p.name+"="+p.value)
	}
	return []samlMessage{{query: strings.Join(parts, "&")}}
}

func (q *samlQuery) add(name, value string) {
	q.parts = append(q.parts, samlParameter{name, url.QueryEscape(value)})
}

func (q *samlQuery) first(name, value string) {
	q.parts = slices.Insert(q.parts, 0, samlParameter{name, url.QueryEscape(value)})
}

func (q *samlQuery) get(name string) *samlParameter {
	i := slices.IndexFunc(q.parts, func(p samlParameter) bool { return p.name == name })
	if i < 0 {
		return &samlParameter{}
	}
	return &q.parts[i]
}

func (q *samlQuery) set(name, value string) { q.get(name).value = url.QueryEscape(value) }

func (q *samlQuery) drop(name string) {
	q.parts = slices.DeleteFunc(q.parts, func(p samlParameter) bool { return p.name == name })
}

// sign signs anew what is sent.
func (q *samlQuery) sign(a *samlAttack) {
	q.drop("Signature")
	s := a.idp.signer()
	value, err := s.key.sign(s.alg, []byte(q.message()[0].query))
	if err != nil {
		panic(err) // it could before
	}
	q.add("Signature", base64.StdEncoding.EncodeToString(value))
}

// smallEscapes writes "%2B" as "%2b".
func smallEscapes(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] == '%' && i+2 < len(b) {
			copy(b[i+1:], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}

// samlQueryEdits change a query that the identity provider has signed. With swap it is about the attacker, and what is
// brought is the victim's answer under its signature.
var samlQueryEdits = []struct {
	name, why string
	swap      bool
	edit      func(a *samlAttack, q *samlQuery) error
}{
	{"not signed", whyUnsigned, false, func(_ *samlAttack, q *samlQuery) error { q.drop("Signature"); q.drop("SigAlg"); return nil }},
	{"without Signature", whyUnsigned, false, func(_ *samlAttack, q *samlQuery) error { q.drop("Signature"); return nil }},
	{"without SigAlg", whyUnsigned, false, func(_ *samlAttack, q *samlQuery) error { q.drop("SigAlg"); return nil }},
	{"an empty Signature", whyUnsigned, false, func(_ *samlAttack, q *samlQuery) error { q.set("Signature", ""); return nil }},
	{"an empty SigAlg", whyAlgorithm, false, func(_ *samlAttack, q *samlQuery) error { q.set("SigAlg", ""); return nil }},
	{"algorithm none", whyAlgorithm, false, func(_ *samlAttack, q *samlQuery) error { q.set("SigAlg", "none"); return nil }},
	{"another algorithm", whyAlgorithm, false, func(a *samlAttack, q *samlQuery) error {
		other := xmlAlgs["RS512"]
		if a.idp.alg.curve != nil {
			other = xmlAlgs["ES512"]
		}
		q.set("SigAlg", other.uri)
		return nil
	}},
	{"another message under the signature", whyQuery, true, func(a *samlAttack, q *samlQuery) error {
		return q.victim(a, func(text string) { q.set("SAMLResponse", text) })
	}},
	{"another message before the one that is signed", whyQuery, true, func(a *samlAttack, q *samlQuery) error {
		return q.victim(a, func(text string) { q.first("SAMLResponse", text) })
	}},
	{"another message behind the one that is signed", whyQuery, true, func(a *samlAttack, q *samlQuery) error {
		return q.victim(a, func(text string) { q.add("SAMLResponse", text) })
	}},
	{"another message before, its name escaped", whyQuery, true, func(a *samlAttack, q *samlQuery) error {
		return q.victim(a, func(text string) { q.first("SAML%52esponse", text) })
	}},
	{"another message behind, its name escaped", whyQuery, true, func(a *samlAttack, q *samlQuery) error {
		return q.victim(a, func(text string) { q.add("%53AMLResponse", text) })
	}},
	{"two signatures, one of a stranger", whyQuery, false, func(a *samlAttack, q *samlQuery) error {
		q.first("Signature", "AAAA")
		return nil
	}},
	{"two algorithms", whyQuery, false, func(_ *samlAttack, q *samlQuery) error { q.first("SigAlg", "none"); return nil }},
	{"two RelayStates", whyQuery, false, func(_ *samlAttack, q *samlQuery) error { q.add("RelayState", "other"); return nil }},
	{"another RelayState", whyQuery, false, func(_ *samlAttack, q *samlQuery) error { q.set("RelayState", samlSecret()); return nil }},
	{"without RelayState", "login CSRF", false, func(_ *samlAttack, q *samlQuery) error { q.drop("RelayState"); return nil }},
	{"an encoding that nobody knows", whyQuery, false, func(_ *samlAttack, q *samlQuery) error { q.add("SAMLEncoding", "urn:x"); return nil }},
	{"escapes changed after it was signed", "what is signed are the octets that were sent (SAML Bindings §3.4.4.1)", false,
		func(_ *samlAttack, q *samlQuery) error {
			p := q.get("SigAlg")
			p.value = smallEscapes(p.value)
			return nil
		}},
}

// victim hands over the victim's answer, compressed and encoded.
func (q *samlQuery) victim(a *samlAttack, put func(text string)) error {
	text, err := a.bare(samlVictim, nil)
	if err == nil {
		put(deflate64(text))
	}
	return err
}

// --- HTTP-Artifact

// artifact is one that stands for a document, which seal covers in its way; nil is a signature.
func (a *samlAttack) artifact(text string, seal func(*etree.Element) error) []samlMessage {
	return a.handed(a.idp.artifact(samlArtifact{entityID: a.login.sp.EntityID, text: text, seal: seal}))
}

// handed is an artifact, whatever it is, in a query.
func (a *samlAttack) handed(artifacts ...string) []samlMessage {
	return []samlMessage{{query: url.Values{"SAMLart": artifacts, "RelayState": {a.login.relayState}}.Encode()}}
}

func samlArtifacts() []SAMLForgery {
	var all []SAMLForgery
	add := func(name, why string, make func(a *samlAttack) ([]samlMessage, error)) {
		all = append(all, SAMLForgery{Name: "artifact: " + name, Why: why, user: samlVictim, kind: samlByArtifact, make: make})
	}
	// sealed is the genuine answer in a resolve answer that is made in another way.
	sealed := func(name, why string, seal func(a *samlAttack, e *etree.Element) error) {
		add("resolved, "+name, why, func(a *samlAttack) ([]samlMessage, error) {
			text, err := a.bare(samlVictim, nil)
			return a.artifact(text, func(e *etree.Element) error { return seal(a, e) }), err
		})
	}
	// edited is such an answer, changed before the identity provider signs it.
	edited := func(name, why string, edit func(a *samlAttack, e *etree.Element)) {
		sealed(name, why, func(a *samlAttack, e *etree.Element) error { edit(a, e); return a.idp.signer().envelop(e) })
	}
	handed := func(name string, make func(a *samlAttack) []string) {
		add(name, whyArtifact, func(a *samlAttack) ([]samlMessage, error) { return a.handed(make(a)...), nil })
	}

	add("genuine", "otherwise nothing here says anything", func(a *samlAttack) ([]samlMessage, error) {
		text, err := a.bare(samlVictim, nil)
		return a.artifact(text, nil), err
	})
	all[0].Genuine = true
	handed("made up", func(a *samlAttack) []string { return []string{newArtifact(4, a.idp.EntityID())} })
	handed("nothing", func(*samlAttack) []string { return []string{""} })
	handed("no base64", func(*samlAttack) []string { return []string{"%%%"} })
	handed("too short", func(*samlAttack) []string { return []string{base64.StdEncoding.EncodeToString([]byte{0, 4, 0, 0})} })
	known := func(a *samlAttack, artifact string) string { // to the identity provider, whatever it is
		text, err := a.bare(samlVictim, nil)
		if err != nil {
			panic(err) // it can be made elsewhere
		}
		a.idp.mu.Lock()
		defer a.idp.mu.Unlock()
		a.idp.artifacts[artifact] = samlArtifact{entityID: a.login.sp.EntityID, text: text}
		return artifact
	}
	handed("of another type", func(a *samlAttack) []string { return []string{known(a, newArtifact(3, a.idp.EntityID()))} })
	handed("of another identity provider", func(a *samlAttack) []string {
		return []string{known(a, newArtifact(4, "https://other.example/idp"))}
	})
	handed("two", func(a *samlAttack) []string {
		return []string{known(a, newArtifact(4, a.idp.EntityID())), known(a, newArtifact(4, a.idp.EntityID()))}
	})
	add("replayed", whyReplay, func(a *samlAttack) ([]samlMessage, error) {
		text, err := a.bare(samlVictim, nil)
		m := a.artifact(text, nil)
		return append(m, m...), err
	})
	add("the same answer by two", whyReplay, func(a *samlAttack) ([]samlMessage, error) {
		text, err := a.bare(samlVictim, nil)
		return append(a.artifact(text, nil), a.artifact(text, nil)...), err
	})
	add("another RelayState", whyInjection, func(a *samlAttack) ([]samlMessage, error) {
		text, err := a.bare(samlVictim, nil)
		m := a.artifact(text, nil)
		u, _ := url.ParseQuery(m[0].query) // it was written here
		u.Set("RelayState", samlSecret())
		m[0].query = u.Encode()
		return m, err
	})
	for name, lie := range samlLies {
		add(name, whyCondition, func(a *samlAttack) ([]samlMessage, error) {
			text, err := a.bare(samlVictim, lie)
			return a.artifact(text, nil), err
		})
	}

	sealed("not signed", whyUnsigned, func(*samlAttack, *etree.Element) error { return nil })
	for name, signer := range samlForeignSigners {
		sealed(name, whyKeyInfo, func(a *samlAttack, e *etree.Element) error {
			s, err := signer(a)
			if err != nil {
				return err
			}
			return s.envelop(e)
		})
	}
	sealed("changed", whyUnsigned, func(a *samlAttack, e *etree.Element) error {
		genuine := e.FindElement("./Response/Assertion/Subject/NameID")
		genuine.SetText(samlAttacker.Subject)
		err := a.idp.signer().envelop(e)
		genuine.SetText(samlVictim.Subject)
		return err
	})
	sealed("a signed one in one that is not", whyWrapping, func(a *samlAttack, e *etree.Element) error {
		genuine := e.Copy()
		genuine.FindElement("./Response/Assertion/Subject/NameID").SetText(samlAttacker.Subject)
		if err := a.idp.signer().envelop(genuine); err != nil {
			return err
		}
		e.CreateAttr("ID", xmlID())
		e.InsertChildAt(1, etree.NewElement("samlp:Extensions"))
		child(e, "Extensions").AddChild(genuine)
		return nil
	})
	edited("another request", whyCondition, func(_ *samlAttack, e *etree.Element) { e.CreateAttr("InResponseTo", "_other") })
	edited("no request", whyCondition, func(_ *samlAttack, e *etree.Element) { e.RemoveAttr("InResponseTo") })
	edited("an empty request", whyCondition, func(_ *samlAttack, e *etree.Element) { e.CreateAttr("InResponseTo", "") })
	edited("another issuer", whyCondition, func(_ *samlAttack, e *etree.Element) { child(e, "Issuer").SetText("https://other.example/idp") })
	edited("a status that is none of success", whyCondition, func(_ *samlAttack, e *etree.Element) {
		e.FindElement("./Status/StatusCode").CreateAttr("Value", samlStatus+"Requester")
	})
	edited("of yesterday", whyCondition, func(a *samlAttack, e *etree.Element) {
		e.CreateAttr("IssueInstant", xmlTime(a.idp.cfg.Now().Add(-24*time.Hour)))
	})
	edited("two answers", whyWrapping, func(_ *samlAttack, e *etree.Element) {
		other := child(e, "Response").Copy()
		other.CreateAttr("ID", xmlID())
		child(other, "Assertion").CreateAttr("ID", xmlID())
		e.AddChild(other)
	})
	edited("an assertion in place of the answer", whyParser, func(_ *samlAttack, e *etree.Element) {
		r := child(e, "Response")
		a := standalone(child(r, "Assertion"))
		e.RemoveChild(r)
		e.AddChild(a)
	})
	edited("a foreign namespace", whyParser, func(_ *samlAttack, e *etree.Element) {
		r := child(e, "Response")
		r.Space = "f"
		r.CreateAttr("xmlns:f", "urn:foreign")
	})
	sealed("too large", whySwells, func(a *samlAttack, e *etree.Element) error {
		child(e, "Status").CreateElement("samlp:StatusMessage").SetText(strings.Repeat(" ", 8<<20))
		return a.idp.signer().envelop(e)
	})
	sealed("none", whyArtifact, func(*samlAttack, *etree.Element) error { return errors.New("it has none") })
	slices.SortFunc(all, func(a, b SAMLForgery) int { return strings.Compare(a.Name, b.Name) })
	return all
}
