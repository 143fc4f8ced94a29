package saml

import (
	"crypto/sha256"
	"fmt"
	"net/url"

	"github.com/go-idbroker/idbroker/provider"
)

var _ provider.Trusted = (*Provider)(nil)

// Trust says on what the identity provider's word rests: its name, where its keys come from, and what in an answer is the
// subject. Which keys these are changes with every roll-over and is no part of it, as little as the broker's own name there.
//
// The issuer is not known without Config.IdPEntityID if the metadata has to be fetched. Links then do not outlive a change
// of it, even one that is confirmed.
func (p *Provider) Trust() provider.Trust {
	c := &p.cfg
	basis := []string{"protocol=saml-2.0"}
	note := func(name, value string) { basis = append(basis, name+"="+value) }
	if c.MetadataURL != "" {
		note("metadata", redact(c.MetadataURL))
	}
	if u, err := url.Parse(c.MetadataURL); err == nil && u.RawQuery != "" { // which may say whose metadata it is, or be secret
		note("metadata-query", fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(u.RawQuery))))
	}
	if len(c.Certificates) > 0 {
		note("keys", "configured")
	}
	switch {
	case c.SubjectAttribute != "":
		note("subject-attribute", c.SubjectAttribute)
	case c.SubjectFriendlyName != "":
		note("subject-friendly-name", c.SubjectFriendlyName)
	default:
		note("subject-format", string(c.NameIDFormat))
	}
	return provider.Trust{Issuer: p.issuer, Basis: basis}
}

// Stale returns why metadata could not be fetched again, while logins go on with what was known before. It is nil if
// nothing is amiss.
func (p *Provider) Stale() error {
	last := p.failed.Load()
	if last == nil || p.current.Load() == nil { // without any a login fails, and says why
		return nil
	}
	return last.err
}
