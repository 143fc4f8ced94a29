package saml_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// A well answers requests for metadata inside of a bubble, where there is no network.
type well struct {
	metadata atomic.Pointer[string] // nil hangs until the request is given up
	asked    atomic.Int64
	delay    time.Duration
}

func newWell(metadata string) *well {
	w := &well{}
	w.metadata.Store(&metadata)
	return w
}

func (w *well) RoundTrip(r *http.Request) (*http.Response, error) {
	w.asked.Add(1)
	text := w.metadata.Load()
	if text == nil {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	select {
	case <-time.After(w.delay): // of the bubble's time
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(*text)), Header: http.Header{}, Request: r}, nil
}

func (w *well) provider(t *testing.T, edit func(*saml.Config)) *saml.Provider {
	t.Helper()
	cfg := saml.Config{EntityID: spEntity, MetadataURL: "https://idp.example/metadata", HTTPClient: &http.Client{Transport: w, Timeout: time.Hour}}
	if edit != nil {
		edit(&cfg)
	}
	return newProvider(t, cfg)
}

// take takes a login with a key of the identity provider, at the time of the bubble.
func take(t *testing.T, p *saml.Provider, key saml.Key) error {
	t.Helper()
	redirect, err := p.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state})
	if err != nil {
		return err
	}
	f := newForge(sent(t, redirect, "SAMLRequest").SelectAttrValue("ID", ""))
	f.key, f.at = key, time.Now()
	_, err = finish(t, p, redirect.Data, f.response(t))
	return err
}

// lasting are keys whose certificates hold at the bubble's time, the year 2000, and long after it.
func lasting(name string) saml.Key {
	return newKey(name, newRSA(2048), time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
}

var bubbleKeys = sync.OnceValue(func() [2]saml.Key { return [2]saml.Key{lasting("old"), lasting("new")} })

// behaviours.md, row 68: a certificate that was withdrawn while nobody logged in is refused at the first login, whatever said
// that the metadata is old by now.
func TestRow68WithdrawnWhileNobodyLooked(t *testing.T) {
	t.Parallel()
	keys := bubbleKeys()
	for name, tt := range map[string]struct {
		attrs string
		edit  func(*saml.Config)
		after time.Duration
	}{
		"MetadataRefresh, as it is":  {"", nil, 6*time.Hour + time.Second},
		"MetadataRefresh, as it was": {"", func(c *saml.Config) { c.MetadataRefresh = time.Hour }, time.Hour + time.Second},
		"cacheDuration":              {` cacheDuration="PT10M"`, nil, 10*time.Minute + time.Second},
		"a short cacheDuration":      {` cacheDuration="PT1S"`, nil, 5*time.Minute + time.Second},
		"no cacheDuration at all":    {` cacheDuration="PT0S"`, nil, 5*time.Minute + time.Second},
		"validUntil":                 {` validUntil="2000-01-01T02:00:00Z"`, nil, time.Hour + time.Second},
		"a month":                    {"", nil, 30 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWell(descriptor{attrs: tt.attrs, keys: keyDescriptor(signing, keys[0])}.String())
				p := w.provider(t, tt.edit)
				if err := take(t, p, keys[0]); err != nil {
					t.Fatal(err)
				}
				w.metadata.Store(new(descriptor{keys: keyDescriptor(signing, keys[1])}.String()))
				time.Sleep(tt.after)
				if err := take(t, p, keys[0]); err == nil {
					t.Error("the withdrawn key is taken")
				}
				if err := take(t, p, keys[1]); err != nil {
					t.Errorf("the new key: %v", err)
				}
			})
		})
	}
}

// Of a provider that is in use, metadata is fetched beside logins, before it is too old: nobody waits.
func TestMetadataAheadOfTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := bubbleKeys()
		w := newWell(descriptor{keys: keyDescriptor(signing, keys[0])}.String())
		p := w.provider(t, nil)
		if err := take(t, p, keys[0]); err != nil {
			t.Fatal(err)
		}
		w.delay = 2 * time.Second
		time.Sleep(5 * time.Hour)
		begun := time.Now()
		if err := take(t, p, keys[0]); err != nil || time.Since(begun) > 0 {
			t.Errorf("after five hours: %v, after %v", err, time.Since(begun))
		}
		time.Sleep(3 * time.Second)
		if n := w.asked.Load(); n != 2 {
			t.Errorf("asked %d times, want twice", n)
		}
		time.Sleep(4 * time.Hour) // nine after the first, four after the second
		if err := take(t, p, keys[0]); err != nil || w.asked.Load() != 2 {
			t.Errorf("%v, asked %d times, want twice", err, w.asked.Load())
		}
	})
}

