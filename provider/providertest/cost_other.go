//go:build !unix

package providertest

import "time"

// processTime returns what the clock says, where nothing better is to be had.
func processTime() time.Duration { return time.Duration(time.Now().UnixNano()) }
