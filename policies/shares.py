"""What the site says of shares: how many make a GPU, put on each request and into the limits on GPUs held at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from elisa.model.resources import Component, GpuRequest, Resources
from elisa.model.shares import UNITS_A_GPU
from elisa.model.site import Cap, Loan, Metered, ProjectPolicy, SitePolicy

__all__ = ["limited_in_units", "sized"]


def sized(request: Resources, shares: Mapping[str, int]) -> Resources:
    """Return a request that knows what part of a GPU each of its shares is."""
    parts: tuple[Component, ...] = tuple(replace(one, gpus=_sized(one.gpus, shares)) for one in request.components)
    return replace(request, gpus=_sized(request.gpus, shares), components=parts)


def _sized(gpus: GpuRequest, shares: Mapping[str, int]) -> GpuRequest:
    # Of several types that will do the largest part counts: which one it gets is not known yet.
    return replace(gpus, parts=min((shares.get(kind, gpus.parts) for kind in gpus.types), default=1))


def limited_in_units(site: SitePolicy) -> SitePolicy:
    """Return the rules with every limit on GPUs of all types held at once in parts of a GPU, where the site has shares."""
    if not site.gpu_shares:
        return site
    return replace(
        site,
        projects=tuple(_project(one) for one in site.projects),
        caps=_caps(site.caps),
        unlisted=_project(site.unlisted),
        loans=tuple(_loan(one) for one in site.loans),
    )


def _project(policy: ProjectPolicy) -> ProjectPolicy:
    return replace(
        policy,
        caps=_caps(policy.caps),
        user_caps=_caps(policy.user_caps),
        member_caps=tuple((uid, _caps(caps)) for uid, caps in policy.member_caps),
    )


def _caps(caps: tuple[Cap, ...]) -> tuple[Cap, ...]:
    return tuple(_cap(cap) for cap in caps)


def _cap(cap: Cap) -> Cap:
    if cap.resource is not Metered.GPUS or cap.gpu_type:
        return cap
    return replace(cap, resource=Metered.GPU_UNITS, limit=cap.limit * UNITS_A_GPU)


def _loan(loan: Loan) -> Loan:
    if loan.resource is not Metered.GPUS or loan.gpu_type:
        return loan
    return replace(loan, resource=Metered.GPU_UNITS, amount=loan.amount * UNITS_A_GPU)
