package broker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

func TestReady(t *testing.T) {
	t.Parallel()
	secret := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	s := memstore.New()
	node := func(secrets ...[]byte) *broker.Broker {
		b, err := broker.New(broker.Config{BaseURL: "http://localhost/id", Secrets: secrets, Store: s})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := node(secret(1))
	if err := first.Ready(t.Context()); err != nil {
		t.Errorf("an empty store: Ready() = %v, want nil", err)
	}
	if keys, err := s.Keys(t.Context()); err != nil || len(keys) == 0 {
		t.Errorf("after Ready: %d keys in the store (error %v), want some", len(keys), err)
	}
	if err := node(secret(2), secret(1)).Ready(t.Context()); err != nil {
		t.Errorf("a new secret before the old one: Ready() = %v, want nil", err)
	}
	if err := node(secret(2)).Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "not among") {
		t.Errorf("without the secret of the keys: Ready() = %v, want an error that says so", err)
	}
	// What was read before is no excuse for a store that does not answer now.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Ready(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("a store that does not answer: Ready() = %v, want its error", err)
	}
}

// gone is a store that does not answer, in any role.
type gone struct{ store.Store }

var errGone = errors.New("gone")

func (gone) User(context.Context, string) (*store.User, error)        { return nil, errGone }
func (gone) Link(context.Context, store.LinkKey) (*store.Link, error) { return nil, errGone }
func (gone) Session(context.Context, string) (*store.Session, error)  { return nil, errGone }
func (gone) Grant(context.Context, string) (*store.Grant, error)      { return nil, errGone }
func (gone) Get(context.Context, string, string) ([]byte, error)      { return nil, errGone }
func (gone) Keys(context.Context) ([]*store.Key, error)               { return nil, errGone }

// Of several places each has to answer.
func TestReadyAsksEachPlace(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*store.Parts){
		"users": func(p *store.Parts) { p.Users = gone{} }, "links": func(p *store.Parts) { p.Links = gone{} },
		"sessions": func(p *store.Parts) { p.Sessions = gone{} }, "grants": func(p *store.Parts) { p.Grants = gone{} },
		"transient": func(p *store.Parts) { p.Transient = gone{} }, "keys": func(p *store.Parts) { p.Keyring = gone{} },
	} {
		m := memstore.New()
		p := store.Parts{Users: m, Links: m, Sessions: m, Grants: m, Transient: m, Keyring: m}
		lose(&p)
		b, err := broker.New(broker.Config{BaseURL: "http://localhost/id", Secrets: [][]byte{make([]byte, 32)}, Store: p})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Ready(t.Context()); !errors.Is(err, errGone) {
			t.Errorf("%s do not answer: Ready() = %v, want %v", name, err, errGone)
		}
	}
}

// What notices that a provider is pointed elsewhere is beside the links, where roles are kept in different places.
func TestFencesOfParts(t *testing.T) {
	t.Parallel()
	m := memstore.New()
	p := store.Parts{Users: m, Links: m, Sessions: m, Grants: m, Transient: m, Keyring: m}
	without := p
	without.Links = struct{ store.Links }{m}
	for name, c := range map[string]struct {
		store store.Store
		warns bool
	}{"parts": {p, false}, "their address": {&p, false}, "links alone": {without, true}} {
		var log bytes.Buffer
		_, err := broker.New(broker.Config{
			BaseURL: "http://localhost/id", Secrets: [][]byte{make([]byte, 32)}, Store: c.store, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "Fences"); got != c.warns {
			t.Errorf("%s: warned of missing fences: %v, want %v:\n%s", name, got, c.warns, log.String())
		}
	}
}
