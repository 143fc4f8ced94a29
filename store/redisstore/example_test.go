package redisstore_test

import (
	"context"
	"fmt"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/redisstore"
)

// Sessions and transient values in Redis, the rest elsewhere. What the function does is the client's part: the package's
// comment has it for go-redis.
func ExampleNew() {
	fast := redisstore.New(redisstore.DoFunc(func(ctx context.Context, args ...any) (any, error) {
		fmt.Println(args...)
		return nil, nil
	}))
	rest := memstore.New() // a database, in practice
	s := store.Parts{Users: rest, Links: rest, Sessions: fast, Grants: rest, Transient: fast, Keyring: rest}

	_, err := s.Session(context.Background(), "s4711")
	fmt.Println(err)
	// Output:
	// GET idbroker:s:s4711
	// store: not found
}
