package providertest_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

// A wire is all that a provider says during one login, as it was said.
type wire struct {
	t                       testing.TB
	op                      *providertest.OIDC
	client                  providertest.Client
	discovery, jwks, answer fetched
	token, userinfo         fetched
	back                    url.Values
	idToken, claims         string
	header                  map[string]any
	claim                   map[string]any
	info                    map[string]any
	infoHeader              map[string]any
	trusted                 *jose.JSONWebKeySet // as published, whatever is broken now
	signed, infoSigned      bool                // by a published key
	issued                  time.Time
}

// newTap returns a client with signed userinfo, and what is published while nothing is broken.
func newTap(t testing.TB) (*rp, *jose.JSONWebKeySet) {
	t.Helper()
	p := newRP(t, providertest.StartOIDC(t, fast()), providertest.Client{UserInfoAlg: "ES256"})
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(get(t, newBrowser(t), p.op.Issuer()+"/jwks").body), &keys); err != nil {
		t.Fatal(err)
	}
	return p, &keys
}

// tap goes through a login step by step, and through the next step whatever came of the one before.
func (p *rp) tap(t testing.TB, keys *jose.JSONWebKeySet) *wire {
	t.Helper()
	w := &wire{t: t, op: p.op, client: p.client, trusted: keys, issued: time.Now()}
	// Back channels show redirects and long bodies as they are.
	direct := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.discovery = get(t, direct, strings.TrimSuffix(p.op.Issuer(), "/")+"/.well-known/openid-configuration")
	w.jwks = get(t, direct, p.op.Issuer()+"/jwks")
	w.answer = get(t, newBrowser(t), p.pageURL(change{"scope": {"openid email"}}))
	w.back = w.answer.back(t)
	code := w.back.Get("code")
	if code == "" {
		return w
	}
	redeem := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {strings.Repeat("v", 43)}}
	r := formRequest(t, p.config.Endpoint.TokenURL, redeem)
	r.SetBasicAuth(url.QueryEscape(p.client.ID), url.QueryEscape(p.client.Secret))
	w.token = do(t, direct, r)
	reply := w.token.json()
	if w.idToken, _ = reply["id_token"].(string); w.idToken != "" {
		w.header, _ = part(t, w.idToken, 0)
		w.claim, w.claims = part(t, w.idToken, 1)
		w.signed = signedBy(w.idToken, keys)
	}
	if access, ok := reply["access_token"].(string); ok {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.op.Issuer()+"/userinfo", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+access)
		w.userinfo = do(t, direct, r)
		w.info = w.userinfo.json()
		if w.info == nil && strings.Count(w.userinfo.body, ".") == 2 && len(w.userinfo.body) < 1<<16 && w.userinfo.err == nil {
			w.infoHeader, _ = part(t, w.userinfo.body, 0)
			w.info, _ = part(t, w.userinfo.body, 1)
			w.infoSigned = signedBy(w.userinfo.body, keys)
		}
	}
	return w
}

// signedBy reports whether a published key signed a token, whatever its kid.
func signedBy(token string, keys *jose.JSONWebKeySet) bool {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return false
	}
	return slices.ContainsFunc(keys.Keys, func(k jose.JSONWebKey) bool { _, err := jws.Verify(k.Key); return err == nil })
}

func down(f fetched) bool {
	return f.status == 500 && strings.Contains(f.header.Get("Content-Type"), "html")
}
func huge(f fetched) bool {
	return f.status == 200 && len(f.body) > 16<<20 && json.Valid([]byte(f.body))
}
func redirected(f fetched) bool { return f.status == 307 && f.header.Get("Location") != "" }
func notJSON(f fetched) bool {
	return f.status == 200 && !json.Valid([]byte(f.body)) && strings.Contains(f.body, "<!doctype")
}
func truncated(f fetched) bool {
	return f.status == 200 && errors.Is(f.err, io.ErrUnexpectedEOF) && f.body != ""
}

func (w *wire) unix(claim string) time.Duration {
	seconds, _ := w.claim[claim].(float64)
	return time.Unix(int64(seconds), 0).Sub(w.issued)
}

func (w *wire) absent(claim string) bool {
	_, there := w.claim[claim]
	return w.claim != nil && !there
}

