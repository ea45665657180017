# Each target works alone on a fresh machine with python3 (3.10 to 3.13) and make: what it needs, it installs in .venv.
# `make help` lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -q --numprocesses logical # a process for each core
PIP    := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq --constraint constraints.txt

PACKAGE := $(shell find s3rec_mini -type f -not -name '*.pyc')
SOURCES := $(shell find book -type f -not -name '*.pyc' -not -path '*/.ipynb_checkpoints/*') _config.yml _toc.yml
CHAPTERS := $(wildcard $(addsuffix /*.ipynb,$(addprefix book/,foundations objectives training findings)))
# The longest run first, so that no core waits for the last one.
LONGEST  := inside_the_model segments masked_items pretraining self_attention your_own_data recap masked_attributes \
            leaks_and_clocks associated_attributes information_deeper finetuning
LONGEST  := $(foreach name,$(LONGEST),$(filter %/$(name).ipynb,$(CHAPTERS)))
CHAPTERS := $(LONGEST) $(filter-out $(LONGEST),$(CHAPTERS))
CHROMIUM = $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name))))
ADDRESS  = $(shell sed -n 's/^Repository = "\(.*\)"/\1/p' pyproject.toml)

.DELETE_ON_ERROR:
.PHONY: help test test-book test-grading fuzz book serve lab site push-notebooks pdf links lint assignments grade grades picture repository constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: $(VENV)/.test ## run the package's tests (ARGS="-k name" for some of them, here and below)
	$(PYTEST) $(ARGS)

test-book: $(VENV)/.test $(VENV)/.book ## test the chapters, as files and as programs, and what comes with the package
	$(PYTEST) tests/book $(ARGS)

test-grading: $(VENV)/.test $(VENV)/.grading $(VENV)/.site ## test the assignments and their grading (needs bubblewrap; some tests, Chromium)
	$(BIN)/python -m pytest -q tests/grading $(ARGS)

fuzz: $(VENV)/.test ## try ten thousand cases of data that people could have, others each time
	$(BIN)/python -m pytest -q tests/test_fuzz_*.py --hypothesis-profile fuzz $(ARGS)

book: _build/.book ## execute the notebooks and render the book into _build/html
	@echo "The book: _build/html/index.html"

serve: book ## read the book at http://localhost:8000 and build it again when a file changes (PORT=… for another)
	$(BIN)/watchfiles '$(MAKE) book' book s3rec_mini _config.yml _toc.yml & trap "kill $$!" EXIT; \
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(or $(PORT),8000)

lab: $(VENV)/.lab ## open the chapters as notebooks in JupyterLab (as root: ARGS=--allow-root)
	$(BIN)/jupyter lab book $(ARGS)

site: book $(VENV)/.test $(VENV)/.site ## test the built book and the explorers in a browser (needs Chromium)
	$(PYTEST) tests/site $(ARGS)

push-notebooks: ## push the built notebooks to the branch that the Colab buttons open (needs `make book`)
	@export GIT_INDEX_FILE=$$(mktemp -u) GIT_DIR='$(CURDIR)/.git' GIT_WORK_TREE='$(CURDIR)/_build/html/notebooks'; \
	cd "$$GIT_WORK_TREE" && git add students teachers && \
	git push --force origin "$$(git -c user.name=s3rec-mini -c user.email=notebooks@localhost commit-tree \
	  -m "Notebooks of $$(git rev-parse HEAD)" $$(git write-tree))":refs/heads/notebooks

pdf: book ## print the whole book into _build/s3rec-mini.pdf (with Chromium)
	@test -n '$(CHROMIUM)' || { echo "Chromium prints the book, and none was found: on Debian or Ubuntu,"\
	  "apt-get install chromium"; exit 1; }
	$(BIN)/jupyter-book build . --builder singlehtml -n
	cp _build/singlehtml/book/index.html _build/singlehtml/ # there its pictures and scripts are
	$(CHROMIUM) --headless --no-sandbox --disable-gpu --user-data-dir=_build/.chromium --no-pdf-header-footer \
	  --generate-pdf-document-outline --virtual-time-budget=100000 --print-to-pdf=_build/s3rec-mini.pdf \
	  file://$(CURDIR)/_build/singlehtml/index.html
	@echo "The book: _build/s3rec-mini.pdf"

links: book ## ask every page that the book links to elsewhere whether it is there (needs the network)
	$(BIN)/jupyter-book build . --builder linkcheck -n

assignments: $(VENV)/.grading ## build the student versions into _build/assignments (COURSE_SEED=2027 for other numbers)
	$(BIN)/python -m grading build --seed $(or $(COURSE_SEED),2026)

grade: $(VENV)/.grading ## grade a folder of notebooks: make grade SUBMITTED=dir (ROSTER=canvas.csv for a Canvas file)
	@test -n "$$SUBMITTED" || { echo "usage: make grade SUBMITTED=folder-of-notebooks [ROSTER=canvas.csv]"; exit 2; }
	$(BIN)/python -m grading grade "$$SUBMITTED" $(if $(ROSTER),--roster "$$ROSTER") $(ARGS)

grades: $(VENV)/.grading ## write the grade tables and feedback again, after grading by hand
	$(BIN)/python -m grading export $(if $(ROSTER),--roster "$$ROSTER") $(ARGS)

lint: $(VENV)/.lint ## check code, spelling and choice of words, the citation file and the workflows
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

picture: $(VENV)/.test ## draw the README's picture again from the chapter it is taken from
	$(BIN)/python book/_tools/picture.py

repository: ## set the project's public address everywhere: make repository URL=https://github.com/you/s3rec-mini
	@case '$(URL)' in \
	  https://*[!A-Za-z0-9._~/-]* | */ | *.git) bad=1 ;; https://*/*) bad= ;; *) bad=1 ;; esac; \
	if [ -n "$$bad" ]; then \
	  echo "usage: make repository URL=https://github.com/you/s3rec-mini (no slash or .git at its end)"; exit 2; fi
	@old=$$(printf '%s' '$(ADDRESS)' | sed 's/\./\\./g'); \
	grep -rlF --exclude-dir=.git --exclude-dir=.venv --exclude-dir=_build --exclude-dir=course --exclude-dir=runs -- '$(ADDRESS)' . \
	| while read -r file; do \
	  sed "s|$$old|$(URL)|g" "$$file" > "$$file.new" && cat "$$file.new" > "$$file" && rm "$$file.new" && echo "$$file"; \
	done

constraints: $(VENV)/.created ## resolve constraints.txt again for Python 3.10 to 3.13 (UPGRADE=--upgrade for newer releases)
	$(BIN)/python -m pip install --quiet uv
	UV_PYTHON_DOWNLOADS=never $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.10 --all-extras \
	  --no-annotate --upgrade-package torch==2.13.0 $(UPGRADE) --custom-compile-command "make constraints" \
	  --output-file constraints.txt pyproject.toml

clean: ## remove the built book and the environment
	rm -rf _build build $(VENV) s3rec_mini.egg-info

# The environment: made once, then one stamp for each set of extras.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Python 3.10 to 3.13 is needed, and \`$(PYTHON)\` is not one of them: try make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv module is missing: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.%: pyproject.toml constraints.txt $(VENV)/.created
	$(PIP) setuptools
	$(PIP) --no-build-isolation --editable '.[$*]'
	@touch $@

# Pages and cached outputs depend on the package as well as on their own cells, and jupyter-cache looks at the cells
# alone: when the package (or what it runs on) is newer than the last build, everything is executed again.
_build/.package: $(VENV)/.book $(PACKAGE)
	@mkdir -p _build
	find _build -mindepth 1 -maxdepth 1 ! -name assignments -exec rm -rf {} +
	@touch $@

# --all reads every page again, so a warning is reported each time and not only by the build that first saw it;
# notebooks come from the cache where nothing changed.
# As many chapters at a time as there are cores, each with one thread, fill the cache first: jupyter-book runs one by one.
_build/.book: _build/.package $(SOURCES)
	yes | OMP_NUM_THREADS=1 $(BIN)/jcache notebook --cache-path _build/.jupyter_cache add $(CHAPTERS)
	OMP_NUM_THREADS=1 $(BIN)/jcache project --cache-path _build/.jupyter_cache execute --executor temp-parallel --timeout 120
	$(BIN)/jupyter-book build . --all -W -n --keep-going
	$(BIN)/python book/_tools/export.py _build
	rm -rf build # what an older wheel was made of
	$(BIN)/python -m pip wheel -qq --no-deps --no-build-isolation --wheel-dir _build/html/notebooks .
	@touch $@
