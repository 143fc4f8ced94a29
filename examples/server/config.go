package main

import (
	"maps"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/provider"
)

// The file's keys. A field with the name of one of broker.Config, broker.Provider, oidc.Config, oauth2.Config, saml.Config or store.Client is that one:
// README.md says what it means, and a test that neither forgets any.

type config struct {
	BaseURL         string        `yaml:"base_url"`
	Listen          string        `yaml:"listen"`
	TLS             *tlsFiles     `yaml:"tls"`
	Log             logging       `yaml:"log"`
	Store           secret        `yaml:"store"` // which may have a password in it
	Redis           secret        `yaml:"redis"` // likewise
	Secrets         []secret      `yaml:"secrets"`
	Keys            schedule      `yaml:"keys"`
	Name            string        `yaml:"name"`
	HomeURL         string        `yaml:"home_url"`
	Theme           string        `yaml:"theme"`
	DefaultProvider string        `yaml:"default_provider"`
	FirstLogin      flowName      `yaml:"first_login"`
	PostLogin       flowName      `yaml:"post_login"`
	Mailer          *mailing      `yaml:"mail"`
	Credentials     bool          `yaml:"credentials"`
	LocalLogin      bool          `yaml:"local_login"`
	ChangeUsername  bool          `yaml:"change_username"`
	Passkeys        *passkeySite  `yaml:"passkeys"`
	Account         bool          `yaml:"account"`
	SessionLifetime time.Duration `yaml:"session_lifetime"`
	SessionIdle     time.Duration `yaml:"session_idle"`
	Providers       []upstream    `yaml:"providers"`
	Clients         []client      `yaml:"clients"`
	ClientHTTP      clientHTTP    `yaml:"client_http"`

	Flows map[string][]step `yaml:"flows"`
}

// mailing is how mail is sent: one of both.
type mailing struct {
	SMTP      *smtp  `yaml:"smtp"`
	Directory string `yaml:"directory"`
}

type smtp struct {
	Addr              string        `yaml:"addr"`
	From              string        `yaml:"from"`
	Username          string        `yaml:"username"`
	Password          secret        `yaml:"password"`
	ImplicitTLS       bool          `yaml:"implicit_tls"`
	Timeout           time.Duration `yaml:"timeout"`
	InsecurePlaintext bool          `yaml:"insecure_plaintext"`
}

type passkeySite struct {
	RPID string `yaml:"rp_id"`
}

type clientHTTP struct {
	Timeout                      time.Duration `yaml:"timeout"`
	InsecureAllowPrivateNetworks bool          `yaml:"insecure_allow_private_networks"`
	InsecureAllowHTTP            bool          `yaml:"insecure_allow_http"`
}

type tlsFiles struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

type logging struct {
	Level  logLevel  `yaml:"level"`
	Format logFormat `yaml:"format"`
}

type schedule struct {
	Announce time.Duration `yaml:"announce"`
	Sign     time.Duration `yaml:"sign"`
	Retire   time.Duration `yaml:"retire"`
}

// An upstream is one of providers. The keys of the type oidc stand in it, those of others in a mapping with the type's name.
type upstream struct {
	Type  upstreamType `yaml:"type"`
	Alias string       `yaml:"alias"`
	Name  string       `yaml:"name"`
	Icon  string       `yaml:"icon"`

	ThemeData map[string]string `yaml:"theme_data"`

	Order       int  `yaml:"order"`
	Disabled    bool `yaml:"disabled"`
	HideOnLogin bool `yaml:"hide_on_login"`
	LinkOnly    bool `yaml:"link_only"`

	ShowInAccount accountMode `yaml:"show_in_account"`

	Domains    []string `yaml:"domains"`
	TrustEmail bool     `yaml:"trust_email"`

	CaseSensitiveUsername bool `yaml:"case_sensitive_username"`
	TransientUsers        bool `yaml:"transient_users"`

	Sync       syncMode   `yaml:"sync"`
	Logout     logoutMode `yaml:"logout"`
	FirstLogin flowName   `yaml:"first_login"`
	PostLogin  flowName   `yaml:"post_login"`

	AllowTokenExchange bool `yaml:"allow_token_exchange"`

	StoreTokens      tokenMode     `yaml:"store_tokens"`
	TokensReadable   bool          `yaml:"tokens_readable"`
	TokenMinValidity time.Duration `yaml:"token_min_validity"`

	Mappers []mapping `yaml:"mappers"`

	openID
	SAML   *samlIdP      `yaml:"saml"`
	OAuth2 *oauth2Server `yaml:"oauth2"`
	Social *vendor       `yaml:"social"`
}

