package broker_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

func ExampleBroker_PutClient() {
	ctx := context.Background()
	kept := memstore.New()
	b, err := broker.New(broker.Config{
		BaseURL:     "https://id.example",
		Secrets:     [][]byte{[]byte("32 random bytes, out of a file...")},
		Store:       kept,
		ClientStore: kept,
	})
	if err != nil {
		log.Fatal(err)
	}
	wiki := &store.Client{
		ID:           "wiki",
		Secrets:      [][]byte{[]byte(rand.Text())},
		RedirectURIs: []string{"https://wiki.example/callback"},
	}
	if err := b.PutClient(ctx, wiki); err != nil {
		log.Fatal(err)
	}

	// Later, and perhaps on another node: no login at the wiki goes on from here.
	wiki, err = kept.Client(ctx, "wiki")
	if err != nil {
		log.Fatal(err)
	}
	wiki.Disabled = true
	fmt.Println(b.PutClient(ctx, wiki), wiki.Version)
	// Output: <nil> 2
}
