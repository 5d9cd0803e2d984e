#!/bin/sh
# Create a virtual environment and install elisa with its development tools into it, with uv where uv works.
# Usage: make_env.sh VENV [EXTRAS]. PYTHON names the interpreter to use.
set -eu

venv=$1
extras=${2:-dev}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: elisa needs Python 3.11 or newer; $python is older" >&2
    echo " hint: make PYTHON=/path/to/python3.11" >&2
    exit 2
}

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv "$venv" || {
        echo " hint: on Debian and Ubuntu, apt-get install python3-venv" >&2
        exit 2
    }
fi

# uv reads no pip configuration, so an index that only pip knows of makes it fail: then pip does the work.
install_with_uv() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv &&
        UV_HTTP_TIMEOUT=15 "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" -c constraints.txt -e ".[$extras]"
}

install_with_pip() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$extras]"
}

install_with_uv 2>"$venv/uv.log" || install_with_pip