type openID struct {
	Issuer                       string            `yaml:"issuer"`
	Tenants                      []string          `yaml:"tenants"`
	InsecureAllowAnyTenant       bool              `yaml:"insecure_allow_any_tenant"`
	Issuers                      []string          `yaml:"issuers"`
	DiscoveryURL                 string            `yaml:"discovery_url"`
	Endpoints                    endpoints         `yaml:"endpoints"`
	RequireResponseIssuer        bool              `yaml:"require_response_issuer"`
	ClientID                     string            `yaml:"client_id"`
	ClientSecret                 secret            `yaml:"client_secret"`
	ClientKey                    *privateKey       `yaml:"client_key"`
	AuthMethod                   string            `yaml:"auth_method"`
	AssertionAudience            string            `yaml:"assertion_audience"`
	Scopes                       []string          `yaml:"scopes"`
	Prompt                       []string          `yaml:"prompt"`
	PromptValues                 []string          `yaml:"prompt_values"`
	IgnorePrompt                 bool              `yaml:"ignore_prompt"`
	AcceptPromptNone             bool              `yaml:"accept_prompt_none"`
	ForwardLoginHint             bool              `yaml:"forward_login_hint"`
	ForwardUILocales             bool              `yaml:"forward_ui_locales"`
	ForwardMaxAge                bool              `yaml:"forward_max_age"`
	MaxAge                       *time.Duration    `yaml:"max_age"`
	ForwardParams                []string          `yaml:"forward_params"`
	AuthParams                   map[string]string `yaml:"auth_params"`
	FormPost                     bool              `yaml:"form_post"`
	SigningAlgs                  []string          `yaml:"signing_algs"`
	ClockSkew                    time.Duration     `yaml:"clock_skew"`
	DecryptionKeys               []privateKey      `yaml:"decryption_keys"`
	ContentEncryption            []string          `yaml:"content_encryption"`
	RequireEncryptedIDToken      bool              `yaml:"require_encrypted_id_token"`
	RequireEncryptedUserInfo     bool              `yaml:"require_encrypted_userinfo"`
	DisableUserInfo              bool              `yaml:"disable_userinfo"`
	RequireSignedUserInfo        bool              `yaml:"require_signed_userinfo"`
	GroupsClaim                  string            `yaml:"groups_claim"`
	FormerSubjectClaim           string            `yaml:"former_subject_claim"`
	EssentialClaim               string            `yaml:"essential_claim"`
	EssentialValue               string            `yaml:"essential_value"`
	ExchangeAudiences            []string          `yaml:"exchange_audiences"`
	InsecureAllowPrivateNetworks bool              `yaml:"insecure_allow_private_networks"`
	InsecureAllowHTTP            bool              `yaml:"insecure_allow_http"`
	InsecureSkipPKCE             bool              `yaml:"insecure_skip_pkce"`
	InsecureSkipNonce            bool              `yaml:"insecure_skip_nonce"`
	InsecureAllowCodeInjection   bool              `yaml:"insecure_allow_code_injection"`
}

type endpoints struct {
	Authorization string `yaml:"authorization"`
	Token         string `yaml:"token"`
	UserInfo      string `yaml:"userinfo"`
	JWKS          string `yaml:"jwks"`
	EndSession    string `yaml:"end_session"`
	Revocation    string `yaml:"revocation"`
}

type privateKey struct {
	ID        string `yaml:"id"`
	Algorithm string `yaml:"algorithm"`
	Private   secret `yaml:"private"`
}

