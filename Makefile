# The few verbs of a developer; what they do lies in tools/.
.PHONY: demo test test-all test-slow lint unit molecule e2e docs lock benchmark audit faults dist clean

# A process for each core; tests of a file stay together, end-to-end tests as tests/conftest.py says.
PROCESSES = logical
PYTEST = .venv/bin/pytest --numprocesses=$(PROCESSES) --maxprocesses=4 --durations=15

demo:
	tools/setup run
	.venv/bin/dlhost demo

# What CI runs: each role as far as its promise on both releases of Debian, and whole hosts end to end.
test: lint unit
	tools/setup e2e
	.venv/bin/python tools/molecule verify --all
	$(PYTEST) --dist=loadscope -m "e2e and not long"

test-all: lint unit molecule e2e

lint:
	tools/setup dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/yamllint --strict .
	tools/ansible-lint
	.venv/bin/python tools/docs --check

unit:
	tools/setup dev
	$(PYTEST) --dist=loadfile -m "not e2e and not slow"

molecule:
	tools/setup dev
	.venv/bin/python tools/molecule test --all

e2e:
	tools/setup e2e
	$(PYTEST) --dist=loadscope -m e2e

test-slow:
	tools/setup slow
	.venv/bin/pytest -m slow --durations=0

docs:
	tools/setup dev
	.venv/bin/python tools/docs

lock:
	tools/setup dev
	.venv/bin/python tools/lock

benchmark:
	tools/setup dev
	.venv/bin/python -m benchmarks

audit:
	tools/setup dev
	.venv/bin/python -m tools.audit $(AUDIT)

faults:
	tools/setup dev
	.venv/bin/python -m tools.faults $(FAULTS)

dist:
	tools/setup dev
	.venv/bin/python -m build --outdir dist
	.venv/bin/ansible-galaxy collection build --force --output-path dist

clean:
	rm -rf .venv dist build .cache .mypy_cache .pytest_cache .ruff_cache
