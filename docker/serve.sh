#!/bin/sh
# Starts Triton on the exported models. Further arguments come after these, so that they can override them.
# Defaults are stated too, so that addresses and ports do not depend on Triton's release.
exec tritonserver \
  --model-repository="${MODELS:-/models}" \
  --disable-auto-complete-config \
  --http-address=0.0.0.0 --http-port=8000 \
  --grpc-address=0.0.0.0 --grpc-port=8001 \
  --metrics-address=0.0.0.0 --metrics-port=8002 \
  --metrics-config=summary_latencies=true \
  --exit-timeout-secs=30 \
  "$@"
