"""`roles.yaml`: who administers the site, who manages which project, and who may use which class.

Everybody who shares a state folder may write in it, so the file counts only if it belongs to the folder's own owner (or to
root) and nobody else may change it. It is read again whenever something depends on it.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from elisa.engine.files import Files
from elisa.engine.site_kinds import Section, told_problems
from elisa.model import layout
from elisa.model.errors import PolicyError, SpecError
from elisa.model.ids import ProjectName
from elisa.model.pipeline import PriorityClass
from elisa.pipelines.nodes import plain
from elisa.pipelines.strict_yaml import load
from elisa.policies.rights import Rights

__all__ = ["Roles", "User", "read_roles", "uid_of"]

_ROOT = 0
User = str | int


class Roles(Section):
    """The whole file. Users are given by name or by number."""

    admins: tuple[User, ...] = Field(
        default=(), description="Who may change the rules of every project, beside the owner of the state folder."
    )
    managers: Mapping[str, tuple[User, ...]] = Field(
        default={}, description="By project: who may lend, prioritize, and divide its budget between its members."
    )
    reservers: tuple[User, ...] = Field(
        default=(), description="Who may reserve room for any project, beside administrators."
    )
    members: Mapping[str, tuple[User, ...]] = Field(
        default={},
        description="By project: who may submit work of it, beside its managers; `*` is for every project not named here."
        " A project without members takes work of everybody.",
    )
    classes: Mapping[PriorityClass, tuple[User, ...]] = Field(
        default={},
        description="Who may use a class, and those below it; all others use what is below every class named.",
    )

    def rights(self, owner: int) -> Rights:
        """Return them as rights; `owner` and root are administrators."""
        return Rights(
            admins=frozenset({_ROOT, owner, *_uids(self.admins)}),
            managers=_by_project(self.managers),
            members=_by_project(self.members),
            reservers=frozenset(_uids(self.reservers)),
        )

    def reserved_classes(self, owner: int) -> tuple[tuple[PriorityClass, tuple[int, ...]], ...]:
        """Return who may use each class that is named; administrators may use them all."""
        admins = self.rights(owner).admins
        return tuple((name, tuple(sorted(admins.union(_uids(users))))) for name, users in self.classes.items())


def read_roles(files: Files, home: Path) -> tuple[Roles, int]:
    """Return the roles, and the uid of the owner of the state folder. Without a file nobody else has one.

    Raises PolicyError for a file that others could have written, SpecError for one that cannot be read as roles.
    """
    path, owner = layout.roles_file(home), home.stat().st_uid
    if not files.exists(path):
        return Roles(), owner
    _check(path, owner)
    text = files.read(path)
    if not text or not text.strip():
        return Roles(), owner
    return _parsed(text, str(path)), owner


def _check(path: Path, owner: int) -> None:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        why = "it is no ordinary file"
    elif status.st_uid not in {_ROOT, owner}:
        why = f"it belongs to user {status.st_uid}, the state folder to user {owner}"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        why = "others than its owner may write it"
    else:
        return
    raise PolicyError(f"{path} cannot be trusted", why, f"as user {owner}, write it anew and `chmod 644` it")


def _parsed(text: bytes, file: str) -> Roles:
    node = load(text, file)
    try:
        roles = Roles.model_validate(plain(node))
    except ValidationError as err:
        raise SpecError(told_problems(err, node, file)) from err
    _uids(
        [
            *roles.admins,
            *roles.reservers,
            *(
                user
                for users in (*roles.managers.values(), *roles.members.values(), *roles.classes.values())
                for user in users
            ),
        ]
    )
    return roles


def _by_project(users: Mapping[str, Iterable[User]]) -> tuple[tuple[ProjectName, frozenset[int]], ...]:
    return tuple((ProjectName(name), frozenset(_uids(of_it))) for name, of_it in sorted(users.items()))


def _uids(users: Iterable[User]) -> Sequence[int]:
    return [uid_of(user) for user in users]


def uid_of(user: User, where: str = "roles.yaml") -> int:
    """Return the number of a user, given by name or number; PolicyError, saying `where`, for a name nobody has here."""
    if isinstance(user, int):
        return user
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise PolicyError(
            f"{where} names {user}, whom this machine does not know", f"uid {os.geteuid()} asked", "give the number"
        ) from None
