package saml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/provider"
)

const (
	defaultSkew    = time.Minute
	maxSkew        = 3 * time.Minute
	defaultTimeout = 10 * time.Second
	defaultRefresh = 6 * time.Hour
	defaultMaxAge  = 7 * 24 * time.Hour
	maxEntityID    = 1024 // SAML Core §8.3.6
	maxTarget      = 80   // bytes of a RelayState, SAML Bindings §3.4.3
)

// A NameIDFormat says what kind of name the identity provider is to call a user by (SAML Core §8.3).
type NameIDFormat string

// The formats. The zero value is NameIDPersistent.
const (
	NameIDPersistent  NameIDFormat = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	NameIDTransient   NameIDFormat = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient" // needs a principal attribute
	NameIDEmail       NameIDFormat = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	NameIDUnspecified NameIDFormat = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified" // any but transient
)

// A SignatureAlgorithm is how the broker signs.
type SignatureAlgorithm string

// The algorithms. The zero value is the one with SHA-256 that fits the key.
const (
	RSASHA256   SignatureAlgorithm = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
	RSASHA384   SignatureAlgorithm = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"
	RSASHA512   SignatureAlgorithm = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"
	ECDSASHA256 SignatureAlgorithm = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
	ECDSASHA384 SignatureAlgorithm = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
	ECDSASHA512 SignatureAlgorithm = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512"
)

// A KeyName is what a key of the broker is called in messages and in metadata, so that it is found among others.
type KeyName string

// The ways to name a key that has no Name of its own. The zero value names it not at all.
const (
	KeyNameSubject KeyName = "subject" // as the subject of its certificate is written: AD FS looks for that
	KeyNameID      KeyName = "id"      // by the SHA-256 of its public key, in base64url, as Keycloak does
)

// A Comparison says how what the user did must compare with Config.AuthnContextClasses (SAML Core §3.3.2.2.1).
type Comparison string

// The comparisons. The zero value is CompareExact, the only one to which the broker can hold the answer.
const (
	CompareExact   Comparison = "exact"
	CompareMinimum Comparison = "minimum"
	CompareMaximum Comparison = "maximum"
	CompareBetter  Comparison = "better"
)

// Endpoints are addresses of an identity provider. One that is set here beats that of the metadata.
type Endpoints struct {
	SingleSignOn       string // takes Config.RequestBinding
	SingleLogout       string // takes Config.LogoutBinding
	LogoutResponse     string // where answers to its logout requests go, if not to SingleLogout
	ArtifactResolution string
}

// A Key is one of the broker's own.
type Key struct {
	// Private signs or decrypts: RSA of 2048 bits or more, or, to sign, ECDSA on P-256, P-384 or P-521. One that decrypts
	// must be a crypto.Decrypter, as *rsa.PrivateKey is.
	Private crypto.Signer `json:"-"`
	// Certificate is how the identity provider knows its public half. Who has issued it and until when does not matter.
	Certificate *x509.Certificate
	// Name, if there is one, is sent beside the certificate as ds:KeyName. Config.KeyNames makes one up if it is empty.
	Name string
}

// Attributes are the names, or friendly names, of the attributes that hold what [provider.Identity] has a field for. An
// empty one is found by the names that are in common use: LDAP's as URN and in short, and those of AD FS and Entra.
type Attributes struct {
	Username, Email, FirstName, LastName, Name, Groups string
}

// A RequestedAttribute is one that the broker's metadata asks for.
type RequestedAttribute struct {
	Name         string
	FriendlyName string
	NameFormat   string // "urn:oasis:names:tc:SAML:2.0:attrname-format:uri" if empty and Name is a URI, else …:basic
	Required     bool
}

