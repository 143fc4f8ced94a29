package web

import (
	"bytes"
	"errors"
	"testing"
)

func newTestSealer(t testing.TB, secrets ...string) *Sealer {
	t.Helper()
	var list [][]byte
	for _, s := range secrets {
		list = append(list, bytes.Repeat([]byte(s), 32))
	}
	s, err := NewSealer(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealedOpensOnlyAsItWasSealed(t *testing.T) {
	t.Parallel()
	s := newTestSealer(t, "a")
	sealed := s.Seal("purpose", "context", []byte("plain"))
	if got, err := s.Open("purpose", "context", sealed); err != nil || string(got) != "plain" {
		t.Fatalf("Open = %q, %v", got, err)
	}
	if again := s.Seal("purpose", "context", []byte("plain")); again == sealed {
		t.Error("the same plaintext seals to the same text")
	}
	for name, open := range map[string]func() ([]byte, error){
		"other purpose":  func() ([]byte, error) { return s.Open("purpos", "econtext", sealed) },
		"other context":  func() ([]byte, error) { return s.Open("purpose", "contexT", sealed) },
		"other secret":   func() ([]byte, error) { return newTestSealer(t, "b").Open("purpose", "context", sealed) },
		"nothing":        func() ([]byte, error) { return s.Open("purpose", "context", "") },
		"with padding":   func() ([]byte, error) { return s.Open("purpose", "context", sealed+"=") },
		"with a newline": func() ([]byte, error) { return s.Open("purpose", "context", sealed[:9]+"\n"+sealed[9:]) },
	} {
		if got, err := open(); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: Open = %q, %v", name, got, err)
		}
	}
	for i := range sealed {
		if got, err := s.Open("purpose", "context", sealed[:i]); !errors.Is(err, ErrSealed) {
			t.Fatalf("prefix of %d: Open = %q, %v", i, got, err)
		}
		flipped := []byte(sealed)
		flipped[i] = 'A'
		if sealed[i] == 'A' {
			flipped[i] = 'B'
		}
		if got, err := s.Open("purpose", "context", string(flipped)); !errors.Is(err, ErrSealed) {
			t.Fatalf("character %d changed: Open = %q, %v", i, got, err)
		}
	}
}

func TestSecretsAreExchangedWithoutAGap(t *testing.T) {
	t.Parallel()
	before := newTestSealer(t, "a").Seal("p", "c", []byte("x"))
	both := newTestSealer(t, "b", "a")
	if got, err := both.Open("p", "c", before); err != nil || string(got) != "x" {
		t.Errorf("the old secret's: Open = %q, %v", got, err)
	}
	if _, err := newTestSealer(t, "b").Open("p", "c", both.Seal("p", "c", []byte("y"))); err != nil {
		t.Errorf("the new secret does not seal: %v", err)
	}
}

func TestWeakSecretsAreRefused(t *testing.T) {
	t.Parallel()
	for _, secrets := range [][][]byte{nil, {}, {nil}, {make([]byte, 31)}, {make([]byte, 32), make([]byte, 31)}} {
		if _, err := NewSealer(secrets); err == nil {
			t.Errorf("secrets of lengths %v were accepted", secrets)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := newTestSealer(f, "a")
	const good = "agWuBEErNltGd9TOG8Bbc2EwNz6Y3D2XrhQZd4dhotcq" // workers are processes of their own: they need the same one
	if got, err := s.Open("p", "c", good); err != nil || string(got) != "x" {
		f.Fatalf("Open = %q, %v", got, err)
	}
	f.Add(good)
	f.Add("")
	f.Fuzz(func(t *testing.T, sealed string) {
		if got, err := s.Open("p", "c", sealed); (err == nil) != (sealed == good) {
			t.Errorf("Open(%q) = %q", sealed, got)
		}
	})
}