func (w *wire) kids() (kids []string) {
	for _, k := range w.trusted.Keys {
		kids = append(kids, k.KeyID)
	}
	return kids
}

func (w *wire) kidPublished() bool {
	kid, _ := w.header["kid"].(string)
	return slices.Contains(w.kids(), kid)
}

// repairable reports whether a bit of the signature was turned.
func (w *wire) repairable() bool {
	dot := strings.LastIndex(w.idToken, ".") + 1
	signature, err := base64.RawURLEncoding.DecodeString(w.idToken[dot:])
	if err != nil || len(signature) == 0 {
		return false
	}
	signature[0] ^= 1
	return signedBy(w.idToken[:dot]+base64.RawURLEncoding.EncodeToString(signature), w.trusted)
}

func hmacBy(token string, secret []byte) bool {
	dot := strings.LastIndex(token, ".")
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(token[:dot]))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) == token[dot+1:]
}

func publicPEM(key any) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// shown says how each fault shows on the wire. Each is false while nothing is broken.
var shown = map[providertest.Fault]func(*wire) bool{
	providertest.DiscoveryDown:        func(w *wire) bool { return down(w.discovery) },
	providertest.DiscoveryHuge:        func(w *wire) bool { return huge(w.discovery) },
	providertest.DiscoveryRedirected:  func(w *wire) bool { return redirected(w.discovery) },
	providertest.DiscoveryNotJSON:     func(w *wire) bool { return notJSON(w.discovery) },
	providertest.DiscoveryTruncated:   func(w *wire) bool { return truncated(w.discovery) },
	providertest.DiscoveryWrongIssuer: func(w *wire) bool { return w.discovery.json()["issuer"] != w.op.Issuer() },

	providertest.JWKSDown:       func(w *wire) bool { return down(w.jwks) },
	providertest.JWKSHuge:       func(w *wire) bool { return huge(w.jwks) },
	providertest.JWKSRedirected: func(w *wire) bool { return redirected(w.jwks) },
	providertest.JWKSNotJSON:    func(w *wire) bool { return notJSON(w.jwks) },
	providertest.JWKSTruncated:  func(w *wire) bool { return truncated(w.jwks) },
	providertest.JWKSEmpty:      func(w *wire) bool { return w.jwks.body == `{"keys":[]}` },
	providertest.JWKSNoKid: func(w *wire) bool {
		return w.signed && w.infoSigned && w.header["kid"] == nil && w.infoHeader["kid"] == nil && !strings.Contains(w.jwks.body, "kid")
	},
	providertest.JWKSOddKeys: func(w *wire) bool {
		var set struct{ Keys []map[string]string }
		err := json.Unmarshal([]byte(w.jwks.body), &set)
		real := set.Keys[len(set.Keys)-1]
		enc := slices.IndexFunc(set.Keys, func(k map[string]string) bool {
			return k["use"] == "enc" && k["kid"] == real["kid"] && k["x"] != real["x"]
		})
		return err == nil && len(set.Keys) == 5 && enc >= 0 && real["use"]+real["alg"] == "" && w.signed && w.header["kid"] == real["kid"]
	},

	providertest.TokenDown:          func(w *wire) bool { return down(w.token) },
	providertest.TokenHuge:          func(w *wire) bool { return huge(w.token) && w.signed },
	providertest.TokenRedirected:    func(w *wire) bool { return redirected(w.token) },
	providertest.TokenNotJSON:       func(w *wire) bool { return notJSON(w.token) },
	providertest.TokenTruncated:     func(w *wire) bool { return truncated(w.token) },
	providertest.TokenInvalidGrant:  func(w *wire) bool { return w.token.status == 400 && w.token.json()["error"] == "invalid_grant" },
	providertest.TokenInvalidClient: func(w *wire) bool { return w.token.status == 401 && w.token.json()["error"] == "invalid_client" },
	providertest.TokenNoIDToken:     func(w *wire) bool { return w.token.json()["access_token"] != nil && w.idToken == "" },

	providertest.UserInfoDown:       func(w *wire) bool { return down(w.userinfo) },
	providertest.UserInfoHuge:       func(w *wire) bool { return w.userinfo.status == 200 && len(w.userinfo.body) > 16<<20 },
	providertest.UserInfoRedirected: func(w *wire) bool { return redirected(w.userinfo) },
	providertest.UserInfoNotJSON:    func(w *wire) bool { return notJSON(w.userinfo) },
	providertest.UserInfoTruncated:  func(w *wire) bool { return truncated(w.userinfo) },
	providertest.UserInfoSubWrong:   func(w *wire) bool { return w.infoSigned && w.info["sub"] != w.claim["sub"] && w.info["sub"] != nil },
	providertest.UserInfoSubAbsent:  func(w *wire) bool { return w.infoSigned && w.info["sub"] == nil },
	providertest.UserInfoContentType: func(w *wire) bool {
		return w.infoSigned && strings.HasPrefix(w.userinfo.header.Get("Content-Type"), "text/html")
	},
	providertest.UserInfoUnsigned: func(w *wire) bool {
		return w.infoHeader == nil && w.info["sub"] == w.claim["sub"] && w.userinfo.header.Get("Content-Type") == "application/json"
	},
	providertest.UserInfoKeyUnknown: func(w *wire) bool { return w.infoHeader["alg"] == "ES256" && !w.infoSigned },
	providertest.UserInfoAlgNone:    func(w *wire) bool { return w.infoHeader["alg"] == "none" && strings.HasSuffix(w.userinfo.body, ".") },
	providertest.UserInfoIssWrong:   func(w *wire) bool { return w.infoSigned && w.info["iss"] != w.op.Issuer() },
	providertest.UserInfoAudWrong:   func(w *wire) bool { return w.infoSigned && w.info["aud"] != w.client.ID },

	providertest.ResponseIssWrong: func(w *wire) bool { return w.back.Has("iss") && w.back.Get("iss") != w.op.Issuer() },
	providertest.ResponseIssAbsent: func(w *wire) bool {
		return !w.back.Has("iss") && w.discovery.json()["authorization_response_iss_parameter_supported"] == true
	},
	providertest.ResponseStateWrong:  func(w *wire) bool { return w.back.Has("state") && w.back.Get("state") != "s t&a=te" },
	providertest.ResponseStateAbsent: func(w *wire) bool { return !w.back.Has("state") && w.back.Has("code") },
	providertest.ResponseCodeAbsent:  func(w *wire) bool { return !w.back.Has("code") && !w.back.Has("error") && w.back.Has("state") },
	providertest.ResponseTwice: func(w *wire) bool {
		return len(w.back["code"]) == 2 && len(w.back["state"]) == 2 && len(w.back["iss"]) == 2
	},

	providertest.ErrorAccessDenied:  func(w *wire) bool { return w.back.Get("error") == "access_denied" && w.back.Has("state") },
	providertest.ErrorLoginRequired: func(w *wire) bool { return w.back.Get("error") == "login_required" },
	providertest.ErrorServer:        func(w *wire) bool { return w.back.Get("error") == "server_error" },
	providertest.ErrorAuthenticationExpired: func(w *wire) bool {
		return w.back.Get("error") == "temporarily_unavailable" && w.back.Get("error_description") == "authentication_expired"
	},
	providertest.ErrorMarkup: func(w *wire) bool {
		return strings.Contains(w.back.Get("error"), "<script>") && strings.Contains(w.back.Get("error_description"), "<img")
	},

	providertest.NonceWrong:  func(w *wire) bool { return w.signed && w.claim["nonce"] != "n" && w.claim["nonce"] != nil },
	providertest.NonceAbsent: func(w *wire) bool { return w.signed && w.absent("nonce") },
	providertest.NonceTwice: func(w *wire) bool {
		return w.signed && strings.Contains(w.claims, `"nonce":"n"`) && strings.HasSuffix(w.claims, `"nonce":"wrong"}`)
	},
	providertest.IssWrong:  func(w *wire) bool { return w.signed && w.claim["iss"] == "https://wrong-issuer.example" },
	providertest.IssAbsent: func(w *wire) bool { return w.signed && w.absent("iss") },
	providertest.IssSlash:  func(w *wire) bool { return w.signed && w.claim["iss"] == w.op.Issuer()+"/" },
	providertest.AudWrong:  func(w *wire) bool { return w.signed && w.claim["aud"] == "another-client" },
	providertest.AudAbsent: func(w *wire) bool { return w.signed && w.absent("aud") },
	providertest.AudOthers: func(w *wire) bool {
		aud, _ := w.claim["aud"].([]any)
		return w.signed && len(aud) == 2 && aud[0] == w.client.ID && w.absent("azp")
	},
	providertest.AzpWrong: func(w *wire) bool {
		return w.signed && w.claim["azp"] == "another-client" && w.claim["aud"] == w.client.ID
	},
	providertest.ExpPast: func(w *wire) bool {
		return w.signed && w.unix("exp") < -50*time.Minute && w.unix("iat") < w.unix("exp")
	},
	providertest.ExpAbsent: func(w *wire) bool { return w.signed && w.absent("exp") },
	providertest.IatPast:   func(w *wire) bool { return w.signed && w.unix("iat") < -23*time.Hour && w.unix("exp") > 0 },
	providertest.IatFuture: func(w *wire) bool { return w.signed && w.unix("iat") > 23*time.Hour && w.unix("exp") > w.unix("iat") },
	providertest.IatAbsent: func(w *wire) bool { return w.signed && w.absent("iat") },
	providertest.NbfFuture: func(w *wire) bool { return w.signed && w.unix("nbf") > 25*time.Minute },
	providertest.SubAbsent: func(w *wire) bool { return w.signed && w.absent("sub") },
	providertest.SubEmpty:  func(w *wire) bool { return w.signed && w.claim["sub"] == "" },
	providertest.SubNull:   func(w *wire) bool { return w.signed && strings.Contains(w.claims, `"sub":null`) },
	providertest.SubNumber: func(w *wire) bool { return w.signed && w.claim["sub"] == 4711.0 },
	providertest.SubArray: func(w *wire) bool {
		sub, _ := w.claim["sub"].([]any)
		return w.signed && len(sub) == 1 && sub[0] == w.info["sub"]
	},
	providertest.ATHashWrong: func(w *wire) bool {
		access, _ := w.token.json()["access_token"].(string)
		sum := sha256.Sum256([]byte(access))
		return w.signed && w.claim["at_hash"] != nil && w.claim["at_hash"] != base64.RawURLEncoding.EncodeToString(sum[:16])
	},
	providertest.AuthTimeAbsent: func(w *wire) bool { return w.signed && w.absent("auth_time") },
	providertest.AuthTimeStale:  func(w *wire) bool { return w.signed && w.unix("auth_time") < -23*time.Hour },

	providertest.TypAccessToken: func(w *wire) bool { return w.signed && w.header["typ"] == "at+jwt" },
	providertest.TypLogoutToken: func(w *wire) bool { return w.signed && w.header["typ"] == "logout+jwt" },
	providertest.CritUnknown:    func(w *wire) bool { return w.header["crit"] != nil && w.header["alg"] == "ES256" },
	providertest.AlgNone:        func(w *wire) bool { return w.header["alg"] == "none" && strings.HasSuffix(w.idToken, ".") },
	providertest.AlgHMACPublicKey: func(w *wire) bool {
		return w.header["alg"] == "HS256" && w.kidPublished() && hmacBy(w.idToken, publicPEM(w.trusted.Keys[0].Key))
	},
	providertest.AlgHMACSecret: func(w *wire) bool { return w.header["alg"] == "HS256" && hmacBy(w.idToken, []byte(w.client.Secret)) },
	providertest.KeyUnknown: func(w *wire) bool {
		return !w.signed && w.kidPublished() && w.header["alg"] == "ES256" && !w.repairable()
	},
	providertest.KeyUnknownKid: func(w *wire) bool {
		return !w.signed && !w.kidPublished() && w.header["alg"] == "ES256" && w.header["jwk"] == nil
	},
	providertest.KeyEmbedded: func(w *wire) bool {
		var k jose.JSONWebKey
		data, err := json.Marshal(w.header["jwk"])
		return err == nil && k.UnmarshalJSON(data) == nil && !w.signed && signedBy(w.idToken, &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k}})
	},
	providertest.SignatureWrong: func(w *wire) bool { return !w.signed && w.kidPublished() && w.repairable() },

	providertest.EmailVerifiedString:      func(w *wire) bool { return w.claim["email_verified"] == "true" && w.info["email_verified"] == "true" },
	providertest.EmailVerifiedFalseString: func(w *wire) bool { return w.claim["email_verified"] == "false" && w.info["email_verified"] == "false" },
	providertest.EmailVerifiedFalse:       func(w *wire) bool { return w.claim["email_verified"] == false && w.info["email_verified"] == false },
	providertest.EmailVerifiedAbsent: func(w *wire) bool {
		return w.claim["email"] != nil && w.absent("email_verified") && w.info != nil && w.info["email_verified"] == nil
	},
}

