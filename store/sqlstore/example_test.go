package sqlstore_test

import (
	"context"
	"database/sql"
	"log"
	"time"

	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// The program imports the driver, here modernc.org/sqlite. To migrate at start shows a database that cannot be used
// before anybody wants to log in.
func ExampleStore_Migrate() {
	db, err := sql.Open("sqlite", "file:broker.db?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"+
		"&_pragma=synchronous(NORMAL)&_txlock=immediate")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	s := sqlstore.New(db)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Migrate(ctx); err != nil {
		log.Print(err)
	}
}
