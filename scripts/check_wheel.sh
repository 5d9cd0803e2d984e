#!/bin/sh
# Build the wheel, install it in an environment of its own without development tools, and run what users run.
# Usage: check_wheel.sh VENV
set -eu

venv=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$venv/bin/python" -m hatchling build -t wheel -d "$work/dist" >/dev/null
wheel=$(ls "$work"/dist/*.whl)

"$venv/bin/python" -m venv "$work/env"
if [ -x "$venv/bin/uv" ] && "$venv/bin/uv" pip install --quiet --python "$work/env/bin/python" -c constraints.txt "$wheel" 2>/dev/null
then :
else "$work/env/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt "$wheel"
fi

cd "$work" # nothing of the source tree is importable from here
export ELISA_HOME="$work/home"
"$work/env/bin/elisa" --help >/dev/null
"$work/env/bin/elisa" version
"$work/env/bin/python" - <<'PYTHON'
import importlib.util
import pkgutil

import elisa

dev = [name for name in ("pytest", "hypothesis", "mypy") if importlib.util.find_spec(name)]
assert not dev, f"development tools in the clean environment: {dev}"
for name in elisa.__all__:
    getattr(elisa, name)
rooms = [module.name for module in pkgutil.iter_modules(elisa.__path__)]
print("wheel: installed clean;", len(rooms), "modules below elisa")
PYTHON