// Config describes an identity provider and the broker as its service provider. EntityID and a way to know the identity
// provider are required: MetadataURL, or Metadata, or IdPEntityID with Endpoints.SingleSignOn and Certificates. Everything
// else has a useful zero value.
type Config struct {
	// EntityID is the broker's name at the identity provider, and the audience that an assertion must be for: a URI. It is
	// good practice to have another one for each identity provider.
	EntityID string

	// IdPEntityID is the identity provider's name for itself, exactly as it spells it. With metadata of one identity
	// provider it need not be said.
	IdPEntityID string
	// MetadataURL is where its metadata is. It is fetched when first needed, again as MetadataRefresh says, and when a
	// signature is by an unknown key.
	MetadataURL string
	// Metadata is the metadata itself, an EntityDescriptor or an EntitiesDescriptor that IdPEntityID is in. With
	// MetadataURL it is what is used until that was fetched once.
	Metadata []byte
	// MetadataCertificates are whose signature the metadata must have. If nil it needs none: it is then as
	// trustworthy as the way it came.
	MetadataCertificates []*x509.Certificate
	// MetadataRefresh is how long what was fetched is used before it is fetched again, if its cacheDuration and validUntil ask
	// for nothing sooner: six hours if zero, five minutes at least. In its last quarter that is done beside logins, and
	// later on before the next one.
	MetadataRefresh time.Duration
	// MetadataMaxAge is how long after it was fetched metadata is used at most while it cannot be fetched again, if it does
	// not end by itself (validUntil) before that: a week if zero, or MetadataRefresh if that is longer. For so long somebody
	// who keeps the broker from its address keeps a key alive that was withdrawn there.
	MetadataMaxAge time.Duration
	// Endpoints beat those of the metadata.
	Endpoints Endpoints
	// Certificates are those by whose keys it signs; they beat those of the metadata. Only the key of one counts, and
	// the time in which it is valid.
	Certificates []*x509.Certificate

	// SigningKeys sign requests and the broker's metadata: the first one does, all are published, so that the next one
	// can be known in time. Without one nothing is signed, and there is no single logout.
	SigningKeys []Key `json:"-"`
	// SignatureAlgorithm is RSASHA256 or ECDSASHA256 if empty, as the first key is.
	SignatureAlgorithm SignatureAlgorithm
	// KeyNames names the keys that have no Name, signing and decryption keys alike; they have none if it is empty.
	KeyNames KeyName
	// KeyNameExtension says in the samlp:Extensions of what is signed and travels by HTTP-Redirect, where there is no ds:KeyInfo,
	// the name of the key, which it must have. Keycloak and its adapters read it (urn:keycloak:ext:key:1.0), others pass it over.
	KeyNameExtension bool
	// DecryptionKeys decrypt assertions: each is tried, the first one is published.
	DecryptionKeys []Key `json:"-"`

	// NameIDFormat is asked for, and the answer must have it unless it is NameIDUnspecified or Subject comes from an
	// attribute. NameIDPersistent if empty.
	NameIDFormat NameIDFormat
	// DisallowCreate asks for users only whom the identity provider calls by a name already.
	DisallowCreate bool
	// SubjectAttribute is the name of the attribute that says who it is, SubjectFriendlyName its friendly name; the NameID
	// says it if both are empty. It must have one value, that is never another user's.
	SubjectAttribute    string
	SubjectFriendlyName string
	// Attributes name those that make up the Identity.
	Attributes Attributes
	// EmailVerified says that the identity provider gives out no address that it has not verified. SAML has no way to
	// say so in an assertion.
	EmailVerified bool
	// EssentialAttribute is the name, or friendly name, of an attribute without which nobody gets in
	// (provider.ClaimMismatch). EssentialValue is a regular expression that the whole of one of its values must match;
	// empty is any value.
	EssentialAttribute string
	EssentialValue     string

	// RequestBinding is how requests for a login travel: HTTPRedirect or HTTPPost. If empty: HTTPRedirect, or HTTPPost if
	// the metadata has no other.
	RequestBinding Binding
	// ResponseBinding is how the answer must come; HTTPPost if empty. HTTPRedirect is for identity providers which
	// use it though the standard has it for nothing but logout; HTTPArtifact needs Endpoints.ArtifactResolution or metadata.
	ResponseBinding Binding
	// LogoutBinding is how messages about logout go out; as RequestBinding if empty. They come in either way.
	LogoutBinding Binding

	ForceAuthn       bool // users prove anew who they are, whatever session they have there
	IgnorePrompt     bool // "login" of an application is not passed on as ForceAuthn; by default it is
	AcceptPromptNone bool // "none" of an application is passed on as IsPassive; otherwise it is refused
	ForwardLoginHint bool // pass the application's login_hint on, as the Subject of the request
	// MaxAge is the longest time since the user proved who they are that is ever accepted; nil is any, and zero is
	// ForceAuthn.
	MaxAge *time.Duration
	// AuthnContextClasses and AuthnContextDecls ask how users prove who they are; one of the two at most.
	AuthnContextClasses    []string
	AuthnContextDecls      []string
	AuthnContextComparison Comparison // CompareExact if empty
	ForwardACRValues       bool       // the application's acr_values are asked for in place of AuthnContextClasses

	// RequestedAttributes are listed in the broker's metadata, as the service ServiceName. AttributeService is the index
	// by which requests refer to what the identity provider knows of that; nil refers to nothing, and is 1 in the metadata.
	RequestedAttributes []RequestedAttribute
	ServiceName         string
	AttributeService    *uint16
	// SignMetadata signs the broker's metadata, which then is valid for MetadataValidity; a week if zero.
	SignMetadata     bool
	MetadataValidity time.Duration

	// WantAssertionsSigned refuses assertions that have no signature of their own, even in a response that has one.
	WantAssertionsSigned bool
	// WantAssertionsEncrypted refuses assertions that are not encrypted.
	WantAssertionsEncrypted bool
	// ClockSkew is how far the identity provider's clock may be off; one minute if zero, three at most.
	ClockSkew time.Duration
	// Unsolicited lets the identity provider sign users in who have not asked for it here. It maps each RelayState with
	// which it may do so to where that leads: a path of the host's site, or "client:" ([provider.ToClient]) and the id of an
	// application, whose HomeURL it leads to. The RelayState "" is for those that send none. Nil refuses such logins.
	//
	// Whoever has an account there can sign somebody else's browser in to it: leave this off unless it is needed. A first login that
	// would have to wait for an answer begins again from here, so that nobody's browser waits for what a stranger has begun in it.
	Unsolicited map[string]string

	// HTTPClient fetches metadata and resolves artifacts; the guarded client of [provider.NewHTTPClient] if nil. One that is
	// given should be guarded too.
	HTTPClient *http.Client
	// InsecureAllowPrivateNetworks is for the client that is made when HTTPClient is nil.
	InsecureAllowPrivateNetworks bool
	InsecureAllowHTTP            bool // endpoints without TLS are not refused
	// InsecureAllowCBC takes assertions that are encrypted in a mode which does not notice changes, AES-CBC, though only
	// inside of what is signed as a whole.
	InsecureAllowCBC bool
	// InsecureAllowExpiredCertificates goes on trusting keys whose certificates have expired.
	InsecureAllowExpiredCertificates bool

	// Logger is told when metadata cannot be fetched; nil discards. That the last certificate of the identity provider ends is
	// one event thirty, fourteen and three days before, for each process that has logins: a warning whose attribute "event" is
	// "saml_certificate_expires", with "idp", "until" and the "threshold" in days.
	Logger *slog.Logger
	Now    func() time.Time // time.Now if nil
}

