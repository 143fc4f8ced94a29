package social_test

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-idbroker/idbroker/provider"
)

// A pkce says what a vendor makes of a code challenge.
type pkce int

const (
	pkceIgnored pkce = iota // it is documented nowhere
	pkceTaken               // by S256, and so it has to be used
	pkceRefused             // an ordinary client that sends a verifier is turned away
)

// A vendor is what the vendor's documentation says, written out: nothing of it is read from the preset that it is held against.
// Messages are those of the documentation with other values, looked up in 2026-11.
type vendor struct {
	name      string // as its button says
	alias     string
	idp       func(*http.Client) provider.IdentityProvider
	authorize string            // address
	token     string            // address
	scopes    string            // that a login needs, separated by spaces here
	separator string            // of scopes in the request; a space if ""
	params    map[string]string // what else an authorization request has to say
	// wantsClaims are what the parameter "claims" of OpenID Connect Core §5.5 has to ask for, of the ID token or of userinfo.
	wantsClaims []string
	formPost    bool   // the answer comes as a POST
	auth        string // the ways in which the client may authenticate, as RFC 7591 calls them
	secret      func(string) error
	pkce        pkce
	iss         string                   // parameter of the answer; "" where there is none
	issuer      string                   // of ID tokens, and of the link: it can never be changed
	extra       func(*person) url.Values // further parameters of an answer
	denial      url.Values               // of the answer where the person refuses
	answer      func(d *double, g *grant, access string, r *http.Request) reply
	openID      *openID // nil where the vendor has no ID tokens
	apis        []api

	badCode   reply  // of the token endpoint, for a code that was used
	expired   string // what the visitor reads then
	badClient reply  // of the token endpoint, for a client that does not authenticate

	id       string // Ann's
	number   string // another id, one that other vendors give as well; "" where none can be
	numbers  bool   // ids are numbers
	user     string // Ann's name at this vendor
	verifies bool   // the vendor says whether an address is verified
	noEmail  bool   // the vendor gives no addresses at all
	// onlyVerified: the vendor tells no other addresses.
	onlyVerified bool
	want         want
}

// An openID is the part of a vendor that is an OpenID Provider.
type openID struct {
	discovery string // address
	document  object
	jwks      string // address
	alg       string
	nonce     bool // is sent back
	forged    bool // signed by somebody else
	claims    func(*person) object
}

// An api is a place where the vendor says who the bearer of an access token is.
type api struct {
	url     string
	tokenIn string            // the scheme of the header, Bearer if ""; or "query"
	header  map[string]string // that has to be there and begin so
	query   map[string]string
	proof   bool // appsecret_proof
	gzip    bool
	says    func(*person) any
	broken  reply // for an access token that is none
}

// A want is what the broker is to make of Ann.
type want struct {
	subject, username, name, first, last, picture string
}

// ann is who signs in.
func (v *vendor) ann() person {
	p := person{
		id: v.id, user: v.user, first: "Ann", last: "Lee", name: "Ann Lee", email: "ann@initech.example", verified: true,
		picture: picture, domain: "initech.example",
	}
	if v.noEmail {
		p.email, p.verified = "", false
	}
	return p
}

// addresses are all that belong to the vendor.
func (v *vendor) addresses() []string {
	all := []string{v.authorize, v.token}
	if v.openID != nil {
		all = append(all, v.openID.discovery, v.openID.jwks)
	}
	for _, a := range v.apis {
		all = append(all, a.url)
	}
	return all
}

// null is what vendors write who name all members.
func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// number is an id that is one, or null.
func number(s string) any {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return null(s)
	}
	return n
}

// some leaves out what is null, as vendors do who name only what there is.
func some(o object) object {
	for name, v := range o {
		if v == nil || v == "" {
			delete(o, name)
		}
	}
	return o
}

// standard is the claims of OpenID Connect Core §5.1.
func standard(p *person) object {
	o := some(object{"email": p.email, "name": p.name, "given_name": p.first, "family_name": p.last, "picture": p.picture})
	if p.email != "" {
		o["email_verified"] = p.verified
	}
	o["sub"] = null(p.id)
	return o
}

// with returns o with more members.
func with(o object, name string, value any) object {
	o[name] = value
	return o
}

// Errors by which nobody may be told what the vendor wrote.
const confidential = "CONFIDENTIAL-WORDS-OF-THE-VENDOR"

func oauthError(status int, code string) reply {
	return reply{status: status, body: toJSON(object{"error": code, "error_description": confidential})}
}

// jsonTokens is a token answer by RFC 6749 §5.1 with further members.
func jsonTokens(more object) func(*double, *grant, string, *http.Request) reply {
	return func(d *double, g *grant, access string, _ *http.Request) reply {
		o := object{"access_token": access, "token_type": "Bearer"}
		if d.openID != nil {
			o["id_token"] = d.idToken(g, access)
		}
		for name, v := range more {
			o[name] = v
		}
		return reply{body: toJSON(o)}
	}
}

func denied(code string) url.Values {
	return url.Values{"error": {code}, "error_description": {confidential}}
}

const (
	tryAgain     = "no longer accepts this attempt"
	notSetUp     = "does not accept our requests"
	notVerified  = "did not pass our security checks"
	notAnswering = "is not answering at the moment"
	notAmong     = "is not among those that may sign in here"
	cancelled    = "permission was refused"
)

// vendors are all of them.
func vendors() []*vendor {
	return []*vendor{
		google(), gitHub("", ""), gitHub("https://git.initech.example", "https://git.initech.example/api/v3"),
		gitHub("https://initech.ghe.com", "https://api.initech.ghe.com"), microsoft(),
		apple(), facebook(),
		linkedIn(), gitLab("https://gitlab.com"), gitLab("https://code.initech.example"), discord(), slack(), x(),
		bitbucket(), stackOverflow(),
		twitch(), spotify(), amazon(), payPal(false), payPal(true), salesforce(""),
		salesforce("https://initech.my.salesforce.com"), okta(), auth0(),
		yandex(), kakao(), line(), keycloak("initech"),
	}
}

// picture is where everybody's is.
const picture = "https://img.vendor.example/ann.png"