type clientClaim struct {
	Name  string   `yaml:"name"`
	From  string   `yaml:"from"`
	Scope string   `yaml:"scope"`
	In    []string `yaml:"in"`
	List  bool     `yaml:"list"`
}

type client struct {
	ID                     string        `yaml:"id"`
	Name                   string        `yaml:"name"`
	HomeURL                string        `yaml:"home_url"`
	Secrets                []secret      `yaml:"secrets"`
	AuthMethod             string        `yaml:"auth_method"`
	JWKS                   string        `yaml:"jwks"`
	JWKSURI                string        `yaml:"jwks_uri"`
	AuthSigningAlg         string        `yaml:"auth_signing_alg"`
	Grants                 []string      `yaml:"grants"`
	RedirectURIs           []string      `yaml:"redirect_uris"`
	Scopes                 []string      `yaml:"scopes"`
	Claims                 []clientClaim `yaml:"claims"`
	Audience               []string      `yaml:"audience"`
	PostLogoutRedirectURIs []string      `yaml:"post_logout_redirect_uris"`
	BackchannelLogoutURI   string        `yaml:"backchannel_logout_uri"`
	FrontchannelLogoutURI  string        `yaml:"frontchannel_logout_uri"`
	Providers              []string      `yaml:"providers"`
	ProviderTokens         []string      `yaml:"provider_tokens"`
	Origins                []string      `yaml:"origins"`
	Disabled               bool          `yaml:"disabled"`
	InsecureWithoutPKCE    bool          `yaml:"insecure_without_pkce"`
	Consent                bool          `yaml:"consent"`
	RequirePAR             bool          `yaml:"require_par"`
	RequireDPoP            bool          `yaml:"require_dpop"`
	UserInfoAlg            string        `yaml:"userinfo_alg"`
	IDTokenAlg             string        `yaml:"id_token_alg"`
	AccessTokenAlg         string        `yaml:"access_token_alg"`
	IDTokenLifetime        time.Duration `yaml:"id_token_lifetime"`
	AccessTokenLifetime    time.Duration `yaml:"access_token_lifetime"`
	RefreshLifetime        time.Duration `yaml:"refresh_lifetime"`
	RefreshIdle            time.Duration `yaml:"refresh_idle"`
}

// A choice is a value that has a name in the file.
type choice interface{ names() []string }

type (
	upstreamType string
	syncMode     string
	logoutMode   string
	accountMode  string
	tokenMode    string
	logLevel     string
	logFormat    string
)

func (upstreamType) names() []string {
	names := []string{"oidc", "oauth2", "saml"}
	for _, vendor := range slices.Sorted(maps.Keys(vendors)) {
		names = append(names, string(vendor))
	}
	return names
}
func (syncMode) names() []string    { return []string{"import", "force", "legacy"} }
func (logoutMode) names() []string  { return []string{"offer", "perform", "none"} }
func (accountMode) names() []string { return []string{"always", "when_linked", "never"} }
func (tokenMode) names() []string   { return []string{"none", "link", "session"} }
func (logLevel) names() []string    { return []string{"debug", "info", "warn", "error"} }
func (logFormat) names() []string   { return []string{"text", "json"} }

func (m syncMode) mode() provider.SyncMode {
	switch m {
	case "import":
		return provider.SyncImport
	case "force":
		return provider.SyncForce
	case "legacy":
		return provider.SyncLegacy
	}
	return provider.SyncInherit
}

func (m logoutMode) mode() provider.LogoutMode {
	switch m {
	case "perform":
		return provider.LogoutPerform
	case "none":
		return provider.LogoutNone
	}
	return provider.LogoutOffer
}

func (m tokenMode) mode() provider.TokenMode {
	switch m {
	case "link":
		return provider.TokensOnLink
	case "session":
		return provider.TokensInSession
	}
	return provider.TokensDropped
}

func (m accountMode) mode() provider.AccountMode {
	switch m {
	case "when_linked":
		return provider.AccountWhenLinked
	case "never":
		return provider.AccountNever
	}
	return provider.AccountAlways
}
