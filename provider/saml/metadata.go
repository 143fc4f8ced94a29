package saml

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
)

const maxCertificates = 20

// An endpoint is an address of the identity provider, and the one that answers go to.
type endpoint struct{ location, response string }

// upstream is the identity provider as it is known at the moment. It is replaced as a whole and never changed.
type upstream struct {
	entityID     string
	signOns      map[Binding]endpoint
	logouts      map[Binding]endpoint
	artifacts    string // resolves artifacts; "" if there is none
	certificates []*x509.Certificate
	wantsSigned  bool      // requests have to be signed
	validUntil   time.Time // zero if the metadata does not say
	cacheFor     time.Duration
	fetched      time.Time
	refreshAt    time.Time // from when on it is fetched beside logins; zero if there is nothing to fetch
	staleAt      time.Time // from when on it is fetched before them
}

// signOn returns where a request for a login goes, and how.
func (up *upstream) signOn(configured Binding) (string, Binding, error) {
	e, b, err := choose(up.signOns, configured)
	if err != nil {
		return "", "", fail(provider.Misconfigured, "the identity provider takes no requests by the binding in RequestBinding")
	}
	return e.location, b, nil
}

var errNoEndpoint = errors.New("no endpoint")

// logout returns where messages about logout go, and how.
func (up *upstream) logout(configured Binding) (endpoint, Binding, error) {
	return choose(up.logouts, configured)
}

func choose(from map[Binding]endpoint, configured Binding) (endpoint, Binding, error) {
	order := []Binding{HTTPRedirect, HTTPPost}
	if configured != "" {
		order = []Binding{configured}
	}
	for _, b := range order {
		if e, ok := from[b]; ok {
			return e, b, nil
		}
	}
	return endpoint{}, "", errNoEndpoint
}

