# `make help` lists what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help setup run test test-audio test-clients test-dashboard test-containers chaos fuzz lint lint-deploy sbom pin-images bench accuracy openapi build cuda test-gpu up

# Where `make run` listens.
PORT ?= 8000

TARGET := $(or $(CARGO_TARGET_DIR),target)
AURIS := $(TARGET)/release/auris
# The GPU worker program is built in a folder of its own, since it is the same crate with other
# features, and put beside the server.
CUDA_TARGET := $(TARGET)/cuda
# What the kernels are compiled for, as CMake names it: 90, or a list such as 75;80;86;89;90.
# Default: as the last time; at first this machine's GPU, or where there is none every generation
# since Turing.
CUDA_ARCHITECTURES ?=
# How long `make fuzz` tries to break each target.
FUZZ_SECONDS ?= 20
FUZZ_SANITIZER ?= none
# Where its chance begins; 0 is elsewhere each time.
FUZZ_SEED ?= 0
# How long `make chaos` causes faults, how much it sends meanwhile, which faults (all if empty), and
# the number that their order follows from (another each time if empty).
export CHAOS_SECONDS ?= 180
export CHAOS_JOBS ?= 200
export CHAOS_REQUESTS ?= 500
export CHAOS_FAULTS ?=
export CHAOS_SEED ?=
# A folder of recordings with truth.json for `make bench` and `make accuracy`: without it they
# measure the clips of the repository, and with it they put their tables into the document.
SPEECH ?=
# The model that they measure; the bundled one if it is empty. ACCURACY has more options.
MODEL ?=
ACCURACY ?=
MEASURED = --auris $(AURIS) $(if $(SPEECH),--speech $(SPEECH) --write $(1)) $(if $(MODEL),--model $(MODEL))
# What `make setup` looks for, each with its package; a target below may want more.
TOOLS := cmake:cmake c++:g++ curl:curl
# A release looks for the bundled model beside itself, which a target folder elsewhere is not.
export AURIS_MODELS_DIR := $(CURDIR)/models

# List the targets
help:
	@awk '/^# /{about=substr($$0,3)} /^[a-z-]+:[^=]*$$/{sub(":.*",""); printf "make %-15s %s\n",$$0,about}' Makefile