// Format prints the names of both, whatever the verb: the rest holds secrets.
func (c Config) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "saml service provider %q at %q", c.EntityID, c.idpName())
}

// LogValue keeps secrets out of logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("entity_id", c.EntityID), slog.String("idp", c.idpName()))
}

func (c *Config) idpName() string {
	if c.IdPEntityID == "" && c.MetadataURL != "" {
		return redact(c.MetadataURL)
	}
	return c.IdPEntityID
}

// withDefaults returns c with its own copies of what it refers to.
func (c Config) withDefaults() Config {
	if c.NameIDFormat == "" {
		c.NameIDFormat = NameIDPersistent
	}
	if c.ResponseBinding == "" {
		c.ResponseBinding = HTTPPost
	}
	if c.AuthnContextComparison == "" {
		c.AuthnContextComparison = CompareExact
	}
	if c.ClockSkew == 0 {
		c.ClockSkew = defaultSkew
	}
	if c.MetadataRefresh == 0 {
		c.MetadataRefresh = defaultRefresh
	}
	if c.MetadataMaxAge == 0 {
		c.MetadataMaxAge = max(defaultMaxAge, c.MetadataRefresh)
	}
	if c.MetadataValidity == 0 {
		c.MetadataValidity = 7 * 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MaxAge != nil {
		c.MaxAge = new(*c.MaxAge)
		c.ForceAuthn = c.ForceAuthn || *c.MaxAge <= 0
	}
	c.SigningKeys, c.DecryptionKeys = slices.Clone(c.SigningKeys), slices.Clone(c.DecryptionKeys)
	for _, keys := range [][]Key{c.SigningKeys, c.DecryptionKeys} {
		for i := range keys {
			keys[i].nameBy(c.KeyNames)
		}
	}
	if c.SignatureAlgorithm == "" && len(c.SigningKeys) > 0 {
		c.SignatureAlgorithm = RSASHA256
		if k := c.SigningKeys[0]; k.Certificate != nil {
			if _, ok := k.Certificate.PublicKey.(*ecdsa.PublicKey); ok {
				c.SignatureAlgorithm = ECDSASHA256
			}
		}
	}
	c.Metadata = slices.Clone(c.Metadata)
	c.MetadataCertificates, c.Certificates = slices.Clone(c.MetadataCertificates), slices.Clone(c.Certificates)
	c.AuthnContextClasses, c.AuthnContextDecls = slices.Clone(c.AuthnContextClasses), slices.Clone(c.AuthnContextDecls)
	c.RequestedAttributes = slices.Clone(c.RequestedAttributes)
	c.Unsolicited = maps.Clone(c.Unsolicited)
	return c
}

// static reports whether all that must be known of the identity provider is configured.
func (c *Config) static() bool {
	return c.IdPEntityID != "" && c.Endpoints.SingleSignOn != "" && len(c.Certificates) > 0
}

// httpClient returns the client to fetch with.
func (c *Config) httpClient() *http.Client {
	if c.HTTPClient == nil {
		return provider.NewHTTPClient(provider.HTTPOptions{
			MaxBody:                      int64(ofMetadata.bytes),
			InsecureAllowPrivateNetworks: c.InsecureAllowPrivateNetworks,
			InsecureAllowHTTP:            c.InsecureAllowHTTP,
		})
	}
	client := *c.HTTPClient
	if client.Timeout <= 0 {
		client.Timeout = defaultTimeout
	}
	if client.CheckRedirect == nil {
		client.CheckRedirect = func(*http.Request, []*http.Request) error {
			return errors.New("redirects are not followed: configure the address that it is sent on to")
		}
	}
	return &client
}

type report = func(format string, args ...any)

// check returns every mistake in c, and what EssentialAttribute must match.
func (c *Config) check() (*regexp.Regexp, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("saml: "+format, args...)) }
	c.checkIdP(bad)
	c.checkKeys(bad)
	c.checkRequest(bad)
	c.checkAnswer(bad)
	required, err := c.essential()
	if err != nil {
		bad("EssentialValue: %w", err)
	}
	return required, errors.Join(errs...)
}

