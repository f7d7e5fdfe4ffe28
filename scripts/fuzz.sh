#!/bin/sh
# Runs every fuzz target of the module in turn, each for $1 seconds.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-30}
targets=0
for pkg in $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do
	for name in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		echo "== $pkg $name ${seconds}s"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "${seconds}s" "$pkg"
		targets=$((targets + 1))
	done
done
echo "$targets fuzz targets, ${seconds}s each"
test "$targets" -gt 0
