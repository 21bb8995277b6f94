# Sourced by the other scripts: a virtual environment with the tested set of packages.
#
#   RESDUAL_VENV    where the environment is (default: .venv in the repository)
#   RESDUAL_PYTHON  the Python that makes it (default: the first of python3.11, python3.12,
#                   python3.10, python3.9, python3 and python that has an accepted version)

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${RESDUAL_VENV:-$ROOT/.venv}"
case "$VENV" in /*) ;; *) VENV="$PWD/$VENV" ;; esac

say() { printf '\n== %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

accepted() {
    "$1" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1
}

find_python() {
    local name
    if [ -n "${RESDUAL_PYTHON:-}" ]; then
        accepted "$RESDUAL_PYTHON" && { echo "$RESDUAL_PYTHON"; return; }
        fail "RESDUAL_PYTHON=$RESDUAL_PYTHON is not a Python 3.9, 3.10, 3.11 or 3.12"
    fi
    for name in python3.11 python3.12 python3.10 python3.9 python3 python; do
        accepted "$name" && { command -v "$name"; return; }
    done
    fail "no usable Python: 3.9, 3.10, 3.11 and 3.12 are accepted (3.11 is tested most);" \
        "install one, or name it in RESDUAL_PYTHON"
}

# install EXTRA: make the environment if needed, and put the package with that extra into it.
install() {
    local extra="$1" python wanted stamp unfinished="$VENV/.resdual-unfinished" again=()
    if ! accepted "$VENV/bin/python" || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        python="$(find_python)" || exit 1
        say "Making a virtual environment in $VENV with $("$python" --version)"
        "$python" -m venv --clear "$VENV" ||
            fail "$python cannot make a virtual environment in $VENV; on Debian and Ubuntu," \
                "install its venv package (apt-get install python3-venv)"
    fi
    stamp="$VENV/.resdual-$extra"
    wanted="$(cat "$ROOT/constraints.txt" "$ROOT/setup.py" "$ROOT"/resdual_fairseq/native/csrc/*.[ch] | cksum) $ROOT"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        say "Installing the packages of constraints.txt (torch is large: this can take minutes)"
        if ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            # The omegaconf that fairseq 0.12.2 needs has metadata that newer pips refuse.
            "$VENV/bin/python" -m pip install --quiet 'pip<24.1'
        fi
        # What pip was killed at may lie there in part, and counts as installed.
        [ ! -e "$unfinished" ] || again=(--force-reinstall)
        touch "$unfinished"
        if ! "$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
            ${again[@]+"${again[@]}"} --constraint "$ROOT/constraints.txt" --editable "$ROOT[$extra]" |
            sed -u -n 's/^Collecting \([^ ]*\).*/  \1/p; /^Successfully/p'
        then
            fail "pip could not install the packages named above; put right what it says and run again"
        fi
        rm "$unfinished"
        printf '%s\n' "$wanted" >"$stamp"
    fi
    export PATH="$VENV/bin:$PATH"
}
