"""`python -m elisa.cli`: the same as the `elisa` command."""

from __future__ import annotations

from .main import main

main()
