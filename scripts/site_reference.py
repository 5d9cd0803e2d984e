"""The page docs/reference/site.md: every setting of site.yaml, as the pydantic sections and the backends' options say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, NamedTuple

from elisa.model.units import format_duration, format_memory
from scripts.backend_options import LOCAL, PBS, SIMULATED, SLURM, Option

__all__ = ["page"]

INTRODUCTION = """\
What [site.yaml](../site.md) may hold. Durations are written `90s`, `45m`, `2h30m`, `3d` or `12:00:00`; memory `512MiB`,
`16GiB` or `2TiB`; moments `2026-12-24T18:00+01:00`, with their zone. A setting without a default must be given."""

_DISTRIBUTION = """\
See [simulated clusters](../simulated.md). A *distribution* is a number of seconds, a duration, or one of `{uniform: [a, b]}`,
`{exponential: mean}`, `{lognormal: [median, sigma]}` and `{choice: [a, b, …]}`."""
_HEAD = "| setting | type | default | meaning |\n| --- | --- | --- | --- |"
_TITLES = {
    "Amounts": "Amounts",
    "AtOnce": "At once",
    "BackendConfig": "A backend",
    "BillingConfig": "Billing",
    "Budget": "A budget",
    "FactorsConfig": "Factors",
    "FairShareConfig": "Fair share",
    "GrantConfig": "A grant",
    "JobsConfig": "Jobs",
    "Limits": "Limits",
    "LoanConfig": "A loan",
    "PlacementConfig": "Placement",
    "ClosureConfig": "A closure",
    "DataConfig": "A data set",
    "DataPlaceConfig": "A place of data",
    "PowerConfig": "Power",
    "PreemptionConfig": "Preemption",
    "FusionConfig": "Short tasks in one job",
    "ExplorationConfig": "Trials of types of GPU",
    "ProjectConfig": "A project",
    "RecoveryConfig": "Recovery",
    "RefundsConfig": "Refunds",
    "ReservationConfig": "A reservation",
    "RoomAmounts": "Room",
    "Site": "The whole file",
}
_FORMATS = {"date-time": "moment", "duration": "duration", "memory": "memory"}


class _Row(NamedTuple):
    name: str
    type: str
    default: str
    meaning: str

    def line(self) -> str:
        return f"| `{self.name}` | {self.type} | {self.default} | {self.meaning} |"


def page() -> str:
    """Return the page, without the note that every generated page has."""
    from elisa.engine.config import Site

    schema = Site.model_json_schema(by_alias=True)
    kinds = {"Site": schema, **schema["$defs"]}
    sections = [_section(name, kinds) for name in _in_order(schema)]
    return "\n\n".join(["# site.yaml, setting by setting", INTRODUCTION, *sections, *_backends()]) + "\n"


def _in_order(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of the sections, each after the first that speaks of it."""
    found, waiting = ["Site"], ["Site"]
    while waiting:
        kind = schema["$defs"].get(waiting.pop(0), schema)
        for name in _mentioned(kind.get("properties", {})):
            if name not in found and "properties" in schema["$defs"][name]:
                found.append(name)
                waiting.append(name)
    return found


