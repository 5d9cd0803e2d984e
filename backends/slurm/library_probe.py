"""Whether pyslurm can be used here: found out in another process, once, and remembered.

Imported with no readable slurm.conf, or with one that libslurm does not like, it waits for a minute and then ends the whole
process (seen with 22.05). And its setup insists on the major and minor number of the installed libslurm.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from elisa.backends.runner import Runner

__all__ = ["Probe", "how_to_get_it", "probe"]

# An import takes a tenth of a second where it works.
_PATIENCE_S = 10.0
_PROGRAM = "import pyslurm; pyslurm.Jobs, pyslurm.JobSubmitDescription; print(pyslurm.__version__)"
_USUAL_CONF = "/etc/slurm/slurm.conf"
_RELEASE = re.compile(r"(\d+)\.0?(\d+)(?:\.(\d+))?")
# https://pypi.org/project/pyslurm/ and the tags of https://github.com/PySlurm/pyslurm, November 2026
_ON_THE_INDEX = ("25.11", "18.8", "17.11")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of it: pyslurm's version if it can be imported, or else why not. `key` is what the answer rests on."""

    version: str = ""
    problem: str = ""
    key: str = ""

    @property
    def is_usable(self) -> bool:
        """Tell whether this process may import pyslurm."""
        return bool(self.version)


def probe(runner: Runner, environment: Mapping[str, str], memory: Path | None) -> Probe:
    """Return whether pyslurm may be imported with this environment; ask only if nothing is remembered in `memory`.

    What was found holds until this Python, its pyslurm or the slurm.conf is another.
    """
    found = find_spec("pyslurm")
    if found is None:
        return Probe(problem="it is not installed")
    conf = Path(environment.get("SLURM_CONF", _USUAL_CONF))
    if not os.access(conf, os.R_OK):
        return Probe(problem=f"{conf} can't be read")
    key = f"{sys.executable} {_stamp(found.origin or '')} {_stamp(str(conf))}"
    known = _recall(memory)
    if known.key == key:
        return known
    fresh = _ask(runner, {**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}, key)
    _remember(memory, fresh)
    return fresh


def _stamp(path: str) -> str:
    try:
        return f"{path}@{os.stat(path).st_mtime_ns}"
    except OSError:
        return path


def _ask(runner: Runner, environment: Mapping[str, str], key: str) -> Probe:
    answer = runner.run([sys.executable, "-c", _PROGRAM], timeout_s=_PATIENCE_S, env=environment)
    if answer.ok and _RELEASE.fullmatch(answer.stdout.strip()):
        return Probe(version=answer.stdout.strip(), key=key)
    words = answer.stderr.strip().rpartition("\n")[2] or f"the process ended with status {answer.exit_code}"
    return Probe(problem=words[:200], key=key)


def _recall(memory: Path | None) -> Probe:
    try:
        return Probe(**json.loads(memory.read_bytes())) if memory is not None else Probe()
    except (OSError, ValueError, TypeError):
        return Probe()


def _remember(memory: Path | None, found: Probe) -> None:
    """Write it down; where that fails, it is asked again next time."""
    if memory is None:
        return
    new = memory.with_name(f"{memory.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps(asdict(found)), encoding="utf-8")
        new.replace(memory)
    except OSError:
        new.unlink(missing_ok=True)


def how_to_get_it(slurm_version: str) -> str:
    """Return how to install the release of pyslurm that matches a release of Slurm."""
    found = _RELEASE.match(slurm_version)
    if found is None:
        return "install the release of pyslurm with the major and minor number of your Slurm"
    release = f"{int(found[1])}.{int(found[2])}"
    if release in _ON_THE_INDEX:
        return f"pip install 'pyslurm=={release}.*'"
    return (
        f"the package index has no pyslurm {release}.*: build its tag v{release}.* from https://github.com/PySlurm/pyslurm"
        " beside the headers of your Slurm, with Cython below 3 for releases before 23.11"
    )
