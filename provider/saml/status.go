package saml

import (
	"errors"
	"fmt"
	"strings"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
)

const statusPrefix = "urn:oasis:names:tc:SAML:2.0:status:"

// A status is what became of a request (SAML Core §3.2.2.2).
type status struct {
	code    string // Success, Requester, Responder, VersionMismatch
	sub     string // says more; "" if there is nothing to say
	message string
}

// readStatus reads the Status of a response. Nothing has vouched for it when it is read first: it can end a login, and
// can never be what lets somebody in.
func readStatus(response *etree.Element) (s status, err error) {
	e, err := one(response, nsProtocol, "Status")
	if err != nil {
		return s, err
	}
	code, err := one(e, nsProtocol, "StatusCode")
	if err != nil {
		return s, err
	}
	s.code = strings.TrimPrefix(attr(code, "Value"), statusPrefix)
	sub, err := maybe(code, nsProtocol, "StatusCode")
	if err != nil {
		return s, err
	}
	if sub != nil {
		s.sub = strings.TrimPrefix(attr(sub, "Value"), statusPrefix)
	}
	message, err := maybe(e, nsProtocol, "StatusMessage")
	if err != nil {
		return s, err
	}
	if message != nil {
		s.message, _ = textOf(message)
	}
	return s, nil
}

// err returns what a status means, nil for success.
func (s status) err() error {
	if s.code == "Success" {
		return nil
	}
	e := &provider.Error{Kind: s.kind(), Code: safeCode(s.code)}
	if s.sub != "" {
		e.Code = safeCode(s.sub)
	}
	e.Err = errors.New("the identity provider has not signed anybody in")
	if s.message != "" {
		e.Err = fmt.Errorf("%w: it says %s", e.Err, quote(s.message))
	}
	return e
}

func (s status) kind() provider.Kind {
	switch s.sub {
	case "NoPassive":
		return provider.LoginRequired
	case "AuthnFailed", "RequestDenied", "UnknownPrincipal":
		return provider.Denied
	case "InvalidNameIDPolicy", "NoAuthnContext", "UnsupportedBinding", "RequestUnsupported", "InvalidAttrNameOrValue",
		"NoAvailableIDP", "NoSupportedIDP", "ProxyCountExceeded", "RequestVersionDeprecated", "RequestVersionTooHigh",
		"RequestVersionTooLow":
		return provider.Misconfigured
	}
	switch s.code {
	case "Requester", "VersionMismatch":
		return provider.Misconfigured
	case "Responder":
		return provider.Unavailable
	}
	return provider.Invalid
}

// safeCode returns a code if it is one.
func safeCode(code string) string {
	if len(code) > 64 || strings.ContainsFunc(code, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
		return ""
	}
	return code
}
