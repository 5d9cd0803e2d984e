"""PBS through its command-line tools. `open_pbs` is the way in; the modules beside it are pure."""

from elisa.backends.pbs.backend import PbsBackend
from elisa.backends.pbs.opening import open_pbs
from elisa.backends.pbs.options import PbsOptions

__all__ = ["PbsBackend", "PbsOptions", "open_pbs"]
