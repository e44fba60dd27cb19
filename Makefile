# `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
CLASSES := .venv/spark.jsa
export DATA_PREFIX ?= data
# MLflow's server would report its use to its makers.
export MLFLOW_DISABLE_TELEMETRY ?= true
TUNE ?= --budget 30
SETTINGS ?= {}
# Spark otherwise looks for this machine's name, which a laptop's network may not know.
export SPARK_LOCAL_IP ?= 127.0.0.1

# The folders of tests that call functions alone; single ones among them are marked `slow` or `java`.
UNIT := tests --ignore=tests/spark --ignore=tests/faults --ignore=tests/cluster

.DEFAULT_GOAL := help
.PHONY: help setup demo screenshots test check unit docs lint audit types pytest test-cluster bundle env-archive mlflow-ui mlflow-server history notebook bench bench-full bench-check bench-forest bench-large bench-predict bench-clients bench-giant bench-titles bench-text bench-counts bench-choices bench-suspects bench-pages quality quality-tuned guards soak lock clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(READY) $(CLASSES) ## install everything into .venv, as the lock file says

# --no-deps: the lock is complete. A pip that resolves it anew does not take `coverage[toml]`, which pytest-cov asks
# for, for the coverage that is pinned, and fails as soon as there is a later one.
$(READY): requirements.lock setup.cfg pyproject.toml bin/check-tools.sh
	@bin/check-tools.sh $(PYTHON)
	@echo "installing into .venv (the first time this downloads about 1 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(CLASSES): $(READY)
	@$(BIN)/python -m bc4all.launch.class_archive

demo: setup ## sample data if data/ is empty, train and predict every client, show some products, write pages
	@bin/demo.sh

screenshots: demo ## photograph the demo's pages for the README: docs/site-fleet.png, docs/site-client.png
	@bin/check-browser.sh
	@$(BIN)/python bin/screenshots.py

test: lint types pytest ## set up, lint, check types, run every test

lint: setup ## ruff: rules and format; import-linter: the rooms; bandit: what invites attackers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive bc4all jobs bench

docs: setup ## write docs/cli.md from the commands, draw docs/rooms.svg from the imports
	@$(BIN)/python bin/docs.py

audit: setup ## known weaknesses of what the lock file pins; where nobody can be asked, that all of it is pinned by hash
	@$(BIN)/python bin/audit.py

types: setup ## mypy
	@$(BIN)/mypy

unit: setup ## the quick tests that need no Java, side by side: the loop to wait for
	@$(BIN)/pytest -q -n 2 -m "not slow and not java" $(UNIT)

check: lint types unit ## what to run before a commit: lint, types, unit

pytest: setup ## every test, and how much of the code they run
	@bin/check-browser.sh
	@$(BIN)/pytest -n 2 --dist loadfile --ignore=tests/cluster --durations=60 --cov --cov-report=
	@$(BIN)/pytest tests/cluster --durations=10 --cov --cov-append

test-cluster: setup ## the tests on a real Spark cluster and MLflow server of this machine, alone
	@$(BIN)/pytest tests/cluster

bundle: setup ## build dist/bc4all-<version>.zip, the code that Spark ships to its workers
	@$(BIN)/python -c "from bc4all.launch.bundle import build_bundle; print(build_bundle())"

env-archive: setup ## build dist/bc4all-environment.tar.gz, the Python packages that Spark ships to its workers
	@bin/env-archive.sh

mlflow-ui: setup ## MLflow's pages about every run and version, on http://127.0.0.1:5000
	@case "$$MLFLOW_TRACKING_URI" in http*) echo "MLflow's pages are at $$MLFLOW_TRACKING_URI"; exit;; esac; \
	    program="from bc4all.layout import Layout; from bc4all.registry.tracking import tracking_uri"; \
	    uri=$$($(BIN)/python -c "$$program; print(tracking_uri(Layout.from_environment()))") && \
	    $(BIN)/mlflow server --host 127.0.0.1 --port 5000 --backend-store-uri "$$uri"

mlflow-server: setup ## MLflow for many drivers, on http://127.0.0.1:5000: PostgreSQL if there is one, else SQLite
	@bin/mlflow-server.sh