// While its address does not answer, what is known is used: after a wait that is bounded, which not every visitor has, and for
// a time that is.
func TestMetadataAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := bubbleKeys()
		w := newWell(descriptor{keys: keyDescriptor(signing, keys[0])}.String())
		p := w.provider(t, func(c *saml.Config) { c.MetadataMaxAge = 24 * time.Hour })
		if err := take(t, p, keys[0]); err != nil {
			t.Fatal(err)
		}
		genuine := w.metadata.Swap(nil)
		time.Sleep(7 * time.Hour)

		begun := time.Now()
		var crowd sync.WaitGroup
		for range 50 {
			crowd.Go(func() {
				if _, err := p.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state}); err != nil {
					t.Errorf("Begin: %v", err)
				}
			})
		}
		crowd.Wait()
		if waited := time.Since(begun); waited != 3*time.Second {
			t.Errorf("they waited for %v, want 3s", waited)
		}
		if n := w.asked.Load(); n != 2 {
			t.Errorf("fifty visitors at once had it asked for %d times, want once more than the first", n)
		}
		hurry, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Begin(hurry, provider.Request{RedirectURI: acs, State: state}); err != nil {
			t.Errorf("who has no three seconds: %v", err)
		}
		time.Sleep(12 * time.Second) // it is given up, and not tried again for a minute
		begun = time.Now()
		if err := take(t, p, keys[0]); err != nil || time.Since(begun) > 0 {
			t.Errorf("after it was given up: %v, after %v", err, time.Since(begun))
		}
		if p.Stale() == nil {
			t.Error("Stale says nothing")
		}

		time.Sleep(24*time.Hour - 7*time.Hour)
		err := take(t, p, keys[0])
		wantKind(t, err, provider.Unavailable)
		w.metadata.Store(genuine)
		time.Sleep(2 * time.Minute)
		if err := take(t, p, keys[0]); err != nil {
			t.Errorf("when it answers again: %v", err)
		}
	})
}

// A file is the administrator's word and has no age; what is at the address beats it from the first login on.
func TestMetadataFileAndAddress(t *testing.T) {
	t.Parallel()
	keys := bubbleKeys()
	file := func(c *saml.Config) { c.Metadata = []byte(descriptor{keys: keyDescriptor(signing, keys[0])}.String()) }
	synctest.Test(t, func(t *testing.T) {
		w := newWell("<html/>")
		p := w.provider(t, file)
		time.Sleep(365 * 24 * time.Hour)
		if err := take(t, p, keys[0]); err != nil {
			t.Errorf("while nothing was fetched: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWell(descriptor{keys: keyDescriptor(signing, keys[1])}.String())
		if err := take(t, w.provider(t, file), keys[0]); err == nil {
			t.Error("the key in the file is taken, that is not at the address")
		}
	})
}

// Whoever leaves does not end the request for the others.
func TestMetadataVisitorLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := bubbleKeys()
		w := newWell(descriptor{keys: keyDescriptor(signing, keys[0])}.String())
		w.delay = time.Second
		p := w.provider(t, nil)
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := p.Begin(ctx, provider.Request{RedirectURI: acs, State: state})
			gone <- err
		}()
		synctest.Wait()
		leave()
		wantKind(t, <-gone, provider.Unavailable)
		if err := take(t, p, keys[0]); err != nil || w.asked.Load() != 1 {
			t.Errorf("%v, asked %d times, want once", err, w.asked.Load())
		}
	})
}

// Metadata that has ended by its own word is fetched again, and without news nobody is sent to where it says.
func TestMetadataEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := bubbleKeys()
		until := func(d time.Duration) *string {
			return new(descriptor{attrs: ` validUntil="` + stamp(time.Now().Add(d)) + `"`, keys: keyDescriptor(signing, keys[0])}.String())
		}
		w := newWell(*until(3 * time.Minute))
		p := w.provider(t, nil)
		if err := take(t, p, keys[0]); err != nil {
			t.Fatal(err)
		}
		w.metadata.Store(until(time.Hour))
		time.Sleep(190 * time.Second)
		if err := take(t, p, keys[0]); err != nil {
			t.Errorf("after it was renewed: %v", err)
		}
		w.metadata.Store(new("<html/>"))
		time.Sleep(2 * time.Hour)
		_, err := p.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state})
		wantKind(t, err, provider.Misconfigured)
	})
}
