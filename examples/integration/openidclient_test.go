package integration

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// The certified npm package openid-client as the application: broker and store are real.

//go:embed testdata/openid-client.mjs
var openIDClientScript string

// A clientSetup is how the application presents itself, as testdata/openid-client.mjs reads it.
type clientSetup struct {
	Issuer      string `json:"issuer"`
	ID          string `json:"id"`
	Secret      string `json:"secret,omitempty"`
	Auth        string `json:"auth"`
	KeyAlg      string `json:"keyAlg,omitempty"` // for private_key_jwt
	PAR         bool   `json:"par,omitempty"`
	DPoPAlg     string `json:"dpopAlg,omitempty"`
	IDTokenAlg  string `json:"idTokenAlg,omitempty"`
	UserInfoAlg string `json:"userInfoAlg,omitempty"`
}

// A clientReport is what the application says at the end of a login.
type clientReport struct {
	TokenType    string         `json:"tokenType"`
	Claims       map[string]any `json:"claims"`
	UserInfo     map[string]any `json:"userInfo"`
	Introspected map[string]any `json:"introspected"`

	Rotated           int    `json:"rotated"` // different refresh tokens among three
	RetriedGotTheSame bool   `json:"retriedGotTheSame"`
	RefreshedSub      string `json:"refreshedSub"`

	// After the refresh token was revoked.
	RefreshAfterwards      string `json:"refreshAfterwards"`
	IntrospectedAfterwards *bool  `json:"introspectedAfterwards"`
	UserInfoAfterwards     string `json:"userInfoAfterwards"`

	Logout string `json:"logout"`
}

// startOpenIDClient starts the application and a broker that knows it by what else is in known, with alice at its upstream.
// It returns the application's origin.
func startOpenIDClient(t *testing.T, setup clientSetup, known store.Client) (origin string) {
	t.Helper()
	requireNode(t, "openid-client")
	upstream := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "alice"})
	brokertest.Start(t, func(base string) broker.Config {
		setup.Issuer = base
		config, err := json.Marshal(setup)
		if err != nil {
			t.Fatal(err)
		}
		app := startNode(t, "openid-client", openIDClientScript, prints("started "), string(config))
		var started struct {
			Origin string
			JWKS   json.RawMessage
		}
		printed := regexp.MustCompile(`started (\{.*\})\.`).FindStringSubmatch(app.output())[1]
		if err := json.Unmarshal([]byte(printed), &started); err != nil {
			t.Fatal(err)
		}
		origin = started.Origin
		known.RedirectURIs = []string{origin + "/callback"}
		known.PostLogoutRedirectURIs = []string{origin + "/bye"}
		known.JWKS = string(started.JWKS)
		return broker.Config{
			Store: sqlstore.New(openSQLite(t, newFile(t)+pragmas)),
			Providers: []broker.Provider{{
				Alias: "demo", IdP: demoIdP(t, upstream, base), TrustEmail: true, Logout: provider.LogoutPerform,
			}},
			DefaultProvider: "demo",
			Clients:         []store.Client{known},
		}
	})
	return origin
}

