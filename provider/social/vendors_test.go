package social_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/social"
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
	header  map[string]string // that has to be there; "" is anything
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
		picture: "https://img.vendor.example/ann.png", domain: "initech.example",
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
		google(), gitHub("", ""), gitHub("https://git.initech.example", "https://git.initech.example/api/v3"), microsoft(), apple(), facebook(),
		linkedIn(), gitLab("https://gitlab.com"), gitLab("https://code.initech.example"), discord(), slack(), x(), bitbucket(), stackOverflow(),
		twitch(), spotify(), amazon(), payPal(false), payPal(true), salesforce(""), salesforce("https://initech.my.salesforce.com"), okta(), auth0(),
		yandex(), kakao(), line(), keycloak("initech"),
	}
}

func google() *vendor {
	const userinfo = "https://openidconnect.googleapis.com/v1/userinfo"
	return &vendor{
		name: "Google", alias: "google",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Google(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://accounts.google.com/o/oauth2/v2/auth", token: "https://oauth2.googleapis.com/token",
		scopes: "openid profile email", auth: "client_secret_basic client_secret_post", pkce: pkceTaken,
		iss: "https://accounts.google.com", issuer: "https://accounts.google.com",
		extra: func(p *person) url.Values {
			return url.Values{"scope": {"email profile openid"}, "authuser": {"0"}, "prompt": {"consent"}, "hd": {p.domain}}
		},
		denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 3599, "scope": "openid https://www.googleapis.com/auth/userinfo.email"}),
		openID: &openID{
			discovery: "https://accounts.google.com/.well-known/openid-configuration", jwks: "https://www.googleapis.com/oauth2/v3/certs",
			alg: "RS256", nonce: true,
			document: object{
				"issuer":                 "https://accounts.google.com",
				"authorization_endpoint": "https://accounts.google.com/o/oauth2/v2/auth", "token_endpoint": "https://oauth2.googleapis.com/token",
				"userinfo_endpoint": userinfo, "revocation_endpoint": "https://oauth2.googleapis.com/revoke",
				"jwks_uri": "https://www.googleapis.com/oauth2/v3/certs", "response_types_supported": list{"code", "id_token", "none"},
				"response_modes_supported": list{"query", "fragment", "form_post"}, "subject_types_supported": list{"public"},
				"id_token_signing_alg_values_supported": list{"RS256"}, "scopes_supported": list{"openid", "email", "profile"},
				"token_endpoint_auth_methods_supported": list{"client_secret_post", "client_secret_basic"},
				"code_challenge_methods_supported":      list{"plain", "S256"}, "authorization_response_iss_parameter_supported": true,
			},
			claims: func(p *person) object {
				return some(with(with(standard(p), "azp", clientID), "hd", p.domain))
			},
		},
		apis: []api{{
			url: userinfo, says: func(p *person) any { return some(with(standard(p), "hd", p.domain)) },
			broken: oauthError(http.StatusUnauthorized, "invalid_request"),
		}},
		badCode: oauthError(http.StatusBadRequest, "invalid_grant"), expired: tryAgain,
		badClient: oauthError(http.StatusUnauthorized, "invalid_client"),
		id:        "104857600000000000001", number: "4711", user: "ann", verifies: true,
		want: want{"104857600000000000001", "ann@initech.example", "Ann Lee", "Ann", "Lee", "https://img.vendor.example/ann.png"},
	}
}

