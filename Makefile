# Two commands matter: `make up` serves, `make test` tests. Each sets up all it needs in .venv; only python3 is expected.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --require-virtualenv
SDK_JS := tests/sdk/js
LOCKS := src/freehold/builder/locks
# Libraries that call the server, in environments of their own: what they depend on is much, and does not go together.
LIBRARIES := tests/libraries/locks
LIBRARY_SETS := current older

.PHONY: up test check catalogue-check bench soak docs vsix lock clean

up: .venv/installed
	@$(BIN)/freehold up $(ARGS)

test: .venv/installed-dev $(SDK_JS)/node_modules $(LIBRARY_SETS:%=.venv/libraries/%/installed)
	@$(BIN)/python -m pytest $(ARGS)

check: .venv/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python scripts/generate_docs.py --check

catalogue-check: .venv/installed-dev
	@$(BIN)/python scripts/catalogue_check.py $(ARGS)

bench: .venv/installed-dev
	@$(BIN)/python -m benchmarks $(ARGS)

soak: .venv/installed-dev
	@$(BIN)/python -m soak $(ARGS)

docs: .venv/installed-dev
	@$(BIN)/python scripts/generate_docs.py

vsix:
	@$(PYTHON) scripts/vsix.py freehold.vsix

lock: .venv/installed-dev
	@$(BIN)/uv pip compile pyproject.toml --quiet --universal --generate-hashes --python-version 3.11 --no-header -o requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --quiet --group dev --universal --generate-hashes --python-version 3.11 --no-header \
		-c requirements.lock -o requirements-dev.lock
	@printf 'cmake\nninja\n' | $(BIN)/uv pip compile - --quiet --universal --generate-hashes --python-version 3.11 --no-header \
		--no-annotate -o $(LOCKS)/tools.lock
	@$(BIN)/uv pip compile $(LOCKS)/diffusers.in --quiet --universal --generate-hashes --python-version 3.11 --no-header \
		--no-annotate --override $(LOCKS)/without-torch.txt --no-emit-package torch -o $(LOCKS)/diffusers.lock
	@$(BIN)/uv pip compile $(LOCKS)/vllm.in --quiet --universal --generate-hashes --python-version 3.11 --no-header \
		--no-annotate -o $(LOCKS)/vllm.lock
	@$(BIN)/uv pip compile $(LOCKS)/torch.in --quiet --universal --generate-hashes --python-version 3.11 --no-header \
		--no-annotate -c $(LOCKS)/diffusers.lock -o $(LOCKS)/torch.lock
	@for each in $(LIBRARY_SETS); do $(BIN)/uv pip compile $(LIBRARIES)/$$each.in --quiet --universal --generate-hashes --python-version 3.11 \
		--no-header --no-annotate -o $(LIBRARIES)/$$each.lock || exit; done

clean:
	@rm -rf .venv $(SDK_JS)/node_modules build dist

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Freehold needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 up" if sys.version_info < (3, 11) else 0)'
	@echo "Setting up .venv (once, about a minute)"
	@$(PYTHON) -m venv .venv

.venv/installed: requirements.lock pyproject.toml | .venv/bin/python
	@$(PIP) install --require-hashes --no-deps -r requirements.lock
	@$(PIP) install --require-hashes --no-deps -r requirements-build.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

.venv/installed-dev: requirements-dev.lock .venv/installed
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

# uv links files from its cache, so that this takes seconds; it is told the package index that pip is set to.
.venv/libraries/%/installed: $(LIBRARIES)/%.lock | .venv/installed-dev
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(@D)
	@UV_DEFAULT_INDEX=$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null \
		|| echo https://pypi.org/simple)}} $(BIN)/uv pip sync --quiet --require-hashes --python $(@D)/bin/python $<
	@touch $@

$(SDK_JS)/node_modules: $(SDK_JS)/package-lock.json .venv/installed-dev
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --prefix $(SDK_JS); \
	else echo "npm is not installed: the tests of the npm client will be skipped"; fi
