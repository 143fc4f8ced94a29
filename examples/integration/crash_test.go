package integration

import (
	"testing"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// Whatever fails or dies in the middle of a login, and whenever: see brokertest.Crash.
func TestSQLiteCrash(t *testing.T) {
	t.Parallel()
	brokertest.Crash(t, func(t testing.TB) store.Store { return sqlstore.New(openSQLite(t, newFile(t)+pragmas)) })
}
