package broker

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
)

// descriptor handles GET /broker/{alias}/endpoint/descriptor: what an upstream fetches about the broker, such as its keys.
func (b *Broker) descriptor(w http.ResponseWriter, r *http.Request) {
	rec := web.RecordOf(r.Context())
	p, err := b.gate.Enabled(r.PathValue("alias"))
	if err != nil {
		b.login.Fail(w, r, nil, &login.Problem{Status: http.StatusNotFound, Message: "not_found", Err: err})
		return
	}
	rec.Note("provider", p.Alias)
	publisher, ok := p.IdP.(provider.Publisher)
	if !ok {
		b.notFound(w, r)
		return
	}
	at := b.base.String() + "/broker/" + p.Alias + "/endpoint"
	d, err := publisher.Descriptor(r.Context(), provider.DescriptorRequest{URL: at + "/descriptor", RedirectURI: at, LogoutURI: at + "/logout"})
	switch {
	case err != nil:
		b.login.Fail(w, r, nil, fmt.Errorf("descriptor: %w", err))
		return
	case d == nil:
		b.notFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", d.ContentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "no-store")
	if d.MaxAge >= time.Second {
		h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int64(d.MaxAge/time.Second)))
	}
	if _, err := w.Write(d.Body); err != nil { //nolint:gosec // the provider's own, and no page by the policy above
		rec.Err = errors.Join(errors.New("write descriptor"), err)
	}
}