// demoIdP is a test provider as the upstream "demo" of the broker at base.
func demoIdP(t *testing.T, upstream *providertest.OIDC, base string) *oidc.Provider {
	t.Helper()
	client := upstream.Register(providertest.Client{
		RedirectURIs:           []string{brokertest.CallbackURL(base, "demo")},
		PostLogoutRedirectURIs: []string{base + "/broker/demo/logout_response"},
	})
	idp, err := oidc.New(oidc.Config{
		Issuer: upstream.Issuer(), ClientID: client.ID, ClientSecret: client.Secret,
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return idp
}

func TestOpenIDClient(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string]clientSetup{
		"basic":               {Auth: store.AuthSecretBasic},
		"post, PAR":           {Auth: store.AuthSecretPost, PAR: true, IDTokenAlg: "ES256"},
		"secret JWT":          {Auth: store.AuthSecretJWT, IDTokenAlg: "PS256", UserInfoAlg: "PS256"},
		"key ES256":           {Auth: store.AuthPrivateKeyJWT, KeyAlg: "ES256", UserInfoAlg: "ES256"},
		"key RS256, PAR":      {Auth: store.AuthPrivateKeyJWT, KeyAlg: "RS256", PAR: true, IDTokenAlg: "EdDSA", UserInfoAlg: "RS256"},
		"key EdDSA":           {Auth: store.AuthPrivateKeyJWT, KeyAlg: "EdDSA", IDTokenAlg: "EdDSA", UserInfoAlg: "EdDSA"},
		"key PS256, PAR+DPoP": {Auth: store.AuthPrivateKeyJWT, KeyAlg: "PS256", PAR: true, DPoPAlg: "ES256", IDTokenAlg: "PS256"},
		"basic, DPoP EdDSA":   {Auth: store.AuthSecretBasic, DPoPAlg: "Ed25519"},
		"public":              {Auth: store.AuthNone, IDTokenAlg: "ES256"},
		"public, PAR+DPoP":    {Auth: store.AuthNone, PAR: true, DPoPAlg: "PS256", IDTokenAlg: "ES256"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			setup.ID = "an-application:100%+more"
			if setup.Auth != store.AuthPrivateKeyJWT && setup.Auth != store.AuthNone {
				setup.Secret = foreignSecret + strings.Repeat("-", 16)
			}
			known := store.Client{
				ID: setup.ID, AuthMethod: setup.Auth, IDTokenAlg: setup.IDTokenAlg, UserInfoAlg: setup.UserInfoAlg,
				RequirePAR: setup.PAR, RequireDPoP: setup.DPoPAlg != "",
			}
			if setup.Secret != "" {
				known.Secrets = [][]byte{[]byte(setup.Secret)}
			}
			checkOpenIDClient(t, setup, startOpenIDClient(t, setup, known))
		})
	}
}

func checkOpenIDClient(t *testing.T, setup clientSetup, origin string) {
	t.Helper()
	browser := brokertest.NewBrowser(t)
	page := browser.Get(origin + "/login")
	if page.Status != http.StatusOK || !strings.HasPrefix(page.URL.String(), origin+"/callback?") {
		t.Fatalf("at %s (status %d), want the application:\n%s", page.URL, page.Status, page.Body)
	}
	var got clientReport
	page.JSON(&got)
	tokenType := "bearer" // openid-client writes it in lower case
	if setup.DPoPAlg != "" {
		tokenType = "dpop"
	}
	equal(t, "token_type", got.TokenType, tokenType)
	equal(t, "ID token's preferred_username", got.Claims["preferred_username"], any("alice"))
	equal(t, "userinfo's e-mail", got.UserInfo["email"], any("alice@example.com"))
	equal(t, "userinfo's sub", got.UserInfo["sub"], got.Claims["sub"])
	equal(t, "different refresh tokens", got.Rotated, 3)
	equal(t, "a retry within the grace got the same", got.RetriedGotTheSame, true)
	equal(t, "sub after refresh", any(got.RefreshedSub), got.Claims["sub"])
	equal(t, "refresh after revocation", got.RefreshAfterwards, "invalid_grant")
	equal(t, "userinfo after revocation", got.UserInfoAfterwards, "invalid_token")
	if setup.Auth != store.AuthNone {
		equal(t, "introspection", got.Introspected["active"], any(true))
		equal(t, "introspected sub", got.Introspected["sub"], got.Claims["sub"])
		equal(t, "introspected client", got.Introspected["client_id"], any(setup.ID))
		if got.IntrospectedAfterwards == nil || *got.IntrospectedAfterwards {
			t.Error("after revocation the access token is active, want not")
		}
	}

	// An ID token of the session signs out at once; then nobody is there any more.
	page = browser.Get(got.Logout)
	equal(t, "page after sign-out", page.Body, "the application")
	equal(t, "address after sign-out", page.URL.String(), origin+"/bye?state=over+%26+out")
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