func (c *Config) checkIdP(bad report) {
	if c.EntityID == "" || len(c.EntityID) > maxEntityID || strings.ContainsAny(c.EntityID, " \t\r\n") {
		bad("EntityID: is missing, too long, or has space in it")
	}
	if c.EntityID != "" && c.EntityID == c.IdPEntityID {
		bad("EntityID: is that of the identity provider")
	}
	if !c.static() && c.MetadataURL == "" && len(c.Metadata) == 0 {
		bad("the identity provider is not known: set MetadataURL, Metadata, or IdPEntityID, Endpoints.SingleSignOn and Certificates")
	}
	if len(c.MetadataCertificates) > 0 && c.MetadataURL == "" && len(c.Metadata) == 0 {
		bad("MetadataCertificates: there is no metadata")
	}
	if c.MetadataRefresh < minRefresh {
		bad("MetadataRefresh: at least %v", minRefresh)
	}
	if c.MetadataMaxAge < c.MetadataRefresh {
		bad("MetadataMaxAge: shorter than MetadataRefresh")
	}
	if c.MetadataValidity < time.Hour {
		bad("MetadataValidity: at least an hour")
	}
	for _, e := range []struct{ name, url string }{
		{"MetadataURL", c.MetadataURL},
		{"Endpoints.SingleSignOn", c.Endpoints.SingleSignOn},
		{"Endpoints.SingleLogout", c.Endpoints.SingleLogout},
		{"Endpoints.LogoutResponse", c.Endpoints.LogoutResponse},
		{"Endpoints.ArtifactResolution", c.Endpoints.ArtifactResolution},
	} {
		if e.url == "" {
			continue
		}
		if err := checkURL(e.url, c.InsecureAllowHTTP); err != nil {
			bad("%s: %w", e.name, err)
		}
	}
}

