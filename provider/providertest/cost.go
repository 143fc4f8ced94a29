package providertest

import (
	"fmt"
	"runtime/metrics"
	"time"
)

// Cost is what something took of the machine.
type Cost struct {
	// Time is the processor's, or that of the clock where it is less: a machine that is busy with something else adds nothing.
	Time  time.Duration
	Bytes uint64 // allocated, collected since or not: no more than that can have been in use at once
}

// String is for logs: "12ms, 3 MiB".
func (c Cost) String() string {
	return fmt.Sprintf("%v, %d MiB", c.Time.Round(time.Millisecond), c.Bytes>>20)
}

// Measure returns what do costs. Whatever else this process does meanwhile is counted as well, so a test that wants to know it closely
// runs alone.
func Measure(do func()) Cost {
	begun, cpu, bytes := time.Now(), processTime(), allocated()
	do()
	return Cost{Time: min(time.Since(begun), processTime()-cpu), Bytes: allocated() - bytes}
}

func allocated() uint64 {
	all := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(all)
	return all[0].Value.Uint64()
}
