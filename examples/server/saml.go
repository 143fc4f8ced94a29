package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// A samlIdP is what a provider of the type saml has below its key saml. A field with the name of one of saml.Config is that one.
type samlIdP struct {
	EntityID                         string               `yaml:"entity_id"`
	IdPEntityID                      string               `yaml:"idp_entity_id"`
	MetadataURL                      string               `yaml:"metadata_url"`
	Metadata                         string               `yaml:"metadata_file"`
	MetadataCertificates             string               `yaml:"metadata_certificates"`
	MetadataRefresh                  time.Duration        `yaml:"metadata_refresh"`
	MetadataMaxAge                   time.Duration        `yaml:"metadata_max_age"`
	Endpoints                        samlEndpoints        `yaml:"endpoints"`
	Certificates                     string               `yaml:"certificates"`
	SigningKeys                      []samlKey            `yaml:"signing_keys"`
	SignatureAlgorithm               signatureAlgorithm   `yaml:"signature_algorithm"`
	KeyNames                         keyName              `yaml:"key_names"`
	KeyNameExtension                 bool                 `yaml:"key_name_extension"`
	DecryptionKeys                   []samlKey            `yaml:"decryption_keys"`
	NameIDFormat                     string               `yaml:"name_id_format"`
	DisallowCreate                   bool                 `yaml:"disallow_create"`
	SubjectAttribute                 string               `yaml:"subject_attribute"`
	SubjectFriendlyName              string               `yaml:"subject_friendly_name"`
	Attributes                       samlAttributes       `yaml:"attributes"`
	EmailVerified                    bool                 `yaml:"email_verified"`
	EssentialAttribute               string               `yaml:"essential_attribute"`
	EssentialValue                   string               `yaml:"essential_value"`
	RequestBinding                   samlBinding          `yaml:"request_binding"`
	ResponseBinding                  samlBinding          `yaml:"response_binding"`
	LogoutBinding                    samlBinding          `yaml:"logout_binding"`
	ForceAuthn                       bool                 `yaml:"force_authn"`
	IgnorePrompt                     bool                 `yaml:"ignore_prompt"`
	AcceptPromptNone                 bool                 `yaml:"accept_prompt_none"`
	ForwardLoginHint                 bool                 `yaml:"forward_login_hint"`
	MaxAge                           *time.Duration       `yaml:"max_age"`
	AuthnContextClasses              []string             `yaml:"authn_context_classes"`
	AuthnContextDecls                []string             `yaml:"authn_context_decls"`
	AuthnContextComparison           samlComparison       `yaml:"authn_context_comparison"`
	ForwardACRValues                 bool                 `yaml:"forward_acr_values"`
	RequestedAttributes              []requestedAttribute `yaml:"requested_attributes"`
	ServiceName                      string               `yaml:"service_name"`
	AttributeService                 *int                 `yaml:"attribute_service"`
	SignMetadata                     bool                 `yaml:"sign_metadata"`
	MetadataValidity                 time.Duration        `yaml:"metadata_validity"`
	WantAssertionsSigned             bool                 `yaml:"want_assertions_signed"`
	WantAssertionsEncrypted          bool                 `yaml:"want_assertions_encrypted"`
	ClockSkew                        time.Duration        `yaml:"clock_skew"`
	Unsolicited                      map[string]string    `yaml:"unsolicited"`
	InsecureAllowPrivateNetworks     bool                 `yaml:"insecure_allow_private_networks"`
	InsecureAllowHTTP                bool                 `yaml:"insecure_allow_http"`
	InsecureAllowCBC                 bool                 `yaml:"insecure_allow_cbc"`
	InsecureAllowExpiredCertificates bool                 `yaml:"insecure_allow_expired_certificates"`
}

type samlEndpoints struct {
	SingleSignOn       string `yaml:"single_sign_on"`
	SingleLogout       string `yaml:"single_logout"`
	LogoutResponse     string `yaml:"logout_response"`
	ArtifactResolution string `yaml:"artifact_resolution"`
}

type samlAttributes struct {
	Username  string `yaml:"username"`
	Email     string `yaml:"email"`
	FirstName string `yaml:"first_name"`
	LastName  string `yaml:"last_name"`
	Name      string `yaml:"name"`
	Groups    string `yaml:"groups"`
}

