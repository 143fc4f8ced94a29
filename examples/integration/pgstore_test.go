package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) (store.Store, func(time.Duration)) {
		return stoppedClock(sqlstore.New(openPostgres(t, newPostgres(t))))
	})
}

// An operator's default must not loosen a promise, and at this level each collision is an error for the store to deal with.
func TestPostgresSerializable(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) (store.Store, func(time.Duration)) {
		return stoppedClock(sqlstore.New(openPostgres(t, newPostgres(t)+"&default_transaction_isolation=serializable")))
	})
}

// What is switched off in one process's database is off in all of them, by every way in.
func TestPostgresKillSwitch(t *testing.T) {
	t.Parallel()
	brokertest.KillSwitch(t, func(t testing.TB) store.Store { return sqlstore.New(openPostgres(t, newPostgres(t))) })
}

// Ten nodes that start at once make the tables once.
func TestPostgresMigratesOnce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for round := range 5 {
		dsn := newPostgres(t)
		var done sync.WaitGroup
		gun := make(chan struct{})
		for i := range 10 {
			s := sqlstore.New(openPostgres(t, dsn))
			done.Go(func() {
				<-gun
				if err := s.CreateUser(ctx, &store.User{ID: fmt.Sprint(i), Username: fmt.Sprint(i)}); err != nil {
					t.Errorf("round %d: first use of a database that others use for the first time: %v", round, err)
				}
			})
		}
		close(gun)
		done.Wait()
		db := openPostgres(t, dsn)
		if got := queryInt(t, db, `SELECT COUNT(*) FROM idbroker_users`); got != 10 {
			t.Errorf("round %d: got %d users, want 10", round, got)
		}
		if got := queryInt(t, db, `SELECT COUNT(*) FROM idbroker_migrations WHERE version = 1`); got != 1 {
			t.Errorf("round %d: the first migration was noted %d times, want 1", round, got)
		}
	}
}

// Of many who want one e-mail at the same moment either one alone has it, or all who have it share it: however they come
// to it, and whatever the level of isolation.
func TestPostgresRacesForEmail(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			db := openPostgres(t, newPostgres(t)+"&default_transaction_isolation="+strings.ReplaceAll(level, " ", "%20"))
			db.SetMaxOpenConns(64)
			s := sqlstore.New(db)
			const racers = 64
			for round := range 6 {
				email := fmt.Sprintf("mail%d@example.com", round)
				users := make([]*store.User, racers)
				for i := range users {
					id := fmt.Sprint(round, "-", i)
					users[i] = &store.User{ID: id, Username: id}
					if i%4 < 2 { // these are there, and change theirs
						if err := s.CreateUser(ctx, users[i]); err != nil {
							t.Fatal(err)
						}
					}
					users[i].Email, users[i].SharedEmail = email, i%2 == 0
				}
				var done sync.WaitGroup
				gun := make(chan struct{})
				for i, u := range users {
					done.Go(func() {
						<-gun
						var err error
						switch {
						case u.Version > 0:
							err = s.UpdateUser(ctx, u)
						case i%4 == 2:
							err = s.CreateUser(ctx, u)
						default:
							err = s.Commit(ctx, &store.Login{Once: u.ID, OnceExpires: time.Now().Add(time.Hour), NewUser: u})
						}
						if err != nil && !errors.Is(err, store.ErrExists) {
							t.Errorf("round %d, %d: %v", round, i, err)
						}
					})
				}
				close(gun)
				done.Wait()
				count := `SELECT COUNT(*) FROM idbroker_users WHERE email = $1`
				all, own := queryInt(t, db, count, email), queryInt(t, db, count+` AND NOT shared_email`, email)
				if all == 0 || own > 1 || own == 1 && all > 1 {
					t.Errorf("round %d: %d have the e-mail, of whom %d do not share it", round, all, own)
				}
			}
		})
	}
}

// What was renewed while a sweep waited for it stays.
func TestPostgresSweepLeavesRenewed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := openPostgres(t, newPostgres(t))
	s, advance := stoppedClock(sqlstore.New(db))
	if err := s.Commit(ctx, loginOf("id", s.Now().Add(time.Minute))); err != nil {
		t.Fatal(err)
	}
	advance(time.Hour)
	later := s.Now().Add(time.Hour).UnixMicro()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"transient", "sessions", "grants"} {
		if _, err := tx.ExecContext(ctx, `UPDATE idbroker_`+table+` SET expires_at = $1`, later); err != nil {
			t.Fatal(err)
		}
	}
	swept := make(chan error, 1)
	go func() {
		n, err := s.Sweep(ctx, 10)
		if err == nil && n > 0 {
			err = fmt.Errorf("removed %d", n)
		}
		swept <- err
	}()
	waitFor(t, func() bool {
		return queryInt(t, db, `SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
			AND query LIKE 'DELETE FROM idbroker_transient%' AND datname = current_database()`) > 0
	})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-swept; err != nil {
		t.Errorf("Sweep of what is renewed meanwhile: %v", err)
	}
	if _, err := s.Get(ctx, store.PurposeLogin, "id"); err != nil {
		t.Errorf("Get of what was renewed: %v", err)
	}
}

// waitFor waits until ready says so.
func waitFor(t testing.TB, ready func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), peerStart)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it did not happen in time")
		}
	}
}
