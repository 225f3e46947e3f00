#!/usr/bin/env bash
# Installs public clients of the SeaweedFS HTTP API into a scratch directory and runs them against a store of one
# process, and against a follower of three masters. Needs go, python3 with venv, node
# with npm, curl, and their package registries.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
servers=()
finish() {
	for server in "${servers[@]}"; do kill "$server" || true; done
	for server in "${servers[@]}"; do wait "$server" || true; done
	rm -rf "$scratch"
}
trap finish EXIT

(cd "$here" && go build -o "$scratch/weed" weed/cmd/weed)
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install -q pyseaweed==2.0.0 python-weed==0.8.0 aioseaweedfs==0.3.1 weedforge==0.1.1
npm install --prefix "$scratch" --ignore-scripts --no-audit --no-fund --loglevel=error \
	node-seaweedfs@1.4.0 @trubavuong/seaweedfs@3.0.0

read -ra ports < <(python3 -c '
import socket
ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(7)]
print(*(p.getsockname()[1] for p in ports))')

start() { # NAME FLAG...
	local name=$1
	shift
	(cd "$scratch" && exec ./weed "$@" 2>"$name.log") &
	servers+=("$!")
}

failed=0
try() { # MASTER
	curl -fs --retry 60 --retry-delay 1 --retry-all-errors "http://$1/dir/assign" >"$scratch/assigned"
	"$scratch/venv/bin/python" "$here/clients.py" "$1" || failed=1
	NODE_PATH=$scratch/node_modules node "$here/clients.js" "$1" || failed=1
}

echo "== one process"
start server server -dir=data -pulseSeconds=1 -master.port="${ports[0]}" -volume.port="${ports[1]}"
try "127.0.0.1:${ports[0]}"

echo "== a follower of three masters"
masters=127.0.0.1:${ports[2]},127.0.0.1:${ports[3]},127.0.0.1:${ports[4]}
for port in "${ports[@]:2:3}"; do
	start "master$port" master -port="$port" -mdir="m$port" -peers="$masters" -pulseSeconds=1
done
for port in "${ports[@]:5:2}"; do
	start "volume$port" volume -port="$port" -dir="v$port" -max=30 -mserver="$masters" -pulseSeconds=1
done
curl -fs --retry 60 --retry-delay 1 --retry-all-errors "http://127.0.0.1:${ports[2]}/dir/assign" >"$scratch/assigned"
leader=$(curl -fs "http://127.0.0.1:${ports[2]}/cluster/status" | sed 's/.*"Leader":"\([^"]*\)".*/\1/')
for port in "${ports[@]:2:3}"; do
	if [[ 127.0.0.1:$port != "$leader" ]]; then
		try "127.0.0.1:$port"
		break
	fi
done
exit $failed
