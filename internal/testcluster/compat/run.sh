#!/usr/bin/env bash
# Installs public clients of the SeaweedFS HTTP API into a scratch directory, starts a store there, and runs
# the clients against it. Needs go, python3 with venv, node with npm, curl, and their package registries.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
server=
finish() {
	if [[ -n $server ]]; then kill "$server" && wait "$server" || true; fi
	rm -rf "$scratch"
}
trap finish EXIT

(cd "$here" && go build -o "$scratch/weed" weed/cmd/weed)
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install -q pyseaweed==2.0.0 python-weed==0.8.0 aioseaweedfs==0.3.1 weedforge==0.1.1
npm install --prefix "$scratch" --ignore-scripts --no-audit --no-fund --loglevel=error \
	node-seaweedfs@1.4.0 @trubavuong/seaweedfs@3.0.0

read -r master_port volume_port < <(python3 -c '
import socket
ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(p.getsockname()[1] for p in ports))')
master=127.0.0.1:$master_port
"$scratch/weed" server -dir="$scratch/data" -pulseSeconds=1 \
	-master.port="$master_port" -volume.port="$volume_port" 2>"$scratch/log" &
server=$!
curl -fs --retry 60 --retry-delay 1 --retry-all-errors "http://$master/dir/assign" >"$scratch/assigned"

failed=0
"$scratch/venv/bin/python" "$here/clients.py" "$master" || failed=1
NODE_PATH=$scratch/node_modules node "$here/clients.js" "$master" || failed=1
exit $failed
