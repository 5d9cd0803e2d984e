"""The checkpoint library that runs inside a job, under its public name."""

from elisa.runtime.checkpoint import *  # noqa: F403  (one list of public names, kept where they live)
from elisa.runtime.checkpoint import __all__ as __all__
