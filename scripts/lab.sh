#!/bin/sh
# Runs the packages that have lab tests: foreign programs, network namespaces.
# Arguments go to go test; -short runs a sample of at most 15 minutes.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
	echo "the lab needs root: it makes network namespaces" >&2
	exit 1
fi
packages=$(grep -rl --include='*_test.go' '^//go:build lab' . | sed 's|/[^/]*$||' | sort -u)
if [ -z "$packages" ]; then
	echo "no lab tests found" >&2
	exit 1
fi
# shellcheck disable=SC2086 # the list is one word per package
exec go test -tags lab -p 1 -count=1 -timeout 60m "$@" $packages
