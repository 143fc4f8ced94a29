package oidc

import (
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
)

const tenantPlaceholder = "{tenantid}"

// issuers knows which values of "iss" are this provider.
type issuers struct {
	names          []string
	prefix, suffix string // around the tenant, if template is set
	template       bool
	tenants        []string // nil is any
}

func (c *Config) issuers() issuers {
	is := issuers{names: c.Issuers, tenants: c.Tenants}
	if is.prefix, is.suffix, is.template = strings.Cut(c.Issuer, tenantPlaceholder); !is.template {
		is.names = append([]string{c.Issuer}, c.Issuers...)
	}
	return is
}

// accept reports whether iss is this provider and, if it is by the template, which tenant of it.
func (is *issuers) accept(iss string) (tenant string, ok bool) {
	if slices.Contains(is.names, iss) {
		return "", true
	}
	if !is.template || len(iss) < len(is.prefix)+len(is.suffix) {
		return "", false
	}
	rest, ok := strings.CutPrefix(iss, is.prefix)
	if !ok {
		return "", false
	}
	tenant, ok = strings.CutSuffix(rest, is.suffix)
	if !ok || !isGUID(tenant) || (is.tenants != nil && !slices.Contains(is.tenants, tenant)) {
		return "", false
	}
	return tenant, true
}

// isGUID reports whether s is a GUID as Entra writes it: lower-case hexadecimal digits, 8-4-4-4-12.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Trust says on what the provider's word rests: its issuer, where its keys and answers come from, and how it signs. Which
// client the broker is there, and which tenants may come in, changes nobody's identity.
func (p *Provider) Trust() provider.Trust {
	basis := []string{"protocol=openid-connect"}
	for _, s := range []struct{ name, value string }{
		{"discovery", p.cfg.DiscoveryURL},
		{"token", p.cfg.Endpoints.Token},
		{"jwks", p.cfg.Endpoints.JWKS},
		{"userinfo", p.cfg.Endpoints.UserInfo},
	} {
		if s.value != "" {
			basis = append(basis, s.name+"="+s.value)
		}
	}
	for _, issuer := range p.cfg.Issuers {
		basis = append(basis, "issuer="+issuer)
	}
	if p.cfg.FormerSubjectClaim != "" {
		basis = append(basis, "former_subject="+p.cfg.FormerSubjectClaim)
	}
	if p.cfg.hmac() {
		basis = append(basis, "signed=HS256")
	}
	return provider.Trust{Issuer: p.cfg.Issuer, Basis: basis}
}
