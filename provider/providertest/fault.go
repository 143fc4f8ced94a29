package providertest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// A Fault is a way in which a provider misbehaves, switched on by [OIDC.Break]. Its text is its name, for subtests.
type Fault string

func (e Endpoint) fault(what string) Fault { return Fault(string(e) + ": " + what) }

// Faults of endpoints that programs talk to. Down is a 500 with a page; slow is no answer until the client gives up,
// another Break, or a minute; huge is 16 MiB of JSON that is otherwise right; redirected is a 307 to the same place, for
// ever; not JSON is a page with status 200; truncated is half an answer, and then the connection ends.
const (
	DiscoveryDown       Fault = "discovery: down"
	DiscoverySlow       Fault = "discovery: slow"
	DiscoveryHuge       Fault = "discovery: huge"
	DiscoveryRedirected Fault = "discovery: redirected"
	DiscoveryNotJSON    Fault = "discovery: not JSON"
	DiscoveryTruncated  Fault = "discovery: truncated"

	JWKSDown       Fault = "jwks: down"
	JWKSSlow       Fault = "jwks: slow"
	JWKSHuge       Fault = "jwks: huge"
	JWKSRedirected Fault = "jwks: redirected"
	JWKSNotJSON    Fault = "jwks: not JSON"
	JWKSTruncated  Fault = "jwks: truncated"

	TokenDown       Fault = "token: down"
	TokenSlow       Fault = "token: slow"
	TokenHuge       Fault = "token: huge"
	TokenRedirected Fault = "token: redirected"
	TokenNotJSON    Fault = "token: not JSON"
	TokenTruncated  Fault = "token: truncated"

	UserInfoDown       Fault = "userinfo: down"
	UserInfoSlow       Fault = "userinfo: slow"
	UserInfoHuge       Fault = "userinfo: huge"
	UserInfoRedirected Fault = "userinfo: redirected"
	UserInfoNotJSON    Fault = "userinfo: not JSON"
	UserInfoTruncated  Fault = "userinfo: truncated"
)

// Faults of the documents.
const (
	DiscoveryWrongIssuer Fault = "discovery: wrong issuer"
	JWKSEmpty            Fault = "jwks: empty"
	// JWKSNoKid leaves kid out of keys and of headers. It is no error: RFC 7517 §4.5.
	JWKSNoKid Fault = "jwks: no kid"
	// JWKSOddKeys puts keys of unknown, symmetric and encryption kinds before the real ones, an encryption key with the
	// kid of the signing key among them, and leaves use and alg out of the real ones. It is no error: RFC 7517 §5.
	JWKSOddKeys Fault = "jwks: odd keys"
)

// Faults of the authorization response. The errors come at once, instead of a login.
const (
	ResponseIssWrong    Fault = "response: iss wrong"  // RFC 9207
	ResponseIssAbsent   Fault = "response: iss absent" // although discovery promises it
	ResponseStateWrong  Fault = "response: state wrong"
	ResponseStateAbsent Fault = "response: state absent"
	ResponseCodeAbsent  Fault = "response: code absent"
	ResponseTwice       Fault = "response: every parameter twice"

	ErrorAccessDenied          Fault = "error: access_denied"
	ErrorLoginRequired         Fault = "error: login_required"
	ErrorServer                Fault = "error: server_error"
	ErrorAuthenticationExpired Fault = "error: temporarily_unavailable (authentication_expired)" // as Keycloak sends it
	ErrorMarkup                Fault = "error: markup"                                           // in code and description
)

// Faults of the token endpoint's reply.
const (
	TokenInvalidGrant  Fault = "token: invalid_grant"
	TokenInvalidClient Fault = "token: invalid_client"
	TokenNoIDToken     Fault = "token: no ID token"
)

