#!/bin/bash -p
# Exits with 0 if the server in this container answers 200: ready.sh PORT PATH. For health checks; needs no curl.
# -p: NVIDIA's images have every bash begin with a script that asks the driver, too dear for something so frequent.
set -eu
exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
IFS=' ' read -r -t 5 _ status _ <&3
[ "$status" = 200 ]
