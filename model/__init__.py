"""The vocabulary every room speaks: frozen dataclasses, enums, ids, units, states, decisions, changes, errors.

Import from the submodules (`from elisa.model.task import Task`): commands that answer at once then load only what they
use. No clock, no I/O and no randomness live here.
"""