// Faults of the ID token's claims.
const (
	NonceWrong  Fault = "ID token: nonce wrong"
	NonceAbsent Fault = "ID token: nonce absent"
	NonceTwice  Fault = "ID token: nonce twice" // two members: the right one, then a wrong one

	IssWrong  Fault = "ID token: iss wrong"
	IssAbsent Fault = "ID token: iss absent"
	IssSlash  Fault = "ID token: iss with another slash" // one more at its end, or one less

	AudWrong  Fault = "ID token: aud wrong"
	AudAbsent Fault = "ID token: aud absent"
	AudOthers Fault = "ID token: aud with others, no azp" // the client and somebody else
	AzpWrong  Fault = "ID token: azp wrong"

	ExpPast   Fault = "ID token: exp past" // an hour ago, iat before it
	ExpAbsent Fault = "ID token: exp absent"
	IatPast   Fault = "ID token: iat past" // a day ago, exp still to come
	IatFuture Fault = "ID token: iat future"
	IatAbsent Fault = "ID token: iat absent"
	NbfFuture Fault = "ID token: nbf future"

	SubAbsent Fault = "ID token: sub absent"
	SubEmpty  Fault = "ID token: sub empty"
	SubNull   Fault = "ID token: sub null"
	SubNumber Fault = "ID token: sub number"
	SubArray  Fault = "ID token: sub array"

	ATHashWrong    Fault = "ID token: at_hash wrong"
	AuthTimeAbsent Fault = "ID token: auth_time absent"
	AuthTimeStale  Fault = "ID token: auth_time stale" // a day ago
)

// Faults of the ID token's header and signature.
const (
	TypAccessToken   Fault = "ID token: typ at+jwt"
	TypLogoutToken   Fault = "ID token: typ logout+jwt"
	CritUnknown      Fault = "ID token: unknown crit"
	AlgNone          Fault = "ID token: alg none"
	AlgHMACPublicKey Fault = "ID token: HS256 with the public key" // in PEM
	AlgHMACSecret    Fault = "ID token: HS256 with the client secret"
	KeyUnknown       Fault = "ID token: unknown key, published kid"
	KeyUnknownKid    Fault = "ID token: unknown key, unknown kid"
	KeyEmbedded      Fault = "ID token: unknown key, embedded jwk"
	SignatureWrong   Fault = "ID token: signature wrong"
)

// Faults of what is said about the user, in the ID token and at the userinfo endpoint. They are no errors.
const (
	EmailVerifiedString      Fault = `email_verified: "true"`
	EmailVerifiedFalseString Fault = `email_verified: "false"`
	EmailVerifiedFalse       Fault = "email_verified: false"
	EmailVerifiedAbsent      Fault = "email_verified: absent"
)

// Faults of the userinfo endpoint's reply. Those of its JWT do nothing to a client without UserInfoAlg.
const (
	UserInfoSubWrong    Fault = "userinfo: sub wrong"
	UserInfoSubAbsent   Fault = "userinfo: sub absent"
	UserInfoContentType Fault = "userinfo: wrong content type" // text/html
	UserInfoUnsigned    Fault = "userinfo: JSON instead of JWT"
	UserInfoKeyUnknown  Fault = "userinfo: JWT by an unknown key"
	UserInfoAlgNone     Fault = "userinfo: JWT with alg none"
	UserInfoIssWrong    Fault = "userinfo: JWT with wrong iss"
	UserInfoAudWrong    Fault = "userinfo: JWT with wrong aud"
)

var allFaults = []Fault{
	DiscoveryDown, DiscoverySlow, DiscoveryHuge, DiscoveryRedirected, DiscoveryNotJSON, DiscoveryTruncated,
	JWKSDown, JWKSSlow, JWKSHuge, JWKSRedirected, JWKSNotJSON, JWKSTruncated,
	TokenDown, TokenSlow, TokenHuge, TokenRedirected, TokenNotJSON, TokenTruncated,
	UserInfoDown, UserInfoSlow, UserInfoHuge, UserInfoRedirected, UserInfoNotJSON, UserInfoTruncated,
	DiscoveryWrongIssuer, JWKSEmpty, JWKSNoKid, JWKSOddKeys,
	ResponseIssWrong, ResponseIssAbsent, ResponseStateWrong, ResponseStateAbsent, ResponseCodeAbsent, ResponseTwice,
	ErrorAccessDenied, ErrorLoginRequired, ErrorServer, ErrorAuthenticationExpired, ErrorMarkup,
	TokenInvalidGrant, TokenInvalidClient, TokenNoIDToken,
	NonceWrong, NonceAbsent, NonceTwice,
	IssWrong, IssAbsent, IssSlash,
	AudWrong, AudAbsent, AudOthers, AzpWrong,
	ExpPast, ExpAbsent, IatPast, IatFuture, IatAbsent, NbfFuture,
	SubAbsent, SubEmpty, SubNull, SubNumber, SubArray,
	ATHashWrong, AuthTimeAbsent, AuthTimeStale,
	TypAccessToken, TypLogoutToken, CritUnknown,
	AlgNone, AlgHMACPublicKey, AlgHMACSecret, KeyUnknown, KeyUnknownKid, KeyEmbedded, SignatureWrong,
	EmailVerifiedString, EmailVerifiedFalseString, EmailVerifiedFalse, EmailVerifiedAbsent,
	UserInfoSubWrong, UserInfoSubAbsent, UserInfoContentType, UserInfoUnsigned, UserInfoKeyUnknown, UserInfoAlgNone,
	UserInfoIssWrong, UserInfoAudWrong,
}