// gitHub is github.com or, with a base, an installation of its own.
func gitHub(base, apiBase string) *vendor {
	options := social.Options{BaseURL: base}
	v := &vendor{
		name: "GitHub", alias: "ghes", auth: "client_secret_post", pkce: pkceTaken, scopes: "read:user user:email",
		denial: url.Values{"error": {"access_denied"}, "error_description": {confidential}, "error_uri": {"https://docs.github.com/apps"}},
		id:     "90210", number: "4711", numbers: true, user: "Ann-Lee", verifies: true,
		want:    want{"90210", "ann-lee", "Ann Lee", "", "", "https://img.vendor.example/ann.png"},
		badCode: reply{body: toJSON(object{"error": "bad_verification_code", "error_description": confidential, "error_uri": "https://docs.github.com/apps"})},
		expired: tryAgain,
		badClient: reply{body: toJSON(object{
			"error": "incorrect_client_credentials", "error_description": confidential, "error_uri": "https://docs.github.com/apps",
		})},
	}
	if base == "" {
		v.alias, base, apiBase, v.iss = "github", "https://github.com", "https://api.github.com", "https://github.com/login/oauth"
	}
	v.issuer = base + "/login/oauth"
	v.authorize, v.token = base+"/login/oauth/authorize", base+"/login/oauth/access_token"
	v.idp = func(c *http.Client) provider.IdentityProvider {
		options.HTTPClient = c
		return social.GitHub(clientID, clientSecret).With(options)
	}
	// Without an Accept header it is a form.
	v.answer = func(_ *double, g *grant, access string, r *http.Request) reply {
		if !strings.Contains(r.Header.Get("Accept"), "application/json") {
			form := url.Values{"access_token": {access}, "scope": {strings.Join(g.scope, ",")}, "token_type": {"bearer"}}
			return reply{contentType: "application/x-www-form-urlencoded; charset=utf-8", body: form.Encode()}
		}
		return reply{body: toJSON(object{"access_token": access, "scope": strings.Join(g.scope, ","), "token_type": "bearer"})}
	}
	headers := map[string]string{"User-Agent": "", "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
	broken := reply{status: 401, body: toJSON(object{"message": confidential, "documentation_url": "https://docs.github.com/rest", "status": "401"})}
	v.apis = []api{{
		url: apiBase + "/user", header: headers, broken: broken,
		says: func(p *person) any {
			return object{
				"login": p.user, "id": number(p.id), "node_id": "U_1", "avatar_url": p.picture, "gravatar_id": "", "type": "User", "site_admin": false,
				"name": null(p.name), "company": nil, "email": "public@initech.example", "hireable": nil, "bio": nil, "two_factor_authentication": true,
			}
		},
	}, {
		url: apiBase + "/user/emails", header: headers, broken: broken,
		says: func(p *person) any {
			if p.email == "" {
				return list{}
			}
			return list{
				object{"email": "4711+ann@users.noreply.github.com", "primary": false, "verified": false, "visibility": nil},
				object{"email": p.email, "primary": true, "verified": p.verified, "visibility": "private"},
			}
		},
	}}
	return v
}

const (
	initech = "11111111-2222-4333-8444-555555555555" // a tenant of Microsoft's
	annOID  = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
)

func microsoft() *vendor {
	const base = "https://login.microsoftonline.com/" + initech
	document := object{
		"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "token_endpoint": base + "/oauth2/v2.0/token",
		"userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo", "jwks_uri": base + "/discovery/v2.0/keys",
		"end_session_endpoint":                  base + "/oauth2/v2.0/logout",
		"token_endpoint_auth_methods_supported": list{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_modes_supported":              list{"query", "fragment", "form_post"}, "subject_types_supported": list{"pairwise"},
		"id_token_signing_alg_values_supported": list{"RS256"}, "response_types_supported": list{"code", "id_token", "code id_token"},
		"scopes_supported": list{"openid", "profile", "email", "offline_access"},
	}
	return &vendor{
		name: "Microsoft", alias: "microsoft",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Microsoft(clientID, clientSecret, initech).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/oauth2/v2.0/authorize", token: base + "/oauth2/v2.0/token", scopes: "openid profile email",
		auth: "client_secret_basic client_secret_post", pkce: pkceTaken, issuer: base + "/v2.0",
		extra:  func(*person) url.Values { return url.Values{"session_state": {"s-1"}} },
		denial: url.Values{"error": {"access_denied"}, "error_subcode": {"cancel"}, "error_description": {confidential}},
		answer: jsonTokens(object{"expires_in": 4000, "ext_expires_in": 4000, "scope": "openid profile email"}),
		openID: &openID{
			discovery: base + "/v2.0/.well-known/openid-configuration", document: document, jwks: base + "/discovery/v2.0/keys",
			alg: "RS256", nonce: true, claims: microsoftClaims,
		},
		apis: []api{{
			url: "https://graph.microsoft.com/oidc/userinfo", broken: reply{status: 401, body: toJSON(object{"error": object{"code": "InvalidAuthenticationToken"}})},
			says: func(p *person) any {
				return some(object{"sub": "pairwise-" + p.id, "name": p.name, "given_name": p.first, "family_name": p.last, "email": p.email})
			},
		}},
		badCode: reply{status: 400, body: toJSON(object{
			"error": "invalid_grant", "error_description": confidential, "error_codes": list{70008}, "trace_id": "t", "correlation_id": "c",
		})},
		expired: tryAgain,
		badClient: reply{status: 401, body: toJSON(object{
			"error": "invalid_client", "error_description": confidential, "error_codes": list{7000215}, "trace_id": "t", "correlation_id": "c",
		})},
		id: annOID, user: "ann@initech.example",
		want: want{initech + "." + annOID, "ann@initech.example", "Ann Lee", "Ann", "Lee", ""},
	}
}

// microsoftClaims has given_name and family_name, which are optional claims, and an xms_edov that is worth nothing.
func microsoftClaims(p *person) object {
	tid := initech
	if p.domain != "initech.example" {
		tid = p.domain
	}
	o := some(object{
		"tid": tid, "sub": "pairwise-" + p.id, "preferred_username": p.user, "name": p.name, "given_name": p.first, "family_name": p.last,
		"email": p.email, "ver": "2.0", "uti": "u", "rh": "r",
	})
	return with(o, "oid", null(p.id))
}

const (
	appleTeam  = "TEAM123456"
	appleKeyID = "KEY1234567"
	appleRelay = "x1y2z3@privaterelay.appleid.com"
)

var applePrivate = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

func apple() *vendor {
	der, err := x509.MarshalPKCS8PrivateKey(applePrivate())
	if err != nil {
		panic(err)
	}
	p8 := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	const base = "https://appleid.apple.com"
	return &vendor{
		name: "Apple", alias: "apple",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Apple(clientID, social.AppleKey{TeamID: appleTeam, ID: appleKeyID, PEM: p8}).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/auth/authorize", token: base + "/auth/token", scopes: "openid name email", formPost: true,
		auth: "client_secret_post", secret: checkAppleSecret, issuer: base,
		extra: func(p *person) url.Values { // at the first consent only
			if p.first == "" {
				return nil
			}
			user := object{"name": object{"firstName": p.first, "lastName": p.last}, "email": p.email}
			return url.Values{"user": {toJSON(user)}}
		},
		denial: url.Values{"error": {"user_cancelled_authorize"}},
		answer: jsonTokens(object{"expires_in": 3600, "refresh_token": "r.1"}),
		openID: &openID{
			// Not to be relied on: in June 2025 it named another issuer than the tokens did, for days.
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/auth/keys", alg: "RS256", nonce: true,
			document: object{
				"issuer": "https://account.apple.com", "authorization_endpoint": "https://account.apple.com/auth/authorize",
				"token_endpoint": "https://account.apple.com/auth/token", "jwks_uri": "https://account.apple.com/auth/keys",
				"response_types_supported": list{"code"}, "id_token_signing_alg_values_supported": list{"RS256"},
				"token_endpoint_auth_methods_supported": list{"client_secret_post"},
			},
			claims: func(p *person) object { // no name, and booleans as texts
				o := object{"sub": null(p.id), "nonce_supported": true, "auth_time": time.Now().Unix()}
				if p.email != "" {
					o["email"], o["email_verified"], o["is_private_email"] = p.email, strconv.FormatBool(p.verified), strconv.FormatBool(p.email == appleRelay)
				}
				return o
			},
		},
		badCode: oauthError(http.StatusBadRequest, "invalid_grant"), expired: tryAgain,
		badClient: reply{status: 400, body: `{"error":"invalid_client"}`},
		id:        "001234.0123456789abcdef0123456789abcdef.0123", user: "ann", verifies: true,
		want: want{"001234.0123456789abcdef0123456789abcdef.0123", "ann@initech.example", "Ann Lee", "Ann", "Lee", ""},
	}
}

// checkAppleSecret verifies the JWT that Apple takes for a secret.
func checkAppleSecret(secret string) error {
	parts := strings.Split(secret, ".")
	if len(parts) != 3 {
		return errors.New("the secret is no JWT")
	}
	var header struct{ Alg, Kid string }
	var claims struct {
		Iss, Aud, Sub string
		Iat, Exp      int64
	}
	for i, to := range []any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, to) != nil {
			return errors.New("the secret cannot be read")
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err != nil || len(signature) != 64 || !ecdsa.Verify(&applePrivate().PublicKey, sum[:],
		new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return errors.New("the secret is not signed with the key")
	}
	now := time.Now().Unix()
	switch {
	case header.Alg != "ES256" || header.Kid != appleKeyID:
		return fmt.Errorf("the secret's header is %+v", header)
	case claims.Iss != appleTeam || claims.Sub != clientID || claims.Aud != "https://appleid.apple.com":
		return fmt.Errorf("the secret says %+v", claims)
	case claims.Iat > now || claims.Exp <= now || claims.Exp > claims.Iat+15777000:
		return fmt.Errorf("the secret is for the time from %d to %d", claims.Iat, claims.Exp)
	}
	return nil
}