func (c *Config) checkKeys(bad report) {
	for i, cert := range c.Certificates {
		if err := checkCertificate(cert); err != nil {
			bad("Certificates[%d]: %w", i, err)
		}
	}
	for i, cert := range c.MetadataCertificates {
		if err := checkCertificate(cert); err != nil {
			bad("MetadataCertificates[%d]: %w", i, err)
		}
	}
	for i := range c.SigningKeys {
		if err := c.SigningKeys[i].check(); err != nil {
			bad("SigningKeys[%d]: %w", i, err)
		} else if i == 0 {
			c.checkAlgorithm(bad)
		}
	}
	for i := range c.DecryptionKeys {
		k := &c.DecryptionKeys[i]
		if err := k.check(); err != nil {
			bad("DecryptionKeys[%d]: %w", i, err)
			continue
		}
		_, isRSA := k.Certificate.PublicKey.(*rsa.PublicKey)
		if _, decrypts := k.Private.(crypto.Decrypter); !isRSA || !decrypts {
			bad("DecryptionKeys[%d]: is no RSA key that decrypts", i)
		}
	}
	c.checkKeyNames(bad)
	if len(c.SigningKeys) == 0 && (c.SignatureAlgorithm != "" || c.SignMetadata || c.KeyNameExtension) {
		bad("SigningKeys: there is none to sign with")
	}
	if len(c.DecryptionKeys) == 0 && c.WantAssertionsEncrypted {
		bad("DecryptionKeys: WantAssertionsEncrypted needs one")
	}
}

func (c *Config) checkAlgorithm(bad report) {
	method, ok := signatureMethods[string(c.SignatureAlgorithm)]
	_, isRSA := c.SigningKeys[0].Certificate.PublicKey.(*rsa.PublicKey)
	if !ok || method.rsa != isRSA {
		bad("SignatureAlgorithm: %q is unknown, or is not for the first of SigningKeys", c.SignatureAlgorithm)
	}
}

func (c *Config) checkKeyNames(bad report) {
	switch c.KeyNames {
	case "", KeyNameSubject, KeyNameID:
	default:
		bad("KeyNames: %q is unknown", c.KeyNames)
	}
	if c.KeyNames != "" && len(c.SigningKeys)+len(c.DecryptionKeys) == 0 {
		bad("KeyNames: there are no keys")
	}
	for i, k := range c.SigningKeys {
		if k.Name == "" && c.KeyNames == KeyNameSubject && k.Certificate != nil {
			bad("KeyNames: the certificate of SigningKeys[%d] has no subject", i)
		}
	}
	if c.KeyNameExtension && len(c.SigningKeys) > 0 && c.SigningKeys[0].Name == "" {
		bad("KeyNameExtension: the first of SigningKeys has no name: set its Name or KeyNames")
	}
}