func TestFaultsShow(t *testing.T) {
	t.Parallel()
	p, keys := newTap(t)
	healthy := p.tap(t, keys)
	if !healthy.signed || !healthy.infoSigned {
		t.Fatalf("without faults: ID token %v, userinfo %v", healthy.token, healthy.userinfo)
	}
	for _, fault := range providertest.Faults() {
		if strings.HasSuffix(string(fault), ": slow") {
			continue // TestSlow
		}
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			see := shown[fault]
			if see == nil {
				t.Fatal("nothing says how it shows")
			}
			if see(healthy) {
				t.Error("it shows although nothing is broken")
			}
			p, keys := newTap(t)
			p.op.Break(fault)
			broken := p.tap(t, keys)
			if !see(broken) {
				t.Errorf("it does not show: %.2000s", fmt.Sprintf("%+v", broken))
			}
			p.op.Break()
			if see(p.tap(t, keys)) {
				t.Error("it shows although it was healed")
			}
		})
	}
}

// Every fault that is declared is also listed, or TestFaultsShow would not know of it.
func TestFaultsAreListed(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Fault" {
			declared++
			name, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil || !slices.Contains(providertest.Faults(), providertest.Fault(name)) {
				t.Errorf("%s is not among Faults()", spec.Names[0])
			}
		}
		return true
	})
	all := providertest.Faults()
	slices.Sort(all)
	if unique := slices.Compact(all); declared == 0 || len(unique) != declared || len(providertest.Faults()) != declared {
		t.Errorf("%d faults declared, %d listed, %d different", declared, len(providertest.Faults()), len(unique))
	}
}