history: setup ## Spark's pages about finished applications, on http://127.0.0.1:18080
	@events=$$($(BIN)/python -c "from bc4all.layout import Layout; print(Layout.from_environment().events)") && \
	    SPARK_HISTORY_OPTS="-Dspark.history.ui.port=18080 '-Dspark.history.fs.logDirectory=$$events'" \
	    PYSPARK_PYTHON=$(BIN)/python $(BIN)/spark-class org.apache.spark.deploy.history.HistoryServer

notebook: setup ## run notebooks/inspect_predictions.ipynb on the published data, as a page in dist/
	@$(BIN)/jupyter nbconvert --to notebook --execute --output-dir dist notebooks/inspect_predictions.ipynb
	@$(BIN)/jupyter nbconvert --to html --TagRemovePreprocessor.enabled=True \
	    --TagRemovePreprocessor.remove_all_outputs_tags quiet dist/inspect_predictions.ipynb
	@rm dist/inspect_predictions.ipynb

bench: setup ## measure beside what people would write instead: bench/RESULTS.md, docs/bench-*.svg
	@$(BIN)/python -m bench.suite

bench-full: setup ## the same with ten million products and a thousand clients: an hour and a half
	@$(BIN)/python -m bench.suite --full

bench-check: setup ## measure again, and fail where a ratio has lost more than a fifth
	@$(BIN)/python -m bench.suite --check

bench-forest: setup ## scikit-learn's forest beside the compact one: size, load time, speed
	@$(BIN)/python -m bench.forest

bench-large: setup ## train a client of a million products: wall time and memory beside scikit-learn
	@$(BIN)/python -m bench.large_client

bench-predict: setup ## predict a client of a million products: wall time beside pandas, and beside a plain Spark job
	@$(BIN)/python -m bench.one_client

bench-clients: setup ## train and predict a hundred small clients: wall time beside a joblib loop over them
	@$(BIN)/python -m bench.many_clients

bench-giant: setup ## predict a client of two million products among 99 small ones: what it costs them
	@$(BIN)/python -m bench.giant

bench-titles: setup ## score a client of a million titles: titles a second beside scikit-learn
	@$(BIN)/python -m bench.titles

bench-text: setup ## train titles of many categories, and of SOURCE: seconds and accuracy beside a linear SVM and fastText
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
	    --target dist/bench-packages -r bench/requirements.txt || echo "there is no fastText here: it is left out"
	@$(BIN)/python -m bench.text $(if $(SOURCE),--source $(SOURCE))

bench-choices: setup ## several text columns, parents of paths: what they add to the default model of titles (and of SOURCE)
	@$(BIN)/python -m bench.text_choices $(if $(SOURCE),--source $(SOURCE))

bench-suspects: setup ## plant wrong labels into the shops of SOURCE: how many of them `bc4all suspects` shows
	@$(BIN)/python -m bench.suspects $(SOURCE)

bench-counts: setup ## train many counts by the default forest, by auto: log-loss and seconds beside scikit-learn's best
	@$(BIN)/python -m bench.counts

bench-pages: setup ## write the pages of a thousand made-up clients: seconds, bytes, and how soon a browser shows and sorts them
	@$(BIN)/python -m bench.pages

quality: setup ## hold out a part of SOURCE, train and predict it with FEATURES, compare: docs/quality.md
	@$(BIN)/python -m bench.quality $(SOURCE) --features '$(FEATURES)'

quality-tuned: setup ## train SOURCE with FEATURES as it is, by auto, and tuned; compare: docs/quality.md
	@$(BIN)/python -m bench.tuned $(SOURCE) --features '$(FEATURES)' --settings '$(SETTINGS)' --tune '$(TUNE)'

guards: setup ## take each guard of docs/reliability.md away and see its test fail
	@$(BIN)/python -m tests.guards

soak: setup ## 50 clients, an hour of fast days, something killed every few seconds; then everything is read
	@$(BIN)/python -m bench.soak run

lock: setup ## write requirements.lock anew from setup.cfg
	@$(BIN)/pip-compile --quiet --extra dev --extra server --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options -o requirements.lock setup.cfg

clean: ## remove what was built; .venv and data stay
	@rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
