package social_test

import (
	"testing"

	"github.com/go-idbroker/idbroker/provider/social"
)

// What a provider costs that nobody signs in with.
func BenchmarkNew(b *testing.B) {
	key := appleKey(b)
	for name, f := range map[string]func() preset{
		"Google": func() preset { return social.Google("client", "secret") },
		"GitHub": func() preset { return social.GitHub("client", "secret") },
		"Apple":  func() preset { return social.Apple("client", key) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f().Check(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
