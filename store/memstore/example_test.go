package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

func ExampleNew() {
	s := memstore.New()
	s.Now = func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }
	ctx := context.Background()
	end := s.Now().Add(time.Minute)
	fmt.Println(s.Add(ctx, "mail", "token", []byte("ada"), end))
	fmt.Println(errors.Is(s.Add(ctx, "mail", "token", []byte("eve"), end), store.ErrExists))
	value, err := s.Take(ctx, "mail", "token")
	fmt.Println(string(value), err)
	_, err = s.Take(ctx, "mail", "token")
	fmt.Println(err)
	// Output:
	// <nil>
	// true
	// ada <nil>
	// store: not found
}
