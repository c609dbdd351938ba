//go:build tools

// Package tools names the program that build.sh builds from its own module, so that `go mod tidy` keeps it. It has a module
// to itself: with Kubernetes' it would raise versions there.
package tools

import _ "github.com/versity/versitygw/cmd/versitygw"