type requestedAttribute struct {
	Name         string `yaml:"name"`
	FriendlyName string `yaml:"friendly_name"`
	NameFormat   string `yaml:"name_format"`
	Required     bool   `yaml:"required"`
}

type samlKey struct {
	Private     secret `yaml:"private"`
	Certificate string `yaml:"certificate"`
	Name        string `yaml:"name"`
}

type (
	samlBinding        string
	samlComparison     string
	keyName            string
	signatureAlgorithm string
)

func (samlBinding) names() []string    { return []string{"redirect", "post", "artifact"} }
func (samlComparison) names() []string { return []string{"exact", "minimum", "maximum", "better"} }
func (keyName) names() []string        { return []string{"subject", "id"} }
func (signatureAlgorithm) names() []string {
	return []string{"rsa-sha256", "rsa-sha384", "rsa-sha512", "ecdsa-sha256", "ecdsa-sha384", "ecdsa-sha512"}
}

// binding returns what the library calls it, "" for none.
func (b samlBinding) binding() saml.Binding {
	return map[samlBinding]saml.Binding{"redirect": saml.HTTPRedirect, "post": saml.HTTPPost, "artifact": saml.HTTPArtifact}[b]
}

// algorithm returns its URI, "" for none.
func (a signatureAlgorithm) algorithm() saml.SignatureAlgorithm {
	if a == "" {
		return ""
	}
	return "http://www.w3.org/2001/04/xmldsig-more#" + saml.SignatureAlgorithm(a)
}

// nameIDFormats have a short name; others are URIs.
var nameIDFormats = map[string]saml.NameIDFormat{
	"persistent": saml.NameIDPersistent, "transient": saml.NameIDTransient, "email": saml.NameIDEmail, "unspecified": saml.NameIDUnspecified,
}

// maxMetadata is as much as the library takes.
const maxMetadata = 4 << 20

func (s *setup) samlProvider(path string, i *samlIdP) (provider.IdentityProvider, error) {
	if i == nil {
		return mistaken{}, nil // as was said
	}
	before := len(s.doc.problems)
	cfg := s.saml(path, *i)
	if len(s.doc.problems) > before { // what follows from these would be told as well
		return mistaken{}, nil
	}
	idp, err := saml.New(cfg)
	if err != nil {
		s.doc.explain(err, reflect.TypeFor[samlIdP](), path)
		return nil, err
	}
	return idp, nil
}

func (s *setup) saml(path string, i samlIdP) saml.Config {
	var made saml.Config
	s.assign(&made, i)
	s.assign(&made.Endpoints, i.Endpoints)
	s.assign(&made.Attributes, i.Attributes)
	for _, a := range i.RequestedAttributes {
		var one saml.RequestedAttribute
		s.assign(&one, a)
		made.RequestedAttributes = append(made.RequestedAttributes, one)
	}
	made.RequestBinding, made.ResponseBinding = i.RequestBinding.binding(), i.ResponseBinding.binding()
	made.LogoutBinding, made.SignatureAlgorithm = i.LogoutBinding.binding(), i.SignatureAlgorithm.algorithm()
	made.NameIDFormat = cmp.Or(nameIDFormats[i.NameIDFormat], made.NameIDFormat)
	if i.Metadata != "" {
		made.Metadata = s.read(path+".metadata_file", i.Metadata)
	}
	made.MetadataCertificates = s.certificates(path+".metadata_certificates", i.MetadataCertificates)
	made.Certificates = s.certificates(path+".certificates", i.Certificates)
	made.SigningKeys = s.samlKeys(path+".signing_keys", i.SigningKeys)
	made.DecryptionKeys = s.samlKeys(path+".decryption_keys", i.DecryptionKeys)
	if n := i.AttributeService; n != nil {
		if *n < 0 || *n > math.MaxUint16 {
			s.doc.problem(path+".attribute_service", "is to be between 0 and %d", math.MaxUint16)
		}
		made.AttributeService = new(uint16(*n)) //nolint:gosec // what does not fit was reported
	}
	made.HTTPClient = s.client(provider.HTTPOptions{
		MaxBody:                      maxMetadata,
		InsecureAllowPrivateNetworks: i.InsecureAllowPrivateNetworks, InsecureAllowHTTP: i.InsecureAllowHTTP,
	})
	made.Logger = slog.New(&s.log)
	return made
}