func TestBreakRefusesUnknownFaults(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	defer func() {
		if recover() == nil {
			t.Error("Break took a fault that does not exist")
		}
	}()
	op.Break("nonce: worng")
}

func TestFaultsAtOnce(t *testing.T) {
	t.Parallel()
	p, keys := newTap(t)
	both := []providertest.Fault{providertest.AudWrong, providertest.KeyUnknownKid, providertest.UserInfoDown}
	p.op.Break(both...)
	both[0] = "changed by the caller"
	if w := p.tap(t, keys); w.claim["aud"] != "another-client" || w.signed || w.kidPublished() || !down(w.userinfo) {
		t.Errorf("header %v, claims %v, userinfo %v", w.header, w.claim, w.userinfo)
	}
	p.op.Break(providertest.AlgNone, providertest.SignatureWrong)
	if w := p.tap(t, keys); w.header["alg"] != "none" {
		t.Errorf("header %v", w.header)
	}
}

// A relying party that does all that it must, refuses these; and it refuses them because of the fault.
func TestStrictClientRefuses(t *testing.T) {
	t.Parallel()
	for _, fault := range []providertest.Fault{
		providertest.NonceWrong, providertest.NonceAbsent, providertest.NonceTwice, providertest.IssWrong, providertest.IssAbsent, providertest.IssSlash,
		providertest.AudWrong, providertest.AudAbsent, providertest.ExpPast, providertest.ExpAbsent, providertest.NbfFuture,
		providertest.SubNumber, providertest.SubArray, providertest.SubAbsent, providertest.ATHashWrong,
		providertest.AlgNone, providertest.AlgHMACPublicKey, providertest.AlgHMACSecret,
		providertest.KeyUnknown, providertest.KeyUnknownKid, providertest.KeyEmbedded, providertest.SignatureWrong,
		providertest.JWKSEmpty, providertest.JWKSDown, providertest.TokenDown, providertest.TokenInvalidGrant, providertest.TokenInvalidClient,
		providertest.TokenNoIDToken, providertest.TokenRedirected, providertest.TokenTruncated, providertest.TokenNotJSON,
		providertest.UserInfoDown, providertest.UserInfoSubWrong, providertest.UserInfoSubAbsent, providertest.UserInfoKeyUnknown, providertest.UserInfoAlgNone,
		providertest.ResponseIssAbsent, providertest.ResponseIssWrong, providertest.ResponseStateWrong, providertest.ResponseStateAbsent,
		providertest.ResponseCodeAbsent, providertest.ResponseTwice, providertest.ErrorAccessDenied, providertest.ErrorServer,
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			op := providertest.StartOIDC(t, fast())
			p := newRP(t, op, providertest.Client{UserInfoAlg: "ES256"})
			op.Break(fault)
			if got, err := p.login(t, newBrowser(t)); err == nil {
				t.Errorf("logged in: %v", got.claims)
			}
			op.Break()
			if _, err := p.login(t, newBrowser(t)); err != nil {
				t.Errorf("healed: %v", err)
			}
		})
	}
}

