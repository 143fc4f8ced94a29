package broker_test

import (
	"context"
	"fmt"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// A user is brought in with the hash that another system has kept of their password.
func ExampleBroker_Local() {
	ctx, kept := context.Background(), memstore.New()
	b, err := broker.New(broker.Config{
		BaseURL: "http://localhost:8080/id", Secrets: [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
		Store: kept, Credentials: kept, LocalLogin: true,
	})
	if err != nil {
		panic(err)
	}
	local := b.Local()
	_ = kept.CreateUser(ctx, &store.User{ID: "1", Username: "ann"})
	_ = local.SetPassword(ctx, "1", []byte("$2a$04$bNMKB75/xOtQ4TTwzZWDBep1./mntu4i/HuWaHPIsyvTDNiYsCoKm"), false)
	_, err = local.VerifyPassword(ctx, factor.Attempt{UserID: "1"}, "correct horse")
	fmt.Println(err)

	all, _ := kept.CredentialsOf(ctx, "1")
	fmt.Printf("%.3s\n", all[0].Secret) // in the store there is nothing but what was sealed
	// Output:
	// <nil>
	// idb
}
