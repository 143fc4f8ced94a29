package op

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
)

// metadata is the discovery document (OpenID Connect Discovery §3, RFC 8414 §2, RFC 9207 §3).
type metadata struct {
	Issuer                 string   `json:"issuer"`
	Authorization          string   `json:"authorization_endpoint"`
	Token                  string   `json:"token_endpoint"`
	UserInfo               string   `json:"userinfo_endpoint"`
	PushedAuthorization    string   `json:"pushed_authorization_request_endpoint"`
	JWKS                   string   `json:"jwks_uri"`
	EndSession             string   `json:"end_session_endpoint"`
	BackchannelLogout      bool     `json:"backchannel_logout_supported"`
	BackchannelSession     bool     `json:"backchannel_logout_session_supported"`
	FrontchannelLogout     bool     `json:"frontchannel_logout_supported"`
	FrontchannelSession    bool     `json:"frontchannel_logout_session_supported"`
	Scopes                 []string `json:"scopes_supported"`
	ResponseTypes          []string `json:"response_types_supported"`
	ResponseModes          []string `json:"response_modes_supported"`
	GrantTypes             []string `json:"grant_types_supported"`
	SubjectTypes           []string `json:"subject_types_supported"`
	IDTokenAlgs            []string `json:"id_token_signing_alg_values_supported"`
	DeviceAuthorization    string   `json:"device_authorization_endpoint"`
	UserInfoAlgs           []string `json:"userinfo_signing_alg_values_supported"`
	TokenAuthMethods       []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs          []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	ProofAlgs              []string `json:"dpop_signing_alg_values_supported"`
	Claims                 []string `json:"claims_supported"`
	ChallengeMethods       []string `json:"code_challenge_methods_supported"`
	Prompts                []string `json:"prompt_values_supported"`
	UILocales              []string `json:"ui_locales_supported"`
	IssInResponse          bool     `json:"authorization_response_iss_parameter_supported"`
	ClaimsParameter        bool     `json:"claims_parameter_supported"`
	RequestParameter       bool     `json:"request_parameter_supported"`
	RequestURIParameter    bool     `json:"request_uri_parameter_supported"`
	RequestURIRegistration bool     `json:"require_request_uri_registration"`

	Introspection         string   `json:"introspection_endpoint"`
	IntrospectAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectAuthAlgs    []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	Revocation            string   `json:"revocation_endpoint"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgs    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
}

// authMethods are the ways in which clients may authenticate.
var authMethods = []string{
	store.AuthSecretBasic, store.AuthSecretPost, store.AuthSecretJWT, store.AuthPrivateKeyJWT, store.AuthNone,
}

// Discovery handles GET /.well-known/openid-configuration and, for the issuer's metadata as RFC 8414 §3 has it,
// /.well-known/oauth-authorization-server.
func (p *Provider) Discovery(w http.ResponseWriter, _ *http.Request) {
	base := p.issuer()
	w.Header().Set("Cache-Control", "public, max-age=3600")
	writeJSON(w, http.StatusOK, metadata{
		Issuer:            base,
		Authorization:     base + "/authorize",
		Token:             base + "/token",
		UserInfo:          base + "/userinfo",
		JWKS:              base + "/jwks",
		EndSession:        base + "/logout",
		BackchannelLogout: true, BackchannelSession: true, FrontchannelLogout: true, FrontchannelSession: true,

		PushedAuthorization: base + "/par",
		Scopes:              userScopes,
		ResponseTypes:       []string{"code"},
		ResponseModes:       []string{"query", "form_post"},
		DeviceAuthorization: base + "/device_authorization",
		GrantTypes:          slices.Sorted(maps.Keys(grantTypes)),
		SubjectTypes:        []string{"public"},
		IDTokenAlgs:         p.signingAlgs(),
		UserInfoAlgs:        p.signingAlgs(),
		TokenAuthMethods:    authMethods,
		TokenAuthAlgs:       tokenAuthAlgs(),
		ProofAlgs:           proofAlgs,
		Claims:              claimNames,
		ChallengeMethods:    []string{"S256"},
		Prompts:             []string{"none", "login", "consent", "select_account"},
		UILocales:           []string{"en", "de", "fr"},
		IssInResponse:       true,
		ClaimsParameter:     true,

		Introspection:         base + "/introspect",
		IntrospectAuthMethods: slices.DeleteFunc(slices.Clone(authMethods), func(m string) bool { return m == store.AuthNone }),
		IntrospectAuthAlgs:    tokenAuthAlgs(),
		Revocation:            base + "/revoke",
		RevocationAuthMethods: authMethods,
		RevocationAuthAlgs:    tokenAuthAlgs(),
	})
}

// signingAlgs is what ID tokens and userinfo are signed with; RS256 has to be among them (OpenID Connect Core §15.1).
func (p *Provider) signingAlgs() []string {
	algs := slices.Clone(p.Keys.Algorithms)
	slices.Sort(algs)
	return algs
}

// JWKS handles GET /jwks: the keys that the broker signs with, announced ones included.
func (p *Provider) JWKS(w http.ResponseWriter, r *http.Request) {
	ring, err := p.Keys.Published(r.Context())
	if err != nil {
		p.fail(w, r, err)
		return
	}
	set, maxAge := ring.JWKS(p.Now())
	w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", maxAge/time.Second))
	w.Header().Set("Content-Type", "application/jwk-set+json")
	if _, err := w.Write(set); err != nil {
		web.RecordOf(r.Context()).Err = err
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // an error says that the client is gone: nobody is left to be told
}
