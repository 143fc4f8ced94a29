package redisstore

import (
	"reflect"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// What is read back is what was written, and is written back the same.
func FuzzDecode(f *testing.F) {
	f.Add("")
	f.Add(string(encode(&store.Session{})))
	full := string(encode(&store.Session{
		UserID: "u\xff\x00", SecretHash: []byte{0, 1}, Upstream: store.LinkKey{Provider: "p", Issuer: "i", Subject: "s"}, UpstreamSession: "x",
		UpstreamIDToken: []byte("t"), UpstreamTokens: []byte("tt"), TransientUser: []byte("{}"), ACR: "acr", AMR: []string{"pwd", ""}, Notes: map[string]string{"": "", "a": "b"}, AuthTime: time.Now(),
		ExpiresAt: time.Now(),
	}))
	f.Add(full)
	f.Fuzz(func(t *testing.T, from string) {
		var first, second store.Session
		if err := decode(&first, from); err != nil {
			if from == full {
				t.Error(err)
			}
			return
		}
		if err := decode(&second, string(encode(&first))); err != nil {
			t.Fatalf("decode of what was encoded: %v", err)
		}
		if !reflect.DeepEqual(first, second) {
			t.Errorf("got %+v, want %+v", second, first)
		}
	})
}

// A value that is cut anywhere, or goes on, is refused.
func TestDecodeCut(t *testing.T) {
	t.Parallel()
	whole := string(encode(&store.Session{UserID: "u", AMR: []string{"a"}, Notes: map[string]string{"a": "b"}}))
	for i := range len(whole) {
		if err := decode(&store.Session{}, whole[:i]); err == nil {
			t.Errorf("decode of the first %d of %d bytes is no error", i, len(whole))
		}
	}
	if err := decode(&store.Session{}, whole+"\x00"); err == nil {
		t.Error("decode of a byte too many is no error")
	}
}

// Times that numbers of Lua cannot tell apart are still on the right side of now.
func TestStamp(t *testing.T) {
	t.Parallel()
	for at, want := range map[time.Time]string{
		{}:                           "0000000000000000",
		time.Unix(-1, 0):             "0000000000000000",
		time.UnixMicro(1700000000e6): "1700000000000000",
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC): "9007199254740992",
	} {
		if got := stampTime(at); got != want {
			t.Errorf("stampTime(%v): got %q, want %q", at, got, want)
		}
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	s := &Store{Now: func() time.Time { return now }}
	for at, want := range map[time.Time]string{
		now.Add(time.Second):    "61000",
		now:                     "60000",
		now.Add(-time.Second):   "59000",
		now.Add(-time.Hour):     "1",
		{}:                      "1",
		now.AddDate(5000, 0, 0): "3153600060000",
	} {
		if got := s.keep(at); got != want {
			t.Errorf("keep(%v): got %s, want %s", at, got, want)
		}
	}
}
