package provider

import (
	"context"
	"time"
)

// Publisher is the capability of an [IdentityProvider] that has something about the broker for the upstream to fetch: its
// public keys (OpenID Connect "jwks_uri"), its metadata (SAML 2.0 Metadata).
type Publisher interface {
	// Descriptor returns the document, or nil without an error if there is nothing to publish. Anybody may read it, and
	// asking must cost little.
	Descriptor(ctx context.Context, r DescriptorRequest) (*Descriptor, error)
}

// DescriptorRequest is where the broker is for this upstream.
type DescriptorRequest struct {
	URL         string // of the document itself
	RedirectURI string // where answers go, as in [Request]
	LogoutURI   string // where messages about logout go that a browser brings, see [LogoutAnswerer]
}

// A Descriptor is a document that the broker publishes for an upstream.
type Descriptor struct {
	ContentType string
	Body        []byte        // the caller's; never anything secret
	MaxAge      time.Duration // for how long it may be cached; zero is not at all
}