// Faults returns every fault there is, so that a test can tell whether it has thought of all of them.
func Faults() []Fault { return slices.Clone(allFaults) }

const (
	wrongIssuer = "https://wrong-issuer.example"

	slowest = time.Minute
	hugeBy  = 16 << 20
)

// breakBefore does what keeps an endpoint from doing its work, and reports whether it did.
func breakBefore(w http.ResponseWriter, r *http.Request, s *script, at Endpoint) bool {
	switch {
	case s.has(at.fault("slow")):
		limit := time.NewTimer(slowest)
		defer limit.Stop()
		select {
		case <-r.Context().Done():
		case <-s.released:
		case <-limit.C:
		}
		http.Error(w, "too slow", http.StatusGatewayTimeout)
	case s.has(at.fault("down")):
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusInternalServerError)
		w.Write([]byte("<!doctype html><title>Error</title><h1>Something went wrong</h1>"))
	case s.has(at.fault("redirected")):
		http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
	default:
		return false
	}
	return true
}

// breakReply makes a reply what the script says.
func breakReply(s *script, at Endpoint, p reply) reply {
	if s.has(at.fault("not JSON")) {
		return reply{status: http.StatusOK, contentType: "text/html; charset=utf-8", body: []byte("<!doctype html><title>Hello</title>")}
	}
	p.huge, p.truncated = s.has(at.fault("huge")), s.has(at.fault("truncated"))
	return p
}

// writeHuge pads an object by a member, and anything else at its end. It does not say the length beforehand.
func writeHuge(w io.Writer, body []byte) {
	padding := bytes.Repeat([]byte("a"), 1<<16)
	before, after := body, []byte(nil)
	if rest, object := bytes.CutPrefix(body, []byte("{")); object {
		before, after = []byte(`{"padding":"`), append([]byte(`",`), rest...)
	}
	_, err := w.Write(before)
	for n := 0; n < hugeBy && err == nil; n += len(padding) {
		_, err = w.Write(padding) // fails when the client has had enough
	}
	w.Write(after) //nolint:errcheck // it has gone
}

// error is the error that the script wants instead of a login; nil if it wants none.
func (s *script) error() error {
	for _, f := range s.faults {
		switch f {
		case ErrorAccessDenied:
			return &oauthError{"access_denied", "The user refused."}
		case ErrorLoginRequired:
			return &oauthError{"login_required", ""}
		case ErrorServer:
			return &oauthError{"server_error", "Something went wrong."}
		case ErrorAuthenticationExpired:
			return &oauthError{"temporarily_unavailable", "authentication_expired"}
		case ErrorMarkup:
			return &oauthError{`<script>alert("error")</script>`, `"><img src=x onerror=alert(1)>`}
		}
	}
	return nil
}

// breakAnswer edits an authorization response.
func (s *script) breakAnswer(params url.Values) {
	for _, f := range s.faults {
		switch f {
		case ResponseIssWrong:
			params.Set("iss", wrongIssuer)
		case ResponseIssAbsent:
			params.Del("iss")
		case ResponseStateWrong:
			params.Set("state", "wrong-"+params.Get("state"))
		case ResponseStateAbsent:
			params.Del("state")
		case ResponseCodeAbsent:
			params.Del("code")
		case ResponseTwice:
			for name, values := range params {
				params[name] = append(values, values...)
			}
		}
	}
}

// breakIDToken applies the script's faults, and then its hook.
func (o *OIDC) breakIDToken(s *script, j *jwt) {
	for _, f := range s.faults {
		if spoil := idTokenFaults[f]; spoil != nil {
			spoil(o, j)
		}
	}
	if s.has(JWKSNoKid) {
		delete(j.header, "kid")
	}
	if s.hooks.IDToken != nil {
		s.hooks.IDToken(j.header, j.claims)
	}
}

