package integration

import (
	"fmt"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// BenchmarkProviders reports the CPU time of a login where one provider is configured and where ten thousand are, and the
// ratio of the two in the same run. Run it with -benchtime 2000x or more.
func BenchmarkProviders(b *testing.B) {
	var alone float64
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("providers=%d", n), func(b *testing.B) {
			d := startDriver(b)
			cpu := d.measure(b, serveBroker(b, memstore.New(), d.upstream, tenants(b, n-1)...), load{"returning", 1, 1}, &benchStore{})
			if n == 1 {
				alone = cpu
			} else if alone > 0 {
				b.ReportMetric(cpu/alone, "x-one")
			}
		})
	}
}

func tenants(b *testing.B, n int) (list []broker.Provider) {
	b.Helper()
	for i := range n {
		idp, err := oidc.New(oidc.Config{
			Issuer: fmt.Sprintf("https://login.tenant-%d.example", i), ClientID: benchClient, ClientSecret: benchSecret,
		})
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, broker.Provider{
			Alias: fmt.Sprint("tenant-", i), IdP: idp, HideOnLogin: true, Domains: []string{fmt.Sprintf("tenant-%d.example", i)},
		})
	}
	return list
}
