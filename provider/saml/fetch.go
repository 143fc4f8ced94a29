package saml

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/go-idbroker/idbroker/provider"
)

const (
	minRefresh    = 5 * time.Minute
	staleRetry    = time.Minute     // while metadata is stale and cannot be fetched
	staleWait     = 3 * time.Second // for which a visitor waits for news where what is known could still be used
	firstRetry    = 3 * time.Second // while it is not known and cannot be fetched: visitors come faster
	renewInterval = time.Minute     // between fetches because of unknown keys
	flightTimeout = 15 * time.Second
)

// A failure is why metadata could not be fetched, and until when that is not tried again.
type failure struct {
	err   error
	until time.Time
}

// upstream returns the identity provider, fetching its metadata if need be.
func (p *Provider) upstream(ctx context.Context) (*upstream, error) {
	up, err := p.newest(ctx)
	if err == nil {
		p.watch(ctx, up)
	}
	return up, err
}

var _ provider.Maintained = (*Provider)(nil)

// Maintain fetches the metadata if it is time to, and warns of certificates that will expire, of those too that stay in use because
// nothing newer can be had.
func (p *Provider) Maintain(ctx context.Context) (err error) {
	if up := p.current.Load(); !up.fresh(p.now()) {
		flight := p.flight.DoChan("", func() (any, error) { return p.refresh(ctx, false) })
		select {
		case r := <-flight:
			err = r.Err
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if up := p.current.Load(); up != nil {
		p.watch(ctx, up)
	}
	return err
}

// newest returns what is known, and has it fetched again in time, so that a provider which is in use makes nobody wait. What is
// past its time has to be fetched first: a key may have been withdrawn while nobody looked. Where that cannot be done, or
// not soon, what is known stays in use for a while (see usable). Callers at the same time share one request, and one that
// leaves does not end it for the others.
func (p *Provider) newest(ctx context.Context) (*upstream, error) {
	up, now := p.current.Load(), p.now()
	if up.fresh(now) {
		return up, nil
	}
	flight := p.flight.DoChan("", func() (any, error) { return p.refresh(ctx, false) })
	usable := p.usable(up, now)
	if usable && now.Before(up.staleAt) {
		return up, nil
	}
	var patience <-chan time.Time
	if usable {
		timer := time.NewTimer(staleWait)
		defer timer.Stop()
		patience = timer.C
	}
	select {
	case r := <-flight:
		switch {
		case r.Err == nil:
			return r.Val.(*upstream), nil //nolint:errcheck // refresh returns nothing else
		case usable:
			return up, nil
		}
		return nil, r.Err
	case <-patience:
		return up, nil
	case <-ctx.Done():
		if usable {
			return up, nil
		}
		return nil, fail(provider.Unavailable, "metadata at %s: %w", redact(p.cfg.MetadataURL), ctx.Err())
	}
}

func (up *upstream) fresh(now time.Time) bool {
	return up != nil && (up.refreshAt.IsZero() || now.Before(up.refreshAt))
}

// usable reports whether up may still be used when it cannot be fetched again. Metadata that is configured has no age: it
// is the administrator's word.
func (p *Provider) usable(up *upstream, now time.Time) bool {
	return up != nil && (up.validUntil.IsZero() || now.Before(up.validUntil)) &&
		(up.fetched.IsZero() || now.Before(up.fetched.Add(p.cfg.MetadataMaxAge)))
}

// withKeys calls do with the identity provider and, if that finds a signature by an unknown key, again with the newest
// metadata: it may have a new key.
func (p *Provider) withKeys(ctx context.Context, do func(*upstream) error) error {
	up, err := p.upstream(ctx)
	if err != nil {
		return err
	}
	err = do(up)
	if !errors.Is(err, errForeignKey) || p.cfg.MetadataURL == "" {
		return err
	}
	newer, _, _ := p.flight.Do("", func() (any, error) { return p.refresh(ctx, true) })
	if now, ok := newer.(*upstream); ok && now != nil && now != up {
		return do(now)
	}
	return err
}

// refresh fetches the metadata unless another flight has just done that, which landed after the caller had looked.
func (p *Provider) refresh(ctx context.Context, renew bool) (*upstream, error) {
	old, now := p.current.Load(), p.now()
	if old.fresh(now) && (!renew || now.Before(old.fetched.Add(renewInterval))) {
		return old, nil
	}
	if last := p.failed.Load(); last != nil && now.Before(last.until) {
		return nil, last.err
	}
	// Detached from the request, as others wait for it too, and bounded by a time of its own.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
	defer cancel()
	up, err := p.fetch(ctx)
	if err != nil {
		wait := firstRetry
		if old != nil {
			wait = staleRetry
		}
		p.failed.Store(&failure{err, now.Add(wait)})
		p.cfg.Logger.WarnContext(ctx, "SAML metadata cannot be fetched", "idp", p.cfg.idpName(), "error", err)
		return nil, err
	}
	p.failed.Store(nil)
	p.current.Store(up)
	return up, nil
}

func (p *Provider) fetch(ctx context.Context) (*upstream, error) {
	at := redact(p.cfg.MetadataURL)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.cfg.MetadataURL, nil)
	if err != nil {
		return nil, fail(provider.Misconfigured, "metadata at %s: bad address", at)
	}
	req.Header.Set("Accept", "application/samlmetadata+xml, application/xml;q=0.9, */*;q=0.1")
	status, body, err := p.do(req, ofMetadata.bytes)
	switch {
	case err != nil:
		return nil, fail(provider.Unavailable, "metadata at %s: %w", at, err)
	case status >= 500 || status == http.StatusTooManyRequests:
		return nil, fail(provider.Unavailable, "metadata at %s: status %d", at, status)
	case status != http.StatusOK:
		return nil, fail(provider.Misconfigured, "metadata at %s: status %d", at, status)
	}
	up, err := p.read(body)
	if err != nil {
		return nil, fail(provider.Misconfigured, "metadata at %s: %w", at, err)
	}
	up.fetched = p.now()
	lifetime := p.cfg.MetadataRefresh
	if up.cacheFor > 0 {
		lifetime = min(lifetime, up.cacheFor)
	}
	if !up.validUntil.IsZero() {
		lifetime = min(lifetime, up.validUntil.Sub(up.fetched)/2)
	}
	lifetime = max(lifetime, minRefresh)
	if !up.validUntil.IsZero() {
		lifetime = min(lifetime, up.validUntil.Sub(up.fetched))
	}
	up.refreshAt, up.staleAt = up.fetched.Add(lifetime*3/4), up.fetched.Add(lifetime)
	return up, nil
}

// do sends req and reads the whole answer. Its errors name no more of the address than its path.
func (p *Provider) do(req *http.Request, limit int) (status int, body []byte, err error) {
	resp, err := p.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok { // the URL in it may have parameters
			err = e.Err
		}
		return 0, nil, err
	}
	defer resp.Body.Close()
	// The guarded client has a cap of its own; a client that the host gave may have none.
	body, err = io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err == nil && len(body) > limit {
		err = fmt.Errorf("answer of more than %d bytes", limit)
	}
	return resp.StatusCode, body, err
}

// A notice is that a certificate expires, and how many days before that this was said.
type notice struct {
	until time.Time
	days  int
}

// watch says, thirty, fourteen and three days before, that the last of the certificates expires: with it logins end.
func (p *Provider) watch(ctx context.Context, up *upstream) {
	last := lastCertificate(up.certificates)
	left := last.NotAfter.Sub(p.now())
	for _, days := range []int{3, 14, 30} {
		if left > time.Duration(days)*24*time.Hour {
			continue
		}
		n, told := notice{last.NotAfter, days}, p.told.Load()
		if told != nil && told.until.Equal(n.until) && told.days <= days || !p.told.CompareAndSwap(told, &n) {
			return
		}
		p.cfg.Logger.WarnContext(ctx, "the last certificate of the SAML identity provider expires", "event", "saml_certificate_expires",
			"idp", up.entityID, "until", last.NotAfter, "threshold", days, "days", max(int(left.Hours()/24), 0))
		return
	}
}

func lastCertificate(all []*x509.Certificate) *x509.Certificate {
	last := all[0]
	for _, c := range all {
		if c.NotAfter.After(last.NotAfter) {
			last = c
		}
	}
	return last
}
