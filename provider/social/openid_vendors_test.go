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
			discovery: "https://accounts.google.com/.well-known/openid-configuration",
			jwks:      "https://www.googleapis.com/oauth2/v3/certs",
			alg:       "RS256", nonce: true,
			document: object{
				"issuer":                 "https://accounts.google.com",
				"authorization_endpoint": "https://accounts.google.com/o/oauth2/v2/auth",
				"token_endpoint":         "https://oauth2.googleapis.com/token",
				"userinfo_endpoint":      userinfo, "revocation_endpoint": "https://oauth2.googleapis.com/revoke",
				"jwks_uri":                 "https://www.googleapis.com/oauth2/v3/certs",
				"response_types_supported": list{"code", "id_token", "none"},
				"response_modes_supported": list{"query", "fragment", "form_post"}, "subject_types_supported": list{"public"},
				"id_token_signing_alg_values_supported": list{"RS256"}, "scopes_supported": list{"openid", "email", "profile"},
				"token_endpoint_auth_methods_supported":          list{"client_secret_post", "client_secret_basic"},
				"code_challenge_methods_supported":               list{"plain", "S256"},
				"authorization_response_iss_parameter_supported": true,
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
		want: want{"104857600000000000001", "ann@initech.example", "Ann Lee", "Ann", "Lee", picture},
	}
}

const (
	initech = "11111111-2222-4333-8444-555555555555" // a tenant of Microsoft's
	annOID  = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
)

