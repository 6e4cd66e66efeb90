# Export, embedded Triton and gateway for CPUs in one small image. From the project's root:
#   docker build -f docker/cpu.Dockerfile -t qwen3-triton-cpu .

# The embedded Triton needs glibc 2.35 (bookworm has 2.36), x86-64, and Python 3.10 to 3.12 with its shared library.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS wheel
WORKDIR /source
COPY LICENSE README.md pyproject.toml ./
COPY constraints/dev.txt /wheel/
COPY client client
COPY export export
COPY serve serve
RUN pip install --no-cache-dir -c /wheel/dev.txt hatchling \
 && pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheel .

FROM python:${PYTHON}
# The last line makes the build fail if Triton or libpython is missing.
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir -c /wheel/dev.txt "$(echo /wheel/*.whl)[export,gateway,serve]" \
 && install -d -o 1000 -g 1000 /cache /models \
 && python -c "from qwen3_serve.triton.runtime import find_runtime; print(find_runtime())"
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
CMD ["serve", "--host", "0.0.0.0", "--repository", "/models"]