// nameBy gives the key a name if it has none.
func (k *Key) nameBy(how KeyName) {
	if k.Name != "" || k.Certificate == nil {
		return
	}
	switch how {
	case KeyNameSubject:
		k.Name = subjectOf(k.Certificate)
	case KeyNameID:
		sum := sha256.Sum256(k.Certificate.RawSubjectPublicKeyInfo)
		k.Name = base64.RawURLEncoding.EncodeToString(sum[:])
	}
}

// subjectOf writes the subject of a certificate as .NET and Java do, most specific first and with space behind the commas: AD FS
// compares text.
func subjectOf(c *x509.Certificate) string {
	var parts pkix.RDNSequence
	if _, err := asn1.Unmarshal(c.RawSubject, &parts); err != nil {
		return ""
	}
	var names []string
	for _, part := range slices.Backward(parts) {
		names = append(names, pkix.RDNSequence{part}.String())
	}
	return strings.Join(names, ", ")
}

// check signs once: only a signature shows that the key can make one.
func (k *Key) check() error {
	if isNil(k.Private) || k.Certificate == nil {
		return errors.New("needs Private and Certificate")
	}
	public := k.Certificate.PublicKey
	if err := checkPublic(public); err != nil {
		return err
	}
	if own, ok := public.(interface{ Equal(crypto.PublicKey) bool }); !ok || !own.Equal(k.Private.Public()) {
		return errors.New("Certificate is not that of Private")
	}
	algorithm := RSASHA256
	if _, ok := public.(*ecdsa.PublicKey); ok {
		algorithm = ECDSASHA256
	}
	data := []byte("idbroker")
	value, err := k.sign(algorithm, data)
	if err != nil {
		return err
	}
	if !signedBy([]crypto.PublicKey{public}, string(algorithm), data, value) {
		return errors.New("what it signs cannot be verified")
	}
	return nil
}

// isNil knows the private keys that have nothing in them.
func isNil(private crypto.Signer) bool {
	switch k := private.(type) {
	case nil:
		return true
	case *rsa.PrivateKey:
		return k == nil || k.N == nil || k.D == nil
	case *ecdsa.PrivateKey:
		//lint:ignore SA1019 whether it is there is all that is looked at
		return k == nil || k.Curve == nil || k.X == nil || k.D == nil //nolint:staticcheck // as it says above
	}
	return false
}

func checkCertificate(cert *x509.Certificate) error {
	if cert == nil {
		return errors.New("is nil")
	}
	return checkPublic(cert.PublicKey)
}

