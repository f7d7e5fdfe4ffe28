#!/usr/bin/env bash
# A basestation, a device, an owner, a guest and tunnels on this machine, in a few
# seconds. It needs Go and bash, takes free ports, leaves nothing behind, and its exit
# code says whether everything worked.
set -euo pipefail
cd "$(dirname "$0")/.."

CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/ ./cmd/latchkey-basestation ./cmd/latchkeyd ./cmd/latchkey ./examples/webpage
PATH=$PWD/bin:$PATH
dir=$(mktemp -d)
pids=()

finish() {
	code=$?
	trap - EXIT
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait
	if [ "$code" != 0 ]; then
		for log in basestation daemon; do
			[ -f "$dir/$log.log" ] || continue
			echo "The demo failed. The log of the $log:" >&2
			cat "$dir/$log.log" >&2
		done
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

say "The basestation, where device and client meet when they are far apart"
cd "$dir"
show latchkey-basestation init --dir b --listen 127.0.0.1:0
latchkey-basestation run --dir b --json >basestation.out 2>basestation.log & basestation=$!
pids+=($basestation)
await basestation.out '{"listen"'
key=$(latchkey-basestation fingerprint --dir b)
base=$(sed -n 's/.*"listen":"\([^"]*\)".*/\1/p' basestation.out)

say "The device daemon: one service, one route, open to its first owner"
show latchkeyd init --dir d --product acme --device gw1 --listen 127.0.0.1:0 --basestation "$base" --basestation-key "$key" --service web=tcp://"$page" --pairing local-initial
show latchkey-basestation device add --dir b acme/gw1 "$(latchkeyd fingerprint --dir d)" >/dev/null
sed -i.bak "s|^discovery: true|discovery: false|; s|^routes: \[\]|routes: [{path: /page/**, to: 'http://$page'}]|" d/latchkeyd.yaml
echo '$ latchkeyd run --dir d --log-level debug'
latchkeyd run --dir d --log-level debug >daemon.out 2>daemon.log & daemon=$!
pids+=($daemon)
await daemon.out ready
await daemon.log '.* msg="connect tokens uploaded"'
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

say "Far away: the client knows no address of the device any more"
far=$(latchkeyd pairing-url --dir d | sed 's/a=[^&]*&//g')
await daemon.log '.* msg="connect tokens uploaded" .*count=2'
echo '$ latchkey pair --dir c "$URL_WITHOUT_ADDRESSES" --as home'
latchkey pair --dir c "$far" --as home

say "The path before a direct one is found, and after"
show latchkey ping --dir c home --count 1 --via relay | tee relay.out
grep -q 'path relay$' relay.out
show latchkey ping --dir c home --count 2 | tee direct.out
grep -q 'path direct' direct.out

say "A tunnel takes the relay until there is a direct path"
echo '$ latchkey tunnel --dir c home web --json'
latchkey tunnel --dir c home web --json >moves.out & moving=$!
pids+=($moving)
await moves.out '.*"path":"direct"'
await moves.out '{"event":"listening"'
cat moves.out
local=$(sed -n 's/^{"event":"listening".*"addr":"\([^"]*\)".*/\1/p' moves.out)
echo "\$ curl http://$local/"
got=$(fetch "http://$local/")
echo "$got"
[ "$got" = "Hello from behind the device." ]

say "A tunnel through the relay alone"
echo '$ latchkey tunnel --dir c home web --via relay'
latchkey tunnel --dir c home web --via relay >relayed.out & relayed=$!
pids+=($relayed)
await relayed.out 'web on '
cat relayed.out
grep -q '^path relay$' relayed.out
got=$(fetch "http://$(sed -n 's/^web on //p' relayed.out)/")
echo "$got"
[ "$got" = "Hello from behind the device." ]

say "Without the right token the basestation introduces nobody"
echo AAAAAAAAAAAAAAAAAAAAAA >wrong.token
echo '$ latchkey ping --dir c home --via relay --token wrong.token'
if latchkey ping --dir c home --via relay --token wrong.token 2>token.err; then
	echo "a wrong token got through" >&2
	exit 1
fi
cat token.err
grep -q 'refused: not allowed' token.err

say "What this network leaves"
show latchkey netcheck --dir c home

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
kill -INT "$tunnel" "$moving" "$relayed"
wait "$tunnel" "$moving" "$relayed"
kill "$daemon"
wait "$daemon"
kill "$basestation"
wait "$basestation"
echo '$ latchkeyd status --dir d'
latchkeyd status --dir d | grep '^state'
echo
echo "The demo worked."
