# make demo   the plugin on simulated tissue, in a window or as a picture
# make test   every test
# make torture   kills, cancels and terminates commands at random moments, fills disks, lets two write: N=100 times each
# make fuzz   damaged and odd files of every kind, N=1000 of them, through what users do with files
# make site   the pages as a site, in site/index.html
# make release-check   builds, installs and runs the package as a user gets it, and lists what is open before a release
# Each target first makes .venv, and makes it anew when pyproject.toml has changed.

BIN := .venv/bin
READY := .venv/.ready
# A display in memory for machines without a screen.
XVFB := xvfb-run --auto-servernum --server-args="-screen 0 1920x1200x24"
DISPLAYED = [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname)" = Darwin ]
# The package depends on napari, so the tests that need no viewer also leave its pytest plugins out.
CORE := -m "not viewer" -p no:pytest-qt -p no:xvfb -p no:napari --ignore=src/napari_spotmix/ui --ignore=tests/ui

# Tests start many processes: Python keeps what it compiles of the sources, whatever the environment says.
test test-core: export PYTHONDONTWRITEBYTECODE :=
# Two at once take half the time, if threads of BLAS that wait do not spin on the core of the other one.
TWO := -n 2 --dist loadfile

.PHONY: setup demo test test-core torture fuzz lint bench docs site release-check

setup: $(READY)

$(READY): pyproject.toml
	.ci/system-packages
	$(BIN)/python -m pip --version >/dev/null 2>&1 || "$$(.ci/find-python)" -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[all]" --group dev
	@# By itself, pip compiles 20,000 files on one core. Some are examples of wrong syntax.
	@$(BIN)/python -m compileall -qq -j 0 $$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))") || true
	touch $@

demo: $(READY)
	@if $(DISPLAYED); then $(BIN)/spotmix demo; \
	else $(XVFB) $(BIN)/spotmix demo --screenshot demo.png && echo "No display here: see the picture $(CURDIR)/demo.png"; fi

test: $(READY)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest $(TWO)

test-core: $(READY)
	$(BIN)/python -m pytest $(CORE)

torture: N := 100
torture: $(READY)
	$(BIN)/python -m tests.torture $(N)

fuzz: N := 1000
fuzz: $(READY)
	$(BIN)/python -m tests.fuzz $(N)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/npe2 validate napari.yaml

bench: $(READY)
	$(BIN)/python benchmarks/accuracy.py

docs: $(READY)
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_formats.py
	$(BIN)/python docs/make_report.py
	$(BIN)/python benchmarks/accuracy.py --picture docs/pictures/edges.png
	if $(DISPLAYED); then $(BIN)/python docs/make_pictures.py; else $(XVFB) $(BIN)/python docs/make_pictures.py; fi

# The source is this folder, so that links between README, CHANGELOG and docs/ hold.
site: $(READY)
	rm -rf site
	$(BIN)/python -m sphinx --conf-dir docs --doctree-dir build/doctrees --fresh-env --fail-on-warning --keep-going --quiet . site
	@echo "Open $(CURDIR)/site/index.html"

release-check: $(READY)
	$(BIN)/python .ci/release_check.py
