package broker_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store/memstore"
)

func TestReady(t *testing.T) {
	t.Parallel()
	secret := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	store := memstore.New()
	node := func(secrets ...[]byte) *broker.Broker {
		b, err := broker.New(broker.Config{BaseURL: "http://localhost/id", Secrets: secrets, Store: store})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := node(secret(1))
	if err := first.Ready(t.Context()); err != nil {
		t.Errorf("an empty store: Ready() = %v, want nil", err)
	}
	if keys, err := store.Keys(t.Context()); err != nil || len(keys) == 0 {
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
