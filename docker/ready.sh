#!/bin/bash -p
# Usage: ready.sh PORT PATH. Exits with 0 if the server in this container answers 200. For health checks; needs no curl.
# -p: without it, bash in NVIDIA's images first runs a script that queries the driver, which is slow for a frequent check.
set -eu
exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
IFS=' ' read -r -t 5 _ status _ <&3
[ "$status" = 200 ]
