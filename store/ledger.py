"""The ledger: what is reserved for an attempt, what it spent, what was given back, and the hard caps that bound it.

For each attempt and each amount, reserve = spend + refund. What an attempt used beyond its reservation is booked as an
overrun: it counts as used when the next attempt asks, but no attempt was ever let in beyond a cap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from elisa.model.charge import Charge
from elisa.model.errors import PolicyError, StaleChange
from elisa.model.resources import Resources
from elisa.model.shares import parts_of, plain_kind, whole_gpus
from elisa.model.site import EVERYBODY, Metered
from elisa.store import tables
from elisa.store.batch import ANYBODY, AccountKey, Batch, CapRow
from elisa.store.connection import Row
from elisa.store.convert import CHARGES, resources_from

__all__ = ["NO_CHARGE", "account_row", "check_heir", "reserve", "settle", "spend"]

NO_CHARGE = Charge()
_HOLDINGS = ("jobs", "nodes", "cpus", "memory_mib", "gpus", "watts")
# What is held in parts of GPUs stands in the accounts in shares, each type and size of share by itself.
_COLUMN: Mapping[str, str] = {Metered.GPU_UNITS: "gpus"}


def account_row(key: AccountKey) -> Row:
    """Return the account of somebody who used nothing yet."""
    amounts = (f"{side}_{name}" for side in ("reserved", "spent") for name in CHARGES)
    row: Row = dict.fromkeys((*amounts, *_HOLDINGS), 0)
    return {"project": key[0], "owner_uid": key[1], "gpu_type": key[2], **row}


def reserve(batch: Batch, attempt: Row, request: Resources, charge: Charge) -> None:
    """Reserve for a new attempt. Raises PolicyError if a hard cap would be exceeded."""
    account = _account(batch, attempt)
    wanted = {name: getattr(charge, name) for name in CHARGES}
    # An heir holds nothing as long as the one in front does, for it begins after that.
    holdings = dict.fromkeys(_HOLDINGS, 0) if attempt["inherits"] else _holdings(request)
    for name, amount in wanted.items():
        account[f"reserved_{name}"] += amount
    for name, amount in holdings.items():
        account[name] += amount
    attempt["held_watts"] = holdings["watts"]
    _check_caps(batch, attempt, {name for name, amount in {**wanted, **holdings}.items() if amount})
    _book(batch, attempt, "reserve", wanted)


def spend(batch: Batch, attempt: Row, charge: Charge) -> None:
    """Book what an attempt used of its reservation, and what it used beyond it."""
    used = {name: getattr(charge, name) for name in CHARGES}
    within = {name: min(amount, attempt[f"held_{name}"]) for name, amount in used.items()}
    beyond = {name: amount - within[name] for name, amount in used.items()}
    account = _account(batch, attempt)
    for name in CHARGES:
        attempt[f"held_{name}"] -= within[name]
        account[f"reserved_{name}"] -= within[name]
        account[f"spent_{name}"] += used[name]
    _book(batch, attempt, "spend", within)
    if any(beyond.values()):
        _book(batch, attempt, "overrun", beyond)
    _remember(batch, attempt, used)


def settle(batch: Batch, attempt: Row, request: Resources, charge: Charge) -> None:
    """Book an ended attempt: what it spent, and back what is left of its reservation."""
    spend(batch, attempt, charge)
    left = {name: attempt[f"held_{name}"] for name in CHARGES}
    account = _account(batch, attempt)
    for name, amount in left.items():
        attempt[f"held_{name}"] = 0
        account[f"reserved_{name}"] -= amount
    _give_up_holdings(batch, attempt, request, account)
    _book(batch, attempt, "refund", left)


def _give_up_holdings(batch: Batch, attempt: Row, request: Resources, account: Row) -> None:
    """Let go of what an ended attempt held, but for what its heir needs, which is no more and of the same account."""
    held = dict.fromkeys(_HOLDINGS, 0) if attempt["inherits"] else dict(_holdings(request))
    # Who began before anybody counted watts gives none back.
    held["watts"], attempt["held_watts"] = attempt["held_watts"], 0
    heir = batch.heirs.pop(attempt["id"], None)
    if heir is not None:
        row = batch.change_attempt(heir)
        row["inherits"] = attempt["inherits"]
        if row["inherits"]:
            batch.heirs[row["inherits"]] = heir
        else:
            needed = _holdings(resources_from(row["request"]))
            row["held_watts"] = needed["watts"]
            held = {name: amount - needed[name] for name, amount in held.items()}
    elif attempt["inherits"]:
        batch.heirs.pop(attempt["inherits"], None)
    for name, amount in held.items():
        account[name] -= amount


def check_heir(batch: Batch, attempt: Row, request: Resources) -> None:
    """Note that an attempt takes over what another holds; raises StaleChange if that is too little, another's, or taken."""
    other = batch.attempt(attempt["inherits"])
    whose = ("project", "owner_uid", "gpu_type")
    held, wanted = _holdings(resources_from(other["request"])), _holdings(request)
    is_too_little = any(wanted[name] > held[name] for name in _HOLDINGS)
    if is_too_little or other["id"] in batch.heirs or any(attempt[name] != other[name] for name in whose):
        raise StaleChange(
            f"{attempt['id']} cannot take over what {other['id']} holds",
            "it asks for more, is another's, or another does already",
            "read again and decide again",
        )
    batch.heirs[other["id"]] = attempt["id"]