# Install the build tools that are missing (Debian, Ubuntu)
setup:
	@missing=()
	for tool in $(TOOLS); do
	  command -v "$${tool%%:*}" >/dev/null || missing+=("$${tool##*:}")
	done
	# Debian's Python makes virtual environments only with this package.
	if [[ "$(TOOLS)" == *python3* ]] && ! python3 -c 'import ensurepip' 2>/dev/null; then
	  missing+=(python3-venv)
	fi
	if (($${#missing[@]})); then
	  if ! command -v apt-get >/dev/null; then
	    echo "missing: $${missing[*]}. Install them with the package manager of this system." >&2
	    exit 1
	  fi
	  sudo=; [[ $$(id -u) == 0 ]] || sudo=sudo
	  echo "installing $${missing[*]}"
	  $$sudo apt-get update --quiet
	  $$sudo apt-get install --yes --no-install-recommends "$${missing[@]}"
	fi
	if ! command -v cargo >/dev/null; then
	  echo "missing: cargo. Install Rust from https://rustup.rs and open a new shell." >&2
	  exit 1
	fi

# Build, start the server on the bundled model (PORT=8000) and transcribe a speech; Ctrl-C ends it (~10 min at first)
run: setup
	@if (exec 3<>/dev/tcp/127.0.0.1/$(PORT)) 2>/dev/null; then
	  echo "port $(PORT) is taken: choose another one with \`make run PORT=8001\`" >&2
	  exit 1
	fi
	cargo build --release --locked --bin auris --bin auris-worker
	url=http://127.0.0.1:$(PORT)
	server=$$$$
	( { until curl --silent --fail --output /dev/null $$url/readyz; do
	    kill -0 $$server 2>/dev/null || exit 0
	    sleep 0.2
	  done
	  printf '\n$$ curl %s/v1/audio/transcriptions -F file=@tests/fixtures/speech/jfk.flac\n' $$url
	  curl --silent --show-error $$url/v1/audio/transcriptions -F file=@tests/fixtures/speech/jfk.flac
	  printf '\n\nready: API description at %s/docs, Ctrl-C ends the server\n' $$url
	} & )
	# The shell becomes the server, so that Ctrl-C and SIGTERM reach it and nothing is left behind.
	exec $(AURIS) --log warn serve --models base-q8_0 --listen 127.0.0.1:$(PORT)

# Run all tests (~20 min at first, then ~8 min)
test: setup
	@if cargo nextest --version >/dev/null 2>&1; then
	  cargo nextest run --locked
	else
	  cargo test --locked
	fi

# Compare the decode of 150 kinds of files with ffmpeg's (CASES='aac opus' for some of them; ~2 min)
test-audio: TOOLS += ffmpeg:ffmpeg sox:sox sox:libsox-fmt-base
test-audio: setup
	@cargo test --locked --quiet --test codecs -- $(CASES)

# Check the program with OpenAI's clients, schemathesis and ffmpeg (AURIS=FILE for another program)
test-clients: AURIS = $(TARGET)/debug/auris
test-clients: TOOLS += python3:python3 ffmpeg:ffmpeg
test-clients: setup
	@# The debug program, unless the command line names another.
	if [[ "$(origin AURIS)" != "command line" ]]; then cargo build --locked; fi
	export AURIS="$(abspath $(AURIS))"
	tests/clients/check

# Ask a real Prometheus for each panel of the dashboard, with servers that work and fail (AURIS=FILE)
test-dashboard: AURIS = $(TARGET)/debug/auris
test-dashboard: TOOLS += python3:python3
test-dashboard: setup
	@if [[ "$(origin AURIS)" != "command line" ]]; then cargo build --locked; fi
	PATH=$$(tests/deploy/tools)
	export PATH
	tests/deploy/panels.py "$(abspath $(AURIS))"

# Build both images in a Docker engine, started here if none runs, and drive them (CASES='-k gpu')
test-containers:
	@tests/containers/check $(CASES)

# Start auris in a container, with the GPU if there is one, and wait until it is ready
up:
	@./up

# Kill, starve and attack a server with jobs and requests, all of which must end right (CHAOS_SEED=N; ~5 min)
chaos: setup
	@cargo build --locked
	cargo test --locked --quiet --test chaos

# Fuzz what strangers' bytes reach, FUZZ_SECONDS=20 for each target (FUZZ_SANITIZER=address: nightly)
fuzz: setup
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	# The stable compiler knows no sanitizers, and what is fuzzed has no unsafe code of ours.
	[[ "$(FUZZ_SANITIZER)" == none ]] || export RUSTUP_TOOLCHAIN=nightly
	# A crash leaves its input in fuzz/artifacts, and the run says how to repeat it.
	for target in open decode form fields frames worker subtitles; do
	  seeds=fuzz/seeds/$$target
	  [[ -d $$seeds ]] || seeds=tests/fixtures/codecs
	  mkdir -p fuzz/corpus/$$target
	  cargo fuzz run --sanitizer $(FUZZ_SANITIZER) --target-dir $(TARGET)/fuzz $$target \
	    fuzz/corpus/$$target $$seeds -- \
	    -seed=$(FUZZ_SEED) -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=512 -timeout=20 -max_len=100000
	done

# Check formatting, lints, and licences, sources and advisories of the dependencies
lint: setup
	@set -x
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	# It is no test of `make test`, so not among all targets.
	cargo clippy --locked --test chaos -- -D warnings
	command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	# Licences are read from the sources of every platform's crates.
	cargo fetch --locked
	cargo deny --offline check --hide-inclusion-graph bans licenses sources
	# The database of advisories is on the network, which is not everywhere.
	if timeout 60 cargo deny fetch db; then
	  cargo deny check --disable-fetch --hide-inclusion-graph advisories
	else
	  echo "WARNING: advisories are NOT checked: their database cannot be fetched" >&2
	fi

# Write a CycloneDX list of all crates that the programs are made of to target/auris.cdx.json
sbom: setup
	@command -v cargo-sbom >/dev/null || cargo install --locked cargo-sbom@0.10.0
	mkdir -p $(TARGET)
	cargo sbom --output-format cyclone_dx_json_1_6 >$(TARGET)/auris.cdx.json
	echo $(TARGET)/auris.cdx.json

# Pin the Dockerfiles' base images to the digests that their tags have today (needs Docker with buildx, and the network)
pin-images:
	@for image in $$(sed -n 's/^ARG [A-Z]*_IMAGE=\([^@]*\).*/\1/p' Dockerfile.* | sort -u); do
	  digest=$$(docker buildx imagetools inspect "$$image" --format '{{.Manifest.Digest}}')
	  sed -i "s|^\(ARG [A-Z]*_IMAGE=$$image\)\(@.*\)\?$$|\1@$$digest|" Dockerfile.*
	done
	grep --with-filename '^ARG [A-Z]*_IMAGE=.*@' Dockerfile.*

# Check Dockerfiles, compose files, Kubernetes manifests, alerts and the dashboard
lint-deploy: TOOLS += python3:python3
lint-deploy: setup
	@tests/deploy/check

# Build the release program
build: setup
	@cargo build --release --locked --bin auris --bin auris-worker

# Build the GPU worker program auris-worker-cuda beside auris (CUDA_ARCHITECTURES=90)
cuda: setup
	@source scripts/cuda-environment $(CUDA_TARGET) "$(CUDA_ARCHITECTURES)"
	cargo build --release --locked --package auris-engine --features cuda --target-dir $(CUDA_TARGET)
	install -D $(CUDA_TARGET)/release/auris-worker $(AURIS)-worker-cuda

# Test and measure on this machine's NVIDIA GPU (AURIS_GPU_MODELS=FILE,FILE for more models)
test-gpu: setup
	@source scripts/cuda-environment $(CUDA_TARGET) "$(CUDA_ARCHITECTURES)"
	# In the release profile, for which `make cuda` has compiled the kernels; one at a time, since
	# they measure speed and free memory.
	cargo test --release --locked --package auris-engine --features cuda --test gpu --target-dir $(CUDA_TARGET) \
	  -- --test-threads 1 --nocapture

# Compare speed with faster-whisper and pywhispercpp (SPEECH=FOLDER, MODEL=FILE; ~20 min)
bench: build
	@failed=()
	# A missed bar does not keep the rest from being measured.
	measure() {
	  echo "+ $$*"
	  "$$@" || failed+=("$$*")
	}
	measure bench/compare.py $(call MEASURED,docs/benchmarks.md)
	measure bench/under_load.py --auris $(AURIS)
	measure bench/memory.py --auris $(AURIS)
	measure bench/first_delta.py --auris $(AURIS)
	if (($${#failed[@]})); then
	  printf 'missed: %s\n' "$${failed[@]}" >&2
	  exit 1
	fi

# Measure text, languages and word times on human speech (SPEECH=FOLDER, MODEL=FILE; ~60 min at first)
accuracy: build
	bench/accuracy.py $(call MEASURED,docs/accuracy.md) $(ACCURACY)

# Regenerate openapi/openapi.json
openapi: setup
	@cargo run --locked --quiet -- openapi >openapi/openapi.json.new
	mv openapi/openapi.json.new openapi/openapi.json
