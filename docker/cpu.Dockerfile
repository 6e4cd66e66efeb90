# Export, Triton and gateway for CPUs: the official Triton, whose python backend runs the embedded host. From the project's root:
#   docker build -f docker/cpu.Dockerfile -t qwen3-triton-cpu .

# The same release as in docker/Dockerfile, so that both images share its layers. By its build.py [1], the image is Ubuntu
# 24.04 with Python 3.12, libpython, pip and virtualenv, and its user triton-server has the number 1000.
# [1] https://github.com/triton-inference-server/server/blob/r26.07/build.py
ARG TRITON=26.07

FROM nvcr.io/nvidia/tritonserver:${TRITON}-py3 AS wheel
WORKDIR /source
COPY LICENSE README.md hatch_build.py pyproject.toml ./
COPY constraints/dev.txt /wheel/
COPY client client
COPY export export
COPY operators operators
COPY serve serve
RUN python3 -m virtualenv /build \
 && /build/bin/pip install --no-cache-dir -c /wheel/dev.txt hatchling ziglang \
 && /build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheel .

FROM nvcr.io/nvidia/tritonserver:${TRITON}-py3
# Without the other backends, `serve` takes the python backend, which Triton starts with the first python3 on PATH.
# The extra `serve` is left out, because it would bring an older Triton. The last line makes the build fail if `serve`
# does not find this one, or its worker's Python is not the environment's.
ENV PATH=/opt/qwen3-triton/bin:${PATH}
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    find /opt/tritonserver/backends -mindepth 1 -maxdepth 1 ! -name python -exec rm -r {} + \
 && python3 -m virtualenv /opt/qwen3-triton \
 && pip install --no-cache-dir -c /wheel/dev.txt "$(echo /wheel/*.whl)[export,gateway]" onnxruntime \
 && install -d -o 1000 -g 1000 /cache /models \
 && ldd /opt/tritonserver/backends/python/triton_python_backend_stub | grep "libpython$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" \
 && python -c "from pathlib import Path; from qwen3_serve.triton.runtime import find_runtime; assert find_runtime(Path('/opt/tritonserver/bin/tritonserver')).config_name == 'embedded'"
COPY --chmod=755 docker/ready.sh /usr/local/bin/

# /models is the model repository; /cache holds downloads of the exporter.
ENV HF_HOME=/cache \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 1000:1000
EXPOSE 8000 8001 8002 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=10m --retries=3 \
  CMD ["ready.sh", "8000", "/v2/health/ready"]
ENTRYPOINT ["qwen3-triton"]
CMD ["serve", "--tritonserver", "/opt/tritonserver/bin/tritonserver", "--host", "0.0.0.0", "--repository", "/models"]