def _mentioned(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "$ref" in node:
            yield _target(node)
        for value in node.values():
            yield from _mentioned(value)
    elif isinstance(node, list):
        for value in node:
            yield from _mentioned(value)


def _target(node: Mapping[str, Any]) -> str:
    return str(node["$ref"]).rpartition("/")[2]


def _section(name: str, kinds: Mapping[str, Mapping[str, Any]]) -> str:
    required = set(kinds[name].get("required", ()))
    rows = []
    for setting, node in kinds[name]["properties"].items():
        about = _about(node, kinds)
        if not about:
            raise LookupError(f"`{setting}` of {name} has no description in engine/site_*.py")
        rows.append(_Row(setting, _type(node), "" if setting in required else _default(node), about))
    return f"## {_TITLES[name]}\n\n{' '.join(kinds[name]['description'].split())}\n\n{_table(rows)}"


def _about(node: Mapping[str, Any], kinds: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what is said of a setting; pydantic leaves it out where the section it leads to says the same."""
    return str(node.get("description") or ("$ref" in node and kinds[_target(node)].get("description")) or "")


def _table(rows: Iterable[_Row]) -> str:
    return "\n".join([_HEAD, *(row.line() for row in rows)])


def _type(node: Mapping[str, Any]) -> str:
    """Return a type in words, with a link where it is a section."""
    if "$ref" in node:
        name = _target(node)
        return f"[{_TITLES[name].lower()}](#{_anchor(_TITLES[name])})" if name in _TITLES else _choice(name)
    if "anyOf" in node:
        return _type(next(one for one in node["anyOf"] if one.get("type") != "null"))
    match node.get("type"):
        case "array":
            return f"list of {_type(node['items'])}"
        case "object":
            inside = node.get("additionalProperties")
            return f"mapping to {_type(inside)}" if isinstance(inside, Mapping) else "mapping"
        case "string":
            return _FORMATS.get(node.get("format", ""), "text")
        case "boolean":
            return "true or false"
        case "integer" | "number" as kind:
            return f"{'count' if kind == 'integer' else 'number'}{_bounds(node)}"
        case _:
            return "anything"


def _choice(name: str) -> str:
    from elisa.model.pipeline import PriorityClass
    from elisa.model.site import BackfillTimes, ServiceClass
    from elisa.model.states import EndReason

    known: tuple[type[Enum], ...] = (BackfillTimes, EndReason, PriorityClass, ServiceClass)
    kinds = {kind.__name__: kind for kind in known}
    return ", ".join(f"`{one.value}`" for one in kinds[name])


def _bounds(node: Mapping[str, Any]) -> str:
    if "exclusiveMinimum" in node:
        return f" above {node['exclusiveMinimum']:g}"
    if "maximum" in node:
        return f" from {node['minimum']:g} to {node['maximum']:g}"
    return f" from {node['minimum']:g}" if node.get("minimum") else ""


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-").replace(".", "")


def _default(node: Mapping[str, Any]) -> str:
    value = node.get("default")
    if value is None or value in ([], {}) or isinstance(value, Mapping):
        return ""
    if isinstance(value, list):
        return ", ".join(f"`{one}`" for one in value)
    return _written(value, node.get("format", ""))


def _written(value: object, unit: str) -> str:
    """Return a default as it would be written in the file."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if unit == "duration":
        return f"`{_duration(int(str(value)))}`"
    if unit == "memory":
        return f"`{format_memory(int(str(value)))}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`" if value != "" else ""


def _duration(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s" if seconds < 60 else format_duration(seconds)


def _backends() -> Iterator[str]:
    yield "## Options of each kind of backend\n\nThey stand under `options:` of a [backend](#a-backend)."
    yield f"### local\n\nWhat jobs may use of this machine; see [the guide](../site.md#this-machine).\n\n{_options(LOCAL)}"
    yield f"### slurm\n\nSee [Slurm](../slurm.md).\n\n{_options(_with_defaults(SLURM, _slurm()))}"
    yield f"### pbs\n\nSee [PBS](../pbs.md).\n\n{_options(_with_defaults(PBS, _pbs()))}"
    yield f"### simulated\n\n{_DISTRIBUTION}"
    for title, options in SIMULATED.items():
        yield f"#### {title}\n\n{_options(options)}"


def _options(options: Mapping[str, Option]) -> str:
    return _table(_Row(name, one.type, one.default, one.meaning) for name, one in options.items())


def _slurm() -> object:
    from elisa.backends.slurm.options import SlurmOptions

    return SlurmOptions()


def _pbs() -> object:
    from elisa.backends.pbs.options import PbsOptions

    return PbsOptions()


def _with_defaults(about: Mapping[str, Option], options: Any) -> Mapping[str, Option]:  # noqa: ANN401 - any dataclass
    """Return the options with the defaults that the code has. Raises LookupError if the two do not name the same ones."""
    known = {field.name for field in fields(options)}
    if known != set(about):
        raise LookupError(f"scripts/backend_options.py and {type(options).__name__} differ in {known ^ set(about)}")
    return {name: about[name]._replace(default=_of(getattr(options, name))) for name in about}


def _of(value: object) -> str:
    if isinstance(value, Enum):
        return f"`{value.value}`"
    return "" if value == () else _written(value, "")
