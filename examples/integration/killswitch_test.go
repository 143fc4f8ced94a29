package integration

import (
	"testing"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// What is switched off in one process's database is off in all of them, by every way in.
func TestSQLiteKillSwitch(t *testing.T) {
	t.Parallel()
	brokertest.KillSwitch(t, func(t testing.TB) store.Store { return sqlstore.New(openSQLite(t, newFile(t)+pragmas)) })
}
