package web

import (
	"html/template"
	"net/url"
	"slices"
	"strings"
)

// SignedOutData is the data of the page "signedout".
type SignedOutData struct {
	Login       string // URL to sign in again; "" for none
	Back        string // URL of the application; "" for none
	Application string
	Upstream    *Link  // offers to sign out at the provider with this name as well; nil does not
	Unconfirmed bool   // the browser comes from Upstream, which did not say, or not credibly, that it is signed out there
	Onward      string // URL that the page leads to by itself once the frames had their time; "" stays
	// Frames are addresses of applications, which sign the browser out there (OpenID Connect Front-Channel Logout 1.0 §2).
	// What is no address of an http or https site is left out.
	Frames []string
}

// policy lets the page load its frames, and nothing else of their sites.
func (d SignedOutData) policy() string {
	var origins []string
	for _, raw := range d.Frames {
		if origin, ok := frameOrigin(raw); ok && !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	if len(origins) == 0 {
		return pagePolicy
	}
	return pagePolicy + "; frame-src " + strings.Join(origins, " ")
}

// frames returns the addresses that frames may show.
func frames(addresses []string) []template.URL {
	var list []template.URL
	for _, raw := range addresses {
		if _, ok := frameOrigin(raw); ok {
			list = append(list, template.URL(raw)) //nolint:gosec // checked just now
		}
	}
	return list
}

// frameOrigin returns the origin of an address as a policy names it (CSP Level 3 §2.3.1), and whether it has one.
func frameOrigin(raw string) (string, bool) {
	if checkURL(raw) != nil {
		return "", false
	}
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Scheme != "https" && u.Scheme != "http" || strings.ContainsFunc(u.Host, notInHost) {
		return "", false
	}
	return u.Scheme + "://" + u.Host, true
}

// notInHost reports what could end the name of a host in a policy. IPv6 addresses are among it: policies know none.
func notInHost(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != ':' && r != '_'
}