// keys returns those by which the identity provider signs now.
func (p *Provider) keys(up *upstream) ([]crypto.PublicKey, error) {
	now := p.now()
	if !up.validUntil.IsZero() && !now.Before(up.validUntil) {
		return nil, fail(provider.Unavailable, "the metadata of the identity provider was valid until %v", up.validUntil)
	}
	var keys []crypto.PublicKey
	for _, c := range up.certificates {
		if p.cfg.InsecureAllowExpiredCertificates || !now.Before(c.NotBefore.Add(-p.cfg.ClockSkew)) && !now.After(c.NotAfter) {
			keys = append(keys, c.PublicKey)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: none of its %d certificates is valid now", errForeignKey, len(up.certificates))
	}
	return keys, nil
}

// read reads metadata and puts what is configured over it.
func (p *Provider) read(data []byte) (*upstream, error) {
	root, err := parse(data, ofMetadata)
	if err != nil {
		return nil, err
	}
	if len(p.cfg.MetadataCertificates) > 0 {
		var keys []crypto.PublicKey
		for _, c := range p.cfg.MetadataCertificates {
			keys = append(keys, c.PublicKey)
		}
		if root, err = verified(root, keys, ofMetadata); err != nil {
			return nil, fmt.Errorf("signature of the metadata: %w", err)
		}
	}
	found, err := p.find(root)
	if err != nil {
		return nil, err
	}
	return p.configured(found)
}

// find looks for the one entity that is meant.
func (p *Provider) find(root *etree.Element) (*upstream, error) {
	var found *upstream
	err := eachEntity(root, func(e *etree.Element) error {
		id := trim(attr(e, "entityID"))
		if p.cfg.IdPEntityID != "" && id != p.cfg.IdPEntityID {
			return nil
		}
		role, err := roleOf(e)
		if err != nil {
			return err
		}
		if role == nil {
			return nil
		}
		if found != nil {
			return errors.New("more than one identity provider is meant: set IdPEntityID")
		}
		found = &upstream{entityID: id}
		// Of this one and the groups that it stands in: that others have expired is nothing to it.
		for around := e; around != root.Parent(); around = around.Parent() {
			if err := found.readValidity(around, p.now()); err != nil {
				return err
			}
		}
		return p.readRole(e, role, found)
	})
	if err == nil && found == nil {
		err = fmt.Errorf("no identity provider %q that speaks SAML 2.0", p.cfg.IdPEntityID)
	}
	return found, err
}

// eachEntity calls do with each EntityDescriptor, in whichever groups.
func eachEntity(e *etree.Element, do func(*etree.Element) error) error {
	switch {
	case is(e, nsMetadata, "EntityDescriptor"):
		return do(e)
	case !is(e, nsMetadata, "EntitiesDescriptor"):
		return fmt.Errorf("no metadata: it is a %s", quote(e.Tag))
	}
	for _, c := range elements(e) {
		if is(c, nsMetadata, "EntityDescriptor") || is(c, nsMetadata, "EntitiesDescriptor") {
			if err := eachEntity(c, do); err != nil {
				return err
			}
		}
	}
	return nil
}

// roleOf returns the IDPSSODescriptor of an entity that speaks SAML 2.0, nil if there is none.
func roleOf(e *etree.Element) (*etree.Element, error) {
	var found *etree.Element
	for _, role := range all(e, nsMetadata, "IDPSSODescriptor") {
		if !slices.Contains(strings.Fields(attr(role, "protocolSupportEnumeration")), nsProtocol) {
			continue
		}
		if found != nil {
			return nil, errors.New("an entity with two IDPSSODescriptors")
		}
		found = role
	}
	return found, nil
}

// readValidity narrows until when and for how long the metadata may be used.
func (up *upstream) readValidity(e *etree.Element, now time.Time) error {
	until, there, err := instant(e, "validUntil")
	if err != nil {
		return err
	}
	if there && !now.Before(until) {
		return fmt.Errorf("the metadata was valid until %v", until)
	}
	if there && (up.validUntil.IsZero() || until.Before(up.validUntil)) {
		up.validUntil = until
	}
	if s, there := lookup(e, "cacheDuration"); there {
		d, err := parseDuration(s)
		if err != nil {
			return err
		}
		d = max(d, time.Second) // zero would say that nothing was said
		if up.cacheFor == 0 || d < up.cacheFor {
			up.cacheFor = d
		}
	}
	return nil
}

func (p *Provider) readRole(entity, role *etree.Element, up *upstream) (err error) {
	if err := up.readValidity(role, p.now()); err != nil {
		return err
	}
	up.wantsSigned = boolean(role, "WantAuthnRequestsSigned")
	if up.signOns, err = p.endpoints(role, "SingleSignOnService"); err != nil {
		return err
	}
	if up.logouts, err = p.endpoints(role, "SingleLogoutService"); err != nil {
		return err
	}
	for _, e := range all(role, nsMetadata, "ArtifactResolutionService") {
		if attr(e, "Binding") == bindingSOAP && (up.artifacts == "" || boolean(e, "isDefault")) {
			if err := checkURL(attr(e, "Location"), p.cfg.InsecureAllowHTTP); err != nil {
				return fmt.Errorf("ArtifactResolutionService: %w", err)
			}
			up.artifacts = attr(e, "Location")
		}
	}
	for _, k := range all(role, nsMetadata, "KeyDescriptor") {
		if use := attr(k, "use"); use != "" && use != "signing" { // without a use it is for both
			continue
		}
		if err := up.readCertificates(k); err != nil {
			return fmt.Errorf("KeyDescriptor of %s: %w", quote(attr(entity, "entityID")), err)
		}
	}
	return nil
}

const bindingSOAP = "urn:oasis:names:tc:SAML:2.0:bindings:SOAP"

// endpoints reads the addresses of a service by the bindings that are known here; the first of each counts.
func (p *Provider) endpoints(role *etree.Element, tag string) (map[Binding]endpoint, error) {
	found := map[Binding]endpoint{}
	for _, e := range all(role, nsMetadata, tag) {
		b := Binding(attr(e, "Binding"))
		if _, there := found[b]; there || b != HTTPRedirect && b != HTTPPost {
			continue
		}
		at := endpoint{attr(e, "Location"), attr(e, "ResponseLocation")}
		if at.response == "" {
			at.response = at.location
		}
		for _, u := range []string{at.location, at.response} {
			if err := checkURL(u, p.cfg.InsecureAllowHTTP); err != nil {
				return nil, fmt.Errorf("%s: %w", tag, err)
			}
		}
		found[b] = at
	}
	return found, nil
}

// readCertificates adds those of a key; one that is unusable is passed over, as others may be usable.
func (up *upstream) readCertificates(k *etree.Element) error {
	info, err := one(k, nsSignature, "KeyInfo")
	if err != nil {
		return err
	}
	for _, data := range all(info, nsSignature, "X509Data") {
		for _, e := range all(data, nsSignature, "X509Certificate") {
			s, err := text(e)
			if err != nil {
				return err
			}
			der, err := decodeBase64(s)
			if err != nil {
				return errors.New("a certificate that is no base64")
			}
			c, err := x509.ParseCertificate(der)
			if err != nil || checkPublic(c.PublicKey) != nil {
				continue
			}
			if up.certificates = append(up.certificates, c); len(up.certificates) > maxCertificates {
				return errors.New("too many certificates")
			}
		}
	}
	return nil
}

// configured puts what is configured over what the metadata says, and checks that it is enough.
func (p *Provider) configured(up *upstream) (*upstream, error) {
	c := &p.cfg
	if c.IdPEntityID != "" {
		up.entityID = c.IdPEntityID
	}
	if c.Endpoints.SingleSignOn != "" {
		up.signOns = fixed(c.Endpoints.SingleSignOn, "", c.RequestBinding)
	}
	if c.Endpoints.SingleLogout != "" {
		b := c.LogoutBinding
		if b == "" {
			b = c.RequestBinding
		}
		up.logouts = fixed(c.Endpoints.SingleLogout, c.Endpoints.LogoutResponse, b)
	} else if c.Endpoints.LogoutResponse != "" {
		for b, e := range up.logouts {
			up.logouts[b] = endpoint{e.location, c.Endpoints.LogoutResponse}
		}
	}
	if c.Endpoints.ArtifactResolution != "" {
		up.artifacts = c.Endpoints.ArtifactResolution
	}
	if len(c.Certificates) > 0 {
		up.certificates = c.Certificates
	}
	switch {
	case up.entityID == "" || len(up.entityID) > maxEntityID:
		return nil, errors.New("the identity provider has no entityID, or one that is too long")
	case up.entityID == c.EntityID:
		return nil, errors.New("the identity provider is the broker itself")
	case len(up.certificates) == 0:
		return nil, errors.New("the identity provider has no certificate with a key that may sign (RSA of 2048 bits or more, ECDSA)")
	case c.ResponseBinding == HTTPArtifact && up.artifacts == "":
		return nil, errors.New("the identity provider resolves no artifacts")
	}
	if _, _, err := up.signOn(c.RequestBinding); err != nil {
		return nil, errors.New("the identity provider takes no requests by HTTP-Redirect or HTTP-POST, or not by RequestBinding")
	}
	return up, nil
}

func fixed(location, response string, b Binding) map[Binding]endpoint {
	if b == "" {
		b = HTTPRedirect
	}
	if response == "" {
		response = location
	}
	return map[Binding]endpoint{b: {location, response}}
}

var durationForm = regexp.MustCompile(`^P(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,5})D)?` +
	`(?:T(?:(\d{1,6})H)?(?:(\d{1,8})M)?(?:(\d{1,9})(?:\.\d+)?S)?)?$`)

// parseDuration reads an xs:duration. Years and months are taken short.
func parseDuration(s string) (time.Duration, error) {
	m := durationForm.FindStringSubmatch(trim(s))
	if m == nil {
		return 0, fmt.Errorf("cacheDuration %s is no duration", quote(s))
	}
	const day = 24 * time.Hour
	var d time.Duration
	for i, unit := range []time.Duration{365 * day, 28 * day, day, time.Hour, time.Minute, time.Second} {
		n, _ := strconv.Atoi(m[i+1]) // digits, or none
		d += min(time.Duration(n), 365*day/unit) * unit
	}
	return d, nil
}
