package saml

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
)

var _ provider.Publisher = (*Provider)(nil)

const (
	descriptorType   = "application/samlmetadata+xml"
	descriptorMaxAge = time.Hour
	formatURI        = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
	formatBasic      = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"
)

// A published descriptor is kept, since a signature costs a millisecond.
type published struct {
	request provider.DescriptorRequest
	body    []byte
	until   time.Time
}

// Descriptor returns the broker's metadata for this identity provider (SAML Metadata §2.4.4), signed if
// Config.SignMetadata says so.
func (p *Provider) Descriptor(_ context.Context, r provider.DescriptorRequest) (*provider.Descriptor, error) {
	last := p.published.Load()
	if last == nil || last.request != r || !p.now().Before(last.until) {
		m := p.descriptor(r)
		if p.cfg.SignMetadata {
			if err := p.signingKey().envelop(p.cfg.SignatureAlgorithm, m.root); err != nil {
				return nil, fail(provider.Misconfigured, "sign metadata: %w", err)
			}
		}
		body, err := m.bytes()
		if err != nil {
			return nil, fail(provider.Misconfigured, "metadata: %w", err)
		}
		last = &published{r, body, p.now().Add(p.maxAge())}
		p.published.Store(last)
	}
	return &provider.Descriptor{ContentType: descriptorType, Body: append([]byte(nil), last.body...), MaxAge: p.maxAge()}, nil
}

// maxAge is short beside the time for which the metadata is valid.
func (p *Provider) maxAge() time.Duration { return min(descriptorMaxAge, p.cfg.MetadataValidity/8) }

func (p *Provider) descriptor(r provider.DescriptorRequest) *message {
	root := etree.NewElement("md:EntityDescriptor")
	root.CreateAttr("xmlns:md", nsMetadata)
	root.CreateAttr("ID", newID())
	root.CreateAttr("entityID", p.cfg.EntityID)
	root.CreateAttr("validUntil", p.now().Add(p.cfg.MetadataValidity).UTC().Format(time.RFC3339))
	role := root.CreateElement("md:SPSSODescriptor")
	role.CreateAttr("AuthnRequestsSigned", strconv.FormatBool(p.signingKey() != nil))
	role.CreateAttr("WantAssertionsSigned", strconv.FormatBool(p.cfg.WantAssertionsSigned))
	role.CreateAttr("protocolSupportEnumeration", nsProtocol)
	for i := range p.cfg.SigningKeys {
		describeKey(role, "signing", &p.cfg.SigningKeys[i])
	}
	if len(p.cfg.DecryptionKeys) > 0 {
		k := describeKey(role, "encryption", &p.cfg.DecryptionKeys[0])
		for _, algorithm := range []string{
			nsEncryption11 + "aes256-gcm", nsEncryption11 + "aes128-gcm", nsEncryption + "rsa-oaep-mgf1p",
		} {
			k.CreateElement("md:EncryptionMethod").CreateAttr("Algorithm", algorithm)
		}
	}
	if p.signingKey() != nil && r.LogoutURI != "" {
		for _, b := range []Binding{HTTPRedirect, HTTPPost} {
			describeEndpoint(role, "SingleLogoutService", b, r.LogoutURI)
		}
	}
	role.CreateElement("md:NameIDFormat").SetText(string(p.cfg.NameIDFormat))
	acs := describeEndpoint(role, "AssertionConsumerService", p.cfg.ResponseBinding, r.RedirectURI)
	acs.CreateAttr("index", "0")
	acs.CreateAttr("isDefault", "true")
	p.describeAttributes(role)
	return &message{root: root}
}

func describeKey(role *etree.Element, use string, key *Key) *etree.Element {
	k := role.CreateElement("md:KeyDescriptor")
	k.CreateAttr("use", use)
	info := k.CreateElement("ds:KeyInfo")
	info.CreateAttr("xmlns:ds", nsSignature)
	if key.Name != "" {
		info.CreateElement("ds:KeyName").SetText(key.Name)
	}
	info.CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").SetText(encodeBase64(key.Certificate.Raw))
	return k
}

func describeEndpoint(role *etree.Element, tag string, b Binding, location string) *etree.Element {
	e := role.CreateElement("md:" + tag)
	e.CreateAttr("Binding", string(b))
	e.CreateAttr("Location", location)
	return e
}

func (p *Provider) describeAttributes(role *etree.Element) {
	if len(p.cfg.RequestedAttributes) == 0 {
		return
	}
	index := uint16(1)
	if p.cfg.AttributeService != nil {
		index = *p.cfg.AttributeService
	}
	name := p.cfg.ServiceName
	if name == "" {
		name = p.cfg.EntityID
	}
	service := role.CreateElement("md:AttributeConsumingService")
	service.CreateAttr("index", strconv.Itoa(int(index)))
	title := service.CreateElement("md:ServiceName")
	title.CreateAttr("xml:lang", "en")
	title.SetText(name)
	for _, a := range p.cfg.RequestedAttributes {
		e := service.CreateElement("md:RequestedAttribute")
		e.CreateAttr("Name", a.Name)
		format := a.NameFormat
		if format == "" {
			format = formatBasic
			if strings.HasPrefix(a.Name, "urn:") || strings.Contains(a.Name, "://") {
				format = formatURI
			}
		}
		e.CreateAttr("NameFormat", format)
		if a.FriendlyName != "" {
			e.CreateAttr("FriendlyName", a.FriendlyName)
		}
		if a.Required {
			e.CreateAttr("isRequired", "true")
		}
	}
}