func microsoft() *vendor {
	const base = "https://login.microsoftonline.com/" + initech
	document := object{
		"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
		"token_endpoint":    base + "/oauth2/v2.0/token",
		"userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo", "jwks_uri": base + "/discovery/v2.0/keys",
		"end_session_endpoint":                  base + "/oauth2/v2.0/logout",
		"token_endpoint_auth_methods_supported": list{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_modes_supported":              list{"query", "fragment", "form_post"},
		"subject_types_supported":               list{"pairwise"},
		"id_token_signing_alg_values_supported": list{"RS256"},
		"response_types_supported":              list{"code", "id_token", "code id_token"},
		"scopes_supported":                      list{"openid", "profile", "email", "offline_access"},
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
			url:    "https://graph.microsoft.com/oidc/userinfo",
			broken: reply{status: 401, body: toJSON(object{"error": object{"code": "InvalidAuthenticationToken"}})},
			says: func(p *person) any {
				return some(object{
					"sub": "pairwise-" + p.id, "name": p.name, "given_name": p.first, "family_name": p.last, "email": p.email,
					"picture": "https://graph.microsoft.com/v1.0/me/photo/$value", // which nobody can fetch without a token
				})
			},
		}},
		badCode: reply{status: 400, body: toJSON(object{
			"error": "invalid_grant", "error_description": confidential, "error_codes": list{70008}, "trace_id": "t",
			"correlation_id": "c",
		})},
		expired: tryAgain,
		badClient: reply{status: 401, body: toJSON(object{
			"error": "invalid_client", "error_description": confidential, "error_codes": list{7000215}, "trace_id": "t",
			"correlation_id": "c",
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
		"tid": tid, "sub": "pairwise-" + p.id, "preferred_username": p.user, "name": p.name, "given_name": p.first,
		"family_name": p.last,
		"email":       p.email, "ver": "2.0", "uti": "u", "rh": "r",
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
			return social.Apple(clientID, social.AppleKey{TeamID: appleTeam, ID: appleKeyID,
				PEM: p8}).With(social.Options{HTTPClient: c})
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
					o["email"], o["email_verified"], o["is_private_email"] = p.email, strconv.FormatBool(p.verified),
						strconv.FormatBool(p.email == appleRelay)
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

// linkedIn sends no nonce back, and has no client_id for those who come with a verifier. Its locale is an object.
func linkedIn() *vendor {
	const base = "https://www.linkedin.com/oauth"
	return &vendor{
		name: "LinkedIn", alias: "linkedin",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.LinkedIn(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/v2/authorization", token: base + "/v2/accessToken", scopes: "openid profile email",
		auth: "client_secret_post", pkce: pkceRefused, issuer: base, denial: denied("user_cancelled_login"),
		answer: jsonTokens(object{"expires_in": 5183999, "scope": "email,openid,profile"}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/openid/jwks", alg: "RS256",
			document: object{
				"issuer": base, "authorization_endpoint": base + "/v2/authorization", "token_endpoint": base + "/v2/accessToken",
				"userinfo_endpoint": "https://api.linkedin.com/v2/userinfo", "jwks_uri": base + "/openid/jwks",
				"response_types_supported": list{"code"}, "subject_types_supported": list{"pairwise"},
				"id_token_signing_alg_values_supported": list{"RS256"}, "scopes_supported": list{"openid", "profile", "email"},
			},
			claims: func(p *person) object {
				o := with(standard(p), "locale", "en_US")
				if p.email != "" {
					o["email_verified"] = map[bool]string{true: "true", false: "false"}[p.verified]
				}
				return o
			},
		},
		apis: []api{{
			url:    "https://api.linkedin.com/v2/userinfo",
			broken: reply{status: 401, body: toJSON(object{"status": 401, "serviceErrorCode": 65600, "message": confidential})},
			says:   func(p *person) any { return with(standard(p), "locale", object{"country": "US", "language": "en"}) },
		}},
		badCode: oauthError(400, "invalid_request"), expired: notSetUp, badClient: oauthError(401, "invalid_client"),
		id: "aBcD12_xyZ", number: "4711", verifies: true,
		want: want{"aBcD12_xyZ", "ann@initech.example", "Ann Lee", "Ann", "Lee", picture},
	}
}

// gitLab is gitlab.com or an installation of its own.
func gitLab(base string) *vendor {
	o := social.Options{}
	v := &vendor{
		name: "GitLab", alias: "gitlab", scopes: "openid profile email", auth: "client_secret_basic client_secret_post",
		pkce:      pkceTaken,
		authorize: base + "/oauth/authorize", token: base + "/oauth/token", issuer: base, denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 7200, "refresh_token": "gl-r1", "scope": "openid profile email",
			"created_at": 1763800000}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/oauth/discovery/keys", alg: "RS256", nonce: true,
			document: object{
				"issuer": base, "authorization_endpoint": base + "/oauth/authorize", "token_endpoint": base + "/oauth/token",
				"revocation_endpoint": base + "/oauth/revoke", "userinfo_endpoint": base + "/oauth/userinfo",
				"jwks_uri":                 base + "/oauth/discovery/keys",
				"response_types_supported": list{"code"}, "response_modes_supported": list{"query", "fragment", "form_post"},
				"token_endpoint_auth_methods_supported": list{"client_secret_basic", "client_secret_post"},
				"subject_types_supported":               list{"public"},
				"id_token_signing_alg_values_supported": list{"RS256"}, "code_challenge_methods_supported": list{"plain", "S256"},
			},
			claims: func(p *person) object { return gitLabClaims(p) },
		},
		apis: []api{{
			url: base + "/oauth/userinfo", broken: oauthError(401, "invalid_token"),
			says: func(p *person) any { return gitLabClaims(p) },
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "invalid_client"),
		id: "90210", number: "4711", user: "ann-lee", verifies: true,
		want: want{"90210", "ann-lee", "Ann Lee", "", "", picture},
	}
	if base != "https://gitlab.com" {
		v.alias, o.BaseURL = "gitlab-own", base
	}
	v.idp = func(c *http.Client) provider.IdentityProvider {
		o := o
		o.HTTPClient = c
		return social.GitLab(clientID, clientSecret).With(o)
	}
	return v
}

func gitLabClaims(p *person) object {
	o := some(object{
		"sub_legacy": "0123", "name": p.name, "nickname": p.user, "preferred_username": p.user, "email": p.email,
		"picture": p.picture,
		"profile": "https://gitlab.com/" + p.user, "groups_direct": list{"team"},
	})
	if p.email != "" {
		o["email_verified"] = p.verified
	}
	return with(o, "sub", null(p.id))
}

// slack says "ok", and says so with status 200 if it is not.
func slack() *vendor {
	const base = "https://slack.com"
	claims := func(p *person) object {
		o := with(standard(p), "https://slack.com/team_id", "T0INIT")
		if p.domain != "initech.example" {
			o["https://slack.com/team_id"] = p.domain
		}
		o["https://slack.com/user_id"], o["date_email_verified"], o["locale"] = null(p.id), 1700000000, "en-US"
		return o
	}
	fault := func(code string) reply {
		return reply{body: toJSON(object{"ok": false, "error": code, "hint": confidential})}
	}
	return &vendor{
		name: "Slack", alias: "slack",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Slack(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/openid/connect/authorize", token: base + "/api/openid.connect.token", scopes: "openid profile email",
		auth: "client_secret_basic client_secret_post", issuer: base, denial: denied("access_denied"),
		answer: jsonTokens(object{"ok": true}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/openid/connect/keys", alg: "RS256", nonce: true,
			document: object{
				"issuer": base, "authorization_endpoint": base + "/openid/connect/authorize",
				"token_endpoint":    base + "/api/openid.connect.token",
				"userinfo_endpoint": base + "/api/openid.connect.userInfo", "jwks_uri": base + "/openid/connect/keys",
				"scopes_supported": list{"openid", "profile", "email"}, "response_types_supported": list{"code"},
				"response_modes_supported": list{"query"}, "grant_types_supported": list{"authorization_code"},
				"subject_types_supported":               list{"public"},
				"id_token_signing_alg_values_supported": list{"RS256"}, "claims_supported": list{"sub", "auth_time", "iss"},
				"token_endpoint_auth_methods_supported": list{"client_secret_post", "client_secret_basic"},
			},
			claims: claims,
		},
		apis: []api{{
			url: base + "/api/openid.connect.userInfo", broken: fault("invalid_auth"),
			says: func(p *person) any { return with(claims(p), "ok", true) },
		}},
		badCode: fault("invalid_code"), expired: tryAgain, badClient: fault("bad_client_secret"),
		id: "U0ANN", verifies: true,
		want: want{"T0INIT.U0ANN", "ann@initech.example", "Ann Lee", "Ann", "Lee", picture},
	}
}

// twitch tells no more than the parameter "claims" asks for, and sends its scopes as a list.
func twitch() *vendor {
	const base = "https://id.twitch.tv/oauth2"
	return &vendor{
		name: "Twitch", alias: "twitch",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Twitch(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/authorize", token: base + "/token", scopes: "openid user:read:email", auth: "client_secret_post",
		issuer:      base,
		wantsClaims: []string{"email", "email_verified", "preferred_username", "picture"}, denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 14124, "refresh_token": "tw-r1", "scope": list{"openid", "user:read:email"},
			"token_type": "bearer"}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/keys", alg: "RS256", nonce: true,
			document: object{
				"issuer": base, "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token",
				"userinfo_endpoint": base + "/userinfo",
				"jwks_uri":          base + "/keys", "claims_parameter_supported": true, "scopes_supported": list{"openid"},
				"subject_types_supported":               list{"public"},
				"response_types_supported":              list{"id_token", "code", "token", "code id_token", "token id_token"},
				"id_token_signing_alg_values_supported": list{"RS256"},
				"token_endpoint_auth_methods_supported": list{"client_secret_post"},
			},
			claims: func(p *person) object { return twitchClaims(p) },
		},
		apis: []api{{
			url: base + "/userinfo", broken: reply{status: 401, body: toJSON(object{"status": 401, "message": confidential})},
			says: func(p *person) any { return twitchClaims(p) },
		}},
		badCode: reply{status: 400, body: toJSON(object{"status": 400, "message": confidential})}, expired: "",
		badClient: reply{status: 403, body: toJSON(object{"status": 403, "message": confidential})},
		id:        "713936733", number: "4711", user: "AnnLee", verifies: true,
		want: want{"713936733", "annlee", "AnnLee", "", "", picture},
	}
}

func twitchClaims(p *person) object {
	o := some(object{"preferred_username": p.user, "picture": p.picture, "email": p.email, "azp": clientID})
	if p.email != "" {
		o["email_verified"] = p.verified
	}
	return with(o, "sub", null(p.id))
}

// salesforce is the place for everybody or, with a base, one organisation's.
func salesforce(base string) *vendor {
	o := social.Options{BaseURL: base}
	v := &vendor{
		name: "Salesforce", alias: "salesforce", scopes: "openid profile email",
		auth: "client_secret_basic client_secret_post", pkce: pkceTaken,
		denial: denied("access_denied"), verifies: true, number: "4711", user: "ann@initech.sf",
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(400, "invalid_client"),
		answer: jsonTokens(object{
			"signature": "c2ln", "scope": "openid profile email", "instance_url": "https://initech.my.salesforce.com",
			"issued_at": "1763800000000",
			"id":        "https://login.salesforce.com/id/00D1/0051",
		}),
	}
	if base == "" {
		base = "https://login.salesforce.com"
	} else {
		v.alias = "salesforce-own"
	}
	v.issuer, v.authorize, v.token = base, base+"/services/oauth2/authorize", base+"/services/oauth2/token"
	v.id = base + "/id/00D1/0051"
	v.want = want{v.id, "ann@initech.sf", "Ann Lee", "Ann", "Lee", picture}
	v.openID = &openID{
		discovery: base + "/.well-known/openid-configuration", jwks: base + "/id/keys", alg: "RS256", nonce: true,
		document: object{
			"issuer": base, "authorization_endpoint": v.authorize, "token_endpoint": v.token,
			"userinfo_endpoint":   base + "/services/oauth2/userinfo",
			"revocation_endpoint": base + "/services/oauth2/revoke", "jwks_uri": base + "/id/keys",
			"subject_types_supported":  list{"public"},
			"response_types_supported": list{"code", "token"}, "id_token_signing_alg_values_supported": list{"RS256"},
			"token_endpoint_auth_methods_supported": list{"client_secret_post", "client_secret_basic", "private_key_jwt"},
		},
		claims: func(p *person) object { return object{"sub": null(p.id)} },
	}
	v.apis = []api{{
		url: base + "/services/oauth2/userinfo", broken: reply{status: 403, contentType: "text/html",
			body: "Bad_OAuth_Token " + confidential},
		says: func(p *person) any {
			return with(with(with(standard(p), "preferred_username", p.user), "organization_id", "00D1"), "active", true)
		},
	}}
	v.idp = func(c *http.Client) provider.IdentityProvider {
		o := o
		o.HTTPClient = c
		return social.Salesforce(clientID, clientSecret).With(o)
	}
	return v
}

func okta() *vendor {
	const base = "https://initech.okta.com/oauth2/default"
	return &vendor{
		name: "Okta", alias: "okta",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Okta("initech.okta.com/oauth2/default", clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/v1/authorize", token: base + "/v1/token", scopes: "openid profile email",
		auth: "client_secret_basic client_secret_post", pkce: pkceTaken,
		issuer: base, denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 3600, "scope": "openid profile email"}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/v1/keys", alg: "RS256", nonce: true,
			document: object{
				"issuer": base, "authorization_endpoint": base + "/v1/authorize", "token_endpoint": base + "/v1/token",
				"userinfo_endpoint": base + "/v1/userinfo",
				"jwks_uri":          base + "/v1/keys", "response_types_supported": list{"code"},
				"subject_types_supported":               list{"public"},
				"id_token_signing_alg_values_supported": list{"RS256"}, "code_challenge_methods_supported": list{"S256"},
				"token_endpoint_auth_methods_supported": list{"client_secret_basic", "client_secret_post",
					"client_secret_jwt", "private_key_jwt", "none"},
				"end_session_endpoint": base + "/v1/logout",
			},
			claims: func(p *person) object {
				o := some(object{"name": p.name, "email": p.email, "preferred_username": p.user, "ver": 1, "jti": "ID.1",
					"amr": list{"pwd"}, "idp": "00o1"})
				return with(o, "sub", null(p.id))
			},
		},
		apis: []api{{
			url: base + "/v1/userinfo", broken: reply{status: 401},
			says: func(p *person) any { return with(standard(p), "preferred_username", p.user) },
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "invalid_client"),
		id: "00u0ann", number: "4711", user: "ann@initech.okta", verifies: true,
		want: want{"00u0ann", "ann@initech.okta", "Ann Lee", "Ann", "Lee", picture},
	}
}

// auth0 ends its issuer with a slash, and calls a wrong secret "access_denied".
func auth0() *vendor {
	const base = "https://initech.eu.auth0.com"
	claims := func(p *person) object { return some(with(standard(p), "nickname", p.user)) }
	return &vendor{
		name: "Auth0", alias: "auth0",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Auth0("initech.eu.auth0.com", clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/authorize", token: base + "/oauth/token", scopes: "openid profile email",
		auth: "client_secret_post", pkce: pkceTaken,
		issuer: base + "/", denial: denied("unauthorized"),
		answer: jsonTokens(object{"expires_in": 86400, "scope": "openid profile email"}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/.well-known/jwks.json", alg: "RS256", nonce: true,
			document: object{
				"issuer": base + "/", "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/oauth/token",
				"userinfo_endpoint": base + "/userinfo", "jwks_uri": base + "/.well-known/jwks.json",
				"response_types_supported":              list{"code"},
				"subject_types_supported":               list{"public"},
				"id_token_signing_alg_values_supported": list{"HS256", "RS256", "PS256"},
				"token_endpoint_auth_methods_supported": list{"client_secret_basic", "client_secret_post", "private_key_jwt"},
				"code_challenge_methods_supported":      list{"S256", "plain"}, "end_session_endpoint": base + "/oidc/logout",
			},
			claims: claims,
		},
		apis: []api{{url: base + "/userinfo", broken: reply{status: 401, contentType: "text/plain", body: confidential},
			says: func(p *person) any { return claims(p) }}},
		badCode: oauthError(403, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "access_denied"),
		id: "auth0|ann", number: "4711", user: "ann-lee", verifies: true,
		want: want{"auth0|ann", "ann-lee", "Ann Lee", "Ann", "Lee", picture},
	}
}

// line signs with the secret, and tells the address in the ID token alone.
func line() *vendor {
	const base = "https://access.line.me"
	return &vendor{
		name: "LINE", alias: "line",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.LINE(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/oauth2/v2.1/authorize", token: "https://api.line.me/oauth2/v2.1/token", scopes: "openid profile email",
		auth: "client_secret_post", pkce: pkceTaken, issuer: base, denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 2592000, "refresh_token": "li-r1", "scope": "profile openid email"}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: "https://api.line.me/oauth2/v2.1/certs",
			alg: "HS256", nonce: true,
			document: object{
				"issuer": base, "authorization_endpoint": base + "/oauth2/v2.1/authorize",
				"token_endpoint":           "https://api.line.me/oauth2/v2.1/token",
				"userinfo_endpoint":        "https://api.line.me/oauth2/v2.1/userinfo",
				"jwks_uri":                 "https://api.line.me/oauth2/v2.1/certs",
				"response_types_supported": list{"code"}, "subject_types_supported": list{"pairwise"},
				"id_token_signing_alg_values_supported": list{"ES256"}, "code_challenge_methods_supported": list{"S256"},
			},
			claims: func(p *person) object {
				o := some(object{"name": p.name, "picture": p.picture, "email": p.email, "amr": list{"linesso"}})
				return with(o, "sub", null(p.id))
			},
		},
		apis: []api{{
			url: "https://api.line.me/oauth2/v2.1/userinfo", broken: oauthError(401, "invalid_token"),
			says: func(p *person) any {
				return with(some(object{"name": p.name, "picture": p.picture}), "sub", null(p.id))
			},
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(400, "invalid_client"),
		id: "U0123456789abcdef0123456789abcdef", number: "4711",
		want: want{"U0123456789abcdef0123456789abcdef", "ann@initech.example", "Ann Lee", "", "", picture},
	}
}

func keycloak(realm string) *vendor {
	issuer := "https://sso.initech.example/realms/" + realm
	at := issuer + "/protocol/openid-connect"
	claims := func(p *person) object {
		return with(with(standard(p), "preferred_username", p.user), "typ", "ID")
	}
	return &vendor{
		name: "Keycloak", alias: "keycloak-" + realm,
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Keycloak("https://sso.initech.example", realm, clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: at + "/auth", token: at + "/token", scopes: "openid profile email",
		auth: "client_secret_basic client_secret_post", pkce: pkceTaken,
		iss: issuer, issuer: issuer, denial: denied("access_denied"),
		extra: func(*person) url.Values { return url.Values{"session_state": {"s-1"}} },
		answer: jsonTokens(object{"expires_in": 300, "refresh_expires_in": 1800, "not-before-policy": 0,
			"scope": "openid email profile"}),
		openID: &openID{
			discovery: issuer + "/.well-known/openid-configuration", jwks: at + "/certs", alg: "RS256", nonce: true,
			document: object{
				"issuer": issuer, "authorization_endpoint": at + "/auth", "token_endpoint": at + "/token",
				"userinfo_endpoint": at + "/userinfo",
				"jwks_uri":          at + "/certs", "end_session_endpoint": at + "/logout",
				"response_types_supported":              list{"code", "none", "id_token"},
				"subject_types_supported":               list{"public", "pairwise"},
				"id_token_signing_alg_values_supported": list{"PS256", "RS256", "ES256", "HS256"},
				"token_endpoint_auth_methods_supported": list{"private_key_jwt", "client_secret_basic", "client_secret_post",
					"tls_client_auth"},
				"code_challenge_methods_supported":               list{"plain", "S256"},
				"authorization_response_iss_parameter_supported": true,
			},
			claims: claims,
		},
		apis: []api{{url: at + "/userinfo", broken: oauthError(401, "invalid_token"),
			says: func(p *person) any { return claims(p) }}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "unauthorized_client"),
		id: "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", number: "4711", user: "ann", verifies: true,
		want: want{"f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "ann", "Ann Lee", "Ann", "Lee", picture},
	}
}