func (c *Config) checkRequest(bad report) {
	for _, b := range []struct {
		name  string
		value Binding
		also  Binding
	}{
		{"RequestBinding", c.RequestBinding, HTTPPost},
		{"LogoutBinding", c.LogoutBinding, HTTPPost},
		{"ResponseBinding", c.ResponseBinding, HTTPArtifact},
	} {
		if b.value != "" && b.value != HTTPRedirect && b.value != HTTPPost && b.value != b.also {
			bad("%s: %q is refused", b.name, b.value)
		}
	}
	if c.ResponseBinding == HTTPArtifact && c.static() && c.Endpoints.ArtifactResolution == "" {
		bad("Endpoints.ArtifactResolution: HTTPArtifact needs it")
	}
	if !isURI(string(c.NameIDFormat)) {
		bad("NameIDFormat: %q is no URI", c.NameIDFormat)
	}
	switch c.AuthnContextComparison {
	case CompareExact, CompareMinimum, CompareMaximum, CompareBetter:
	default:
		bad("AuthnContextComparison: %q is unknown", c.AuthnContextComparison)
	}
	if len(c.AuthnContextClasses) > 0 && len(c.AuthnContextDecls) > 0 || c.ForwardACRValues && len(c.AuthnContextDecls) > 0 {
		bad("AuthnContextDecls: cannot stand beside classes")
	}
	for _, ref := range slices.Concat(c.AuthnContextClasses, c.AuthnContextDecls) {
		if !isURI(ref) {
			bad("AuthnContextClasses, AuthnContextDecls: %q is no URI", ref)
		}
	}
	if c.MaxAge != nil && *c.MaxAge < 0 {
		bad("MaxAge: is negative")
	}
	for _, a := range c.RequestedAttributes {
		if a.Name == "" {
			bad("RequestedAttributes: one has no Name")
		}
	}
	if len(c.RequestedAttributes) == 0 && c.ServiceName != "" {
		bad("ServiceName: there are no RequestedAttributes")
	}
}

func (c *Config) checkAnswer(bad report) {
	fromAttribute := c.SubjectAttribute != "" || c.SubjectFriendlyName != ""
	if c.SubjectAttribute != "" && c.SubjectFriendlyName != "" {
		bad("SubjectAttribute and SubjectFriendlyName: one of them says who it is")
	}
	if c.NameIDFormat == NameIDTransient && !fromAttribute {
		bad("NameIDFormat: a transient name is another one at each login: set SubjectAttribute or SubjectFriendlyName")
	}
	if c.ClockSkew < 0 || c.ClockSkew > maxSkew {
		bad("ClockSkew: must be between zero and %v", maxSkew)
	}
	for relayState, target := range c.Unsolicited {
		if len(relayState) > maxTarget || strings.ContainsFunc(relayState, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			bad("Unsolicited: %q cannot be a RelayState", relayState)
		}
		if client, ok := strings.CutPrefix(target, provider.ToClient); ok && client != "" {
			continue
		}
		if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.ContainsAny(target, "\\\r\n\t") {
			bad("Unsolicited: %q is no path of the host's site, nor a client", target)
		}
	}
	if len(c.Unsolicited) > 0 && c.ForceAuthn {
		bad("Unsolicited: nobody can be made to prove anew who they are where nobody asked: use MaxAge instead of ForceAuthn")
	}
	if c.InsecureAllowCBC && len(c.DecryptionKeys) == 0 {
		bad("InsecureAllowCBC: there are no DecryptionKeys")
	}
}

func (c *Config) essential() (*regexp.Regexp, error) {
	switch {
	case c.EssentialAttribute == "" && c.EssentialValue == "":
		return nil, nil
	case c.EssentialAttribute == "":
		return nil, errors.New("has no EssentialAttribute to look at")
	case c.EssentialValue == "":
		return regexp.Compile(`(?s)\A.+\z`)
	}
	if _, err := regexp.Compile(c.EssentialValue); err != nil { // before the anchors, which could balance it
		return nil, err
	}
	return regexp.Compile(`\A(?:` + c.EssentialValue + `)\z`)
}

// checkURL refuses what is no absolute https URL, or could not be fetched or posted to as it stands.
func checkURL(raw string, allowHTTP bool) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("is not a URL") // the error would repeat it, password included
	case u.Scheme != "https" && (u.Scheme != "http" || !allowHTTP):
		return fmt.Errorf("%s is not an https address (InsecureAllowHTTP allows http)", redact(raw))
	case u.Host == "" || u.Opaque != "":
		return fmt.Errorf("%s has no host", redact(raw))
	case u.User != nil:
		return fmt.Errorf("%s has a user name or password in it", redact(raw))
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return fmt.Errorf("%s has a fragment", redact(raw))
	}
	return nil
}

// redact returns a URL without what could be secret in it.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "an address that is none"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func isURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme != "" && !strings.ContainsAny(s, " \t\r\n")
}
