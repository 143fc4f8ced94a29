// Package integration tries idbroker against software that others wrote: databases, browsers, and other implementations
// of the protocols. It has tests only.
//
// A test starts the program that it needs, private to itself and on loopback, and stops it again; it installs nothing.
// Where a program is not on the machine its test is skipped with a message that names it; with IDBROKER_REQUIRE_PEERS
// set, as in .ci/run, it fails instead. These are the only tests of the project that can be skipped:
//
//	IDBROKER_REQUIRE_PEERS=1 go test -C examples ./integration
package integration