func (s *setup) samlKeys(path string, keys []samlKey) (made []saml.Key) {
	for i, k := range keys {
		at := fmt.Sprintf("%s[%d]", path, i)
		key := saml.Key{Name: k.Name}
		der, err := pkcs8(k.Private)
		if err == nil {
			var private any
			private, err = x509.ParsePKCS8PrivateKey(der)
			key.Private, _ = private.(crypto.Signer) // the library says which kinds there are
		}
		if err != nil && !s.doc.has(at+".private") {
			s.doc.problem(at+".private", "%v", err)
		}
		if all := s.certificates(at+".certificate", k.Certificate); len(all) == 1 {
			key.Certificate = all[0]
		} else if !s.doc.has(at + ".certificate") {
			s.doc.problem(at, "needs certificate: a file with the one that belongs to private")
		}
		made = append(made, key)
	}
	return made
}

// certificates reads the PEM file with this name, if there is one.
func (s *setup) certificates(path, name string) (all []*x509.Certificate) {
	if name == "" {
		return nil
	}
	rest := s.read(path, name)
	if rest == nil {
		return nil
	}
	for block, after := pem.Decode(rest); block != nil && block.Type == "CERTIFICATE"; block, after = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			break
		}
		all, rest = append(all, certificate), after
	}
	if len(all) == 0 || len(bytes.TrimSpace(rest)) > 0 {
		s.doc.problem(path, `is to be a file with PEM blocks "CERTIFICATE" and nothing else`)
	}
	return all
}

// read returns what is in a file that is no secret, nil if that was reported.
func (s *setup) read(path, name string) []byte {
	file, err := os.Open(s.doc.resolve(name))
	if err != nil {
		s.doc.problem(path, "%v", err)
		return nil
	}
	defer file.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(io.LimitReader(file, maxMetadata+1))
	if err == nil && len(text) > maxMetadata {
		err = fmt.Errorf("the file has more than %d bytes", maxMetadata)
	}
	if err != nil {
		s.doc.problem(path, "%v", err)
		return nil
	}
	return text
}

// checkType refuses the keys of another type of provider, which would do nothing.
func (s *setup) checkType(path string, u upstream) {
	below := u.Type // the key that has all of it
	if _, vendor := vendors[u.Type]; vendor {
		below = "social"
	}
	for _, other := range []struct {
		name upstreamType
		has  bool
	}{{"oauth2", u.OAuth2 != nil}, {"saml", u.SAML != nil}, {"social", u.Social != nil}} {
		at := path + "." + string(other.name)
		_, given := s.doc.find(at)
		switch {
		case below == other.name && !other.has && !s.doc.has(at):
			s.doc.problem(at, "is missing: it has all that is of this type")
		case below == other.name || !given || u.Type == "":
		case other.name == "social":
			s.doc.problem(at, "is for the types that are vendors, google for instance")
		default:
			s.doc.problem(at, "is for type %s", other.name)
		}
	}
	if u.Type == "oidc" || u.Type == "" {
		return
	}
	for key := range s.doc.keysOf(reflect.TypeFor[openID]()) {
		if _, given := s.doc.find(path + "." + key); given {
			s.doc.problem(path+"."+key, "is for type oidc; what is of type %s stands below %s", u.Type, below)
		}
	}
}

// A lateHandler logs to where it is told to once that is known: providers are made before the server, which has the log.
type lateHandler struct{ to atomic.Pointer[slog.Handler] }

func (h *lateHandler) handler() slog.Handler {
	if to := h.to.Load(); to != nil {
		return *to
	}
	return slog.DiscardHandler
}

func (h *lateHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.handler().Enabled(ctx, level)
}
func (h *lateHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.handler().Handle(ctx, r)
}
func (h *lateHandler) WithAttrs(attrs []slog.Attr) slog.Handler { return h.handler().WithAttrs(attrs) }
func (h *lateHandler) WithGroup(name string) slog.Handler       { return h.handler().WithGroup(name) }