var idTokenFaults = map[Fault]func(*OIDC, *jwt){
	NonceWrong:  set("nonce", "wrong"),
	NonceAbsent: drop("nonce"),
	NonceTwice:  func(_ *OIDC, j *jwt) { j.extra = `"nonce":"wrong"` },

	IssWrong:  set("iss", wrongIssuer),
	IssAbsent: drop("iss"),
	IssSlash:  func(o *OIDC, j *jwt) { j.claims["iss"] = otherSlash(o.cfg.Issuer) },

	AudWrong:  set("aud", "another-client"),
	AudAbsent: drop("aud"),
	AudOthers: func(_ *OIDC, j *jwt) {
		j.claims["aud"] = []any{j.claims["aud"], "another-client"}
		delete(j.claims, "azp")
	},
	AzpWrong: set("azp", "another-client"),

	ExpPast:   func(o *OIDC, j *jwt) { j.claims["iat"], j.claims["exp"] = o.unix(-2*time.Hour), o.unix(-time.Hour) },
	ExpAbsent: drop("exp"),
	IatPast:   at("iat", -24*time.Hour),
	IatFuture: func(o *OIDC, j *jwt) { j.claims["iat"], j.claims["exp"] = o.unix(24*time.Hour), o.unix(25*time.Hour) },
	IatAbsent: drop("iat"),
	NbfFuture: at("nbf", 30*time.Minute),

	SubAbsent: drop("sub"),
	SubEmpty:  set("sub", ""),
	SubNull:   set("sub", nil),
	SubNumber: set("sub", 4711),
	SubArray:  func(_ *OIDC, j *jwt) { j.claims["sub"] = []any{j.claims["sub"]} },

	ATHashWrong:    func(_ *OIDC, j *jwt) { j.claims["at_hash"] = tokenHash(j.key.alg, j.accessToken+"x") },
	AuthTimeAbsent: drop("auth_time"),
	AuthTimeStale:  at("auth_time", -24*time.Hour),

	TypAccessToken: func(_ *OIDC, j *jwt) { j.header["typ"] = "at+jwt" },
	TypLogoutToken: func(_ *OIDC, j *jwt) { j.header["typ"] = "logout+jwt" },
	CritUnknown:    func(_ *OIDC, j *jwt) { j.header["crit"], j.header["example"] = []string{"example"}, true },

	AlgNone: func(_ *OIDC, j *jwt) { j.unsigned() },
	AlgHMACPublicKey: func(_ *OIDC, j *jwt) {
		der, err := x509.MarshalPKIXPublicKey(j.key.signer.Public())
		if err != nil {
			panic(err) // newKey makes no key that has no PKIX form
		}
		j.signHMAC(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	},
	AlgHMACSecret:  func(_ *OIDC, j *jwt) { j.signHMAC(j.secret) },
	KeyUnknown:     func(o *OIDC, j *jwt) { j.sign = o.foreignKey(j.key.alg).sign },
	KeyUnknownKid:  func(o *OIDC, j *jwt) { k := o.foreignKey(j.key.alg); j.header["kid"], j.sign = k.kid, k.sign },
	KeyEmbedded:    func(o *OIDC, j *jwt) { k := o.foreignKey(j.key.alg); j.header["jwk"], j.sign = k.jwk(), k.sign },
	SignatureWrong: func(_ *OIDC, j *jwt) { j.tamper = true },
}

func set(claim string, value any) func(*OIDC, *jwt) {
	return func(_ *OIDC, j *jwt) { j.claims[claim] = value }
}

func drop(claim string) func(*OIDC, *jwt) {
	return func(_ *OIDC, j *jwt) { delete(j.claims, claim) }
}

func at(claim string, from time.Duration) func(*OIDC, *jwt) {
	return func(o *OIDC, j *jwt) { j.claims[claim] = o.unix(from) }
}

func (o *OIDC) unix(from time.Duration) int64 { return o.cfg.Now().Add(from).Unix() }

func otherSlash(issuer string) string {
	if cut := len(issuer) - 1; issuer[cut] == '/' {
		return issuer[:cut]
	}
	return issuer + "/"
}