def _holdings(request: Resources) -> Mapping[str, int]:
    amounts = (1, request.node_count, request.cpus, request.memory_mib, request.gpu_count, request.draw_w)
    return dict(zip(_HOLDINGS, amounts, strict=True))


def _account(batch: Batch, attempt: Row) -> Row:
    key = (attempt["project"], attempt["owner_uid"], attempt["gpu_type"])
    row = batch.accounts.setdefault(key, account_row(key))
    batch.upserts[tables.ACCOUNT][key] = row
    return row


def _book(batch: Batch, attempt: Row, kind: str, amounts: Mapping[str, int]) -> None:
    owner = {name: attempt[name] for name in ("project", "owner_uid", "gpu_type", "incarnation")}
    row = {"attempt": attempt["id"], "kind": kind, "at": batch.now_us, **owner, **amounts}
    batch.inserts[tables.LEDGER].append(row)


def _remember(batch: Batch, attempt: Row, used: Mapping[str, int]) -> None:
    key = (attempt["project"], attempt["owner_uid"], attempt["gpu_type"], batch.today)
    names = ("project", "owner_uid", "gpu_type", "day")
    row = batch.daily.setdefault(key, {**dict(zip(names, key, strict=True)), **dict.fromkeys(CHARGES, 0)})
    for name, amount in used.items():
        row[name] += amount
    batch.upserts[tables.DAILY_USE][key] = row


def _check_caps(batch: Batch, attempt: Row, asked: set[str]) -> None:
    project = attempt["project"]
    governed = project if batch.projects.get(project) else ""
    bearers = {governed, str(EVERYBODY)}
    caps = [cap for cap in batch.caps if cap.project in bearers and cap.owner_uid in {ANYBODY, attempt["owner_uid"]}]
    has_own = any(cap.owner_uid != ANYBODY for cap in caps)
    for cap in caps:
        is_for_others = has_own and cap.per_user and cap.owner_uid == ANYBODY
        if not is_for_others and _COLUMN.get(cap.resource, cap.resource) in asked and _counts(cap, attempt["gpu_type"]):
            used = sum(_used(row, cap) for row in _accounts_under(batch, attempt, cap))
            if used > cap.cap:
                raise _refusal(project, cap, used)


def _accounts_under(batch: Batch, attempt: Row, cap: CapRow) -> Iterator[Row]:
    for (project, owner_uid, gpu_type), row in batch.accounts.items():
        is_owner = not cap.per_user or owner_uid == attempt["owner_uid"]
        is_whose = cap.project == EVERYBODY or project == attempt["project"]
        if is_whose and is_owner and _counts(cap, gpu_type):
            yield row


def _counts(cap: CapRow, gpu_type: str) -> bool:
    return cap.gpu_type in {"", gpu_type, plain_kind(gpu_type)}


def _used(account: Row, cap: CapRow) -> int:
    resource = Metered(cap.resource)
    if resource.is_cumulative:
        used = int(account[f"reserved_{resource.value}"] + account[f"spent_{resource.value}"])
    else:
        used = int(account[_COLUMN.get(cap.resource, cap.resource)])
    # Shares count as such by their own type, and as parts of GPUs together with others.
    return used if cap.gpu_type else whole_gpus(resource, used, parts_of(account["gpu_type"]))


def _refusal(project: str, cap: CapRow, used: int) -> PolicyError:
    who = f"a member of project `{project}`" if cap.per_user else f"project `{project}`"
    whose = "all work together" if cap.project == EVERYBODY else who
    what = f"{cap.resource} of {cap.gpu_type}" if cap.gpu_type else cap.resource
    return PolicyError(
        f"{whose} would exceed its hard cap on {what}",
        f"this attempt would bring it to {used}, the cap is {cap.cap}",
        "wait for other work to end, ask for less, or have the cap raised in site.yaml",
    )
