//go:build !unix

package integration

import "os/exec"

// Without process groups the program alone is ended.
func ownGroup(*exec.Cmd)          {}
func askGroupToEnd(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
func endGroup(cmd *exec.Cmd)      { _ = cmd.Process.Kill() }
