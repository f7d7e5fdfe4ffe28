#!/usr/bin/env bash
# A device, an owner, a guest and a tunnel on this machine, in a few seconds.
# It needs Go and bash, takes free ports, leaves nothing behind, and its exit
# code says whether everything worked.
set -euo pipefail
cd "$(dirname "$0")/.."

CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/ ./cmd/latchkeyd ./cmd/latchkey ./examples/webpage
PATH=$PWD/bin:$PATH
dir=$(mktemp -d)
pids=()

finish() {
	code=$?
	trap - EXIT
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait
	if [ "$code" != 0 ] && [ -f "$dir/daemon.log" ]; then
		echo "The demo failed. The daemon's log:" >&2
		cat "$dir/daemon.log" >&2
	fi
	rm -rf "$dir"
	exit "$code"
}
trap finish EXIT
trap 'exit 1' INT TERM

say() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }

# await FILE TEXT: wait until a program has written a line that begins so.
await() {
	for _ in $(seq 300); do
		grep -q "^$2" "$1" 2>/dev/null && return
		sleep 0.1
	done
	echo "nothing in $1 begins with $2:" >&2
	cat "$1" >&2
	return 1
}

fetch() { if command -v curl >/dev/null; then curl -fsS "$1"; else webpage -get "$1"; fi; }

say "A web server that listens on this device alone"
webpage >"$dir/page.out" & pids+=($!)
await "$dir/page.out" 127.0.0.1:
page=$(head -n 1 "$dir/page.out")
echo "http://$page/"

say "The device daemon: one service, one route, open to its first owner"
cd "$dir"
show latchkeyd init --dir d --listen 127.0.0.1:0 --service web=tcp://"$page" --pairing local-initial
sed -i.bak "s|^discovery: true|discovery: false|; s|^routes: \[\]|routes: [{path: /page/**, to: 'http://$page'}]|" d/latchkeyd.yaml
echo '$ latchkeyd run --dir d --log-level debug'
latchkeyd run --dir d --log-level debug >daemon.out 2>daemon.log & daemon=$!
pids+=($daemon)
await daemon.out ready
show latchkeyd pairing-url --dir d

say "A client pairs and becomes the owner"
url=$(latchkeyd pairing-url --dir d)
echo '$ latchkey pair --dir c "$URL" --as home --user alice'
latchkey pair --dir c "$url" --as home --user alice
show latchkey services --dir c home

say "A page through the tunnel"
echo '$ latchkey tunnel --dir c home web'
latchkey tunnel --dir c home web >tunnel.out & tunnel=$!
pids+=($tunnel)
await tunnel.out 'web on '
cat tunnel.out
local=$(sed -n 's/^web on //p' tunnel.out)
echo "\$ curl http://$local/"
got=$(fetch "http://$local/")
echo "$got"
[ "$got" = "Hello from behind the device." ]

say "CoAP: the device itself, and the web server behind a route"
show latchkey coap get --dir c home /device/info
echo
show latchkey coap get --dir c home /page/index.html >route.out
cat route.out
grep -q '^Hello from behind the device\.$' route.out

say "The path"
show latchkey ping --dir c home --count 1 >ping.out
cat ping.out
grep -q 'path local' ping.out

say "A guest may look, but not open tunnels"
show latchkeyd user add gus --role guest --key "$(latchkey fingerprint --dir g)" --dir d
echo '$ latchkey pair --dir g "$URL" --as home'
latchkey pair --dir g "$url" --as home
echo '$ latchkey tunnel --dir g home web:-'
if latchkey tunnel --dir g home web:- </dev/null 2>guest.err; then
	echo "the guest got through" >&2
	exit 1
fi
cat guest.err
grep -q 'not allowed' guest.err
show latchkeyd explain --dir d --user gus --action tunnel:open --resource web

say "What the device decided"
grep -E 'msg=(allowed|refused)' daemon.log | sed -E 's/^time=[^ ]* //; s/peer=([0-9a-f]{12})[0-9a-f]*/peer=\1/'
grep -q 'msg=allowed op=tunnel:open resource=web.* user=alice' daemon.log
grep -q 'msg=refused op=tunnel:open resource=web.* user=gus' daemon.log

say "Everything stops"
kill -INT "$tunnel"
wait "$tunnel"
kill "$daemon"
wait "$daemon"
echo '$ latchkeyd status --dir d'
latchkeyd status --dir d | grep '^state'
echo
echo "The demo worked."
