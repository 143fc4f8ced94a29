package seal_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/seal"
)

// wrappedKeys are keys that a KMS has encrypted, as the program's configuration has them. The master key never leaves the KMS.
type wrappedKeys struct {
	current string            // the id of the one that seals
	wrapped map[string]string // by id, also those that seal no more
	decrypt func(ctx context.Context, wrapped string) ([]byte, error)
}

func (k *wrappedKeys) Current(context.Context) (string, error) { return k.current, nil }

func (k *wrappedKeys) Open(ctx context.Context, id string) ([]byte, error) {
	wrapped, ok := k.wrapped[id]
	if !ok {
		return nil, seal.ErrNoKey
	}
	return k.decrypt(ctx, wrapped) // once a key and process
}

func ExampleKeys() {
	ctx := context.Background()
	keys := &wrappedKeys{
		current: "2026-11",
		wrapped: map[string]string{"2026-11": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="},
		decrypt: func(_ context.Context, wrapped string) ([]byte, error) { // in practice a call of the KMS
			return base64.StdEncoding.DecodeString(wrapped)
		},
	}
	kept := memstore.New()
	sealed := seal.New(keys).Store(kept)

	if err := sealed.CreateCredential(ctx, &store.Credential{
		ID: "c1", UserID: "ada", Kind: store.CredentialTOTP, Secret: []byte("seed"),
	}); err != nil {
		log.Fatal(err)
	}
	raw, err := kept.CredentialsOf(ctx, "ada")
	if err != nil {
		log.Fatal(err)
	}
	opened, err := sealed.CredentialsOf(ctx, "ada")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q… %s\n", raw[0].Secret[:12], opened[0].Secret)
	// Output: "idb\x01\a2026-11"… seed
}

func ExampleStore_Reseal() {
	older, newer := []byte("a secret of 32 bytes, at least.."), []byte("another secret of 32 bytes......")
	ctx, kept := context.Background(), memstore.New()
	keys, err := seal.FromSecrets(older)
	if err != nil {
		log.Fatal(err)
	}
	link := &store.Link{LinkKey: store.LinkKey{Provider: "acme", Subject: "ada"}, UserID: "u1", Tokens: []byte("tokens")}
	if err := seal.New(keys).Store(kept).CreateLink(ctx, link); err != nil {
		log.Fatal(err)
	}

	keys, err = seal.FromSecrets(newer, older) // the new one first, everywhere
	if err != nil {
		log.Fatal(err)
	}
	n, err := seal.New(keys).Store(kept).Reseal(ctx)
	fmt.Println(n, err)
	// Output: 1 <nil>
}