// What is unusual, but no error, must not keep anybody out.
func TestStrictClientAccepts(t *testing.T) {
	t.Parallel()
	for _, fault := range []providertest.Fault{
		providertest.JWKSNoKid, providertest.JWKSOddKeys, providertest.EmailVerifiedFalse, providertest.EmailVerifiedAbsent, providertest.EmailVerifiedString,
	} {
		op := providertest.StartOIDC(t, fast())
		op.Break(fault)
		if _, err := newRP(t, op, providertest.Client{}).login(t, newBrowser(t)); err != nil {
			t.Errorf("%s: %v", fault, err)
		}
	}
}

// A slow endpoint answers nothing until the client gives up, the fault is lifted, or a minute is over.
func TestSlow(t *testing.T) {
	t.Parallel()
	paths := map[providertest.Fault]string{
		providertest.DiscoverySlow: "/.well-known/openid-configuration", providertest.JWKSSlow: "/jwks",
		providertest.TokenSlow: "/token", providertest.UserInfoSlow: "/userinfo",
	}
	for _, fault := range providertest.Faults() {
		path, slow := paths[fault]
		if slow != strings.HasSuffix(string(fault), ": slow") {
			t.Errorf("%s is not tested", fault)
		}
		if !slow {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			cfg := fast()
			cfg.Issuer = "http://op.example"
			op, err := providertest.NewOIDC(cfg)
			if err != nil {
				t.Fatal(err)
			}
			method := http.MethodGet
			if path == "/token" {
				method = http.MethodPost
			}
			ask := func(ctx context.Context) (int, time.Duration) {
				began, w := time.Now(), httptest.NewRecorder()
				op.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, cfg.Issuer+path, nil))
				return w.Code, time.Since(began)
			}
			op.Break(fault)
			if status, took := ask(t.Context()); status != http.StatusGatewayTimeout || took != time.Minute {
				t.Errorf("%s: %d after %v, want 504 after a minute", fault, status, took)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, took := ask(ctx); took != 5*time.Second {
				t.Errorf("%s: took %v although the client gave up after 5 s", fault, took)
			}
			healed := time.AfterFunc(7*time.Second, func() { op.Break() })
			defer healed.Stop()
			if _, took := ask(t.Context()); took != 7*time.Second {
				t.Errorf("%s: took %v although it was healed after 7 s", fault, took)
			}
			if status, took := ask(t.Context()); status == http.StatusGatewayTimeout || took != 0 {
				t.Errorf("%s: %d after %v although it was healed", fault, status, took)
			}
		})
	}
}

// A client that follows redirects sends its secret again and again: the provider can tell.
func TestRedirectsAreCounted(t *testing.T) {
	t.Parallel()
	p, _ := newTap(t)
	p.op.Break(providertest.TokenRedirected)
	if _, err := p.config.Exchange(t.Context(), "code", oauth2.VerifierOption("v")); err == nil || len(p.op.Requests(providertest.Token)) < 2 {
		t.Errorf("%d requests, %v", len(p.op.Requests(providertest.Token)), err)
	}
}
