"""How often a task saves, and why, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from elisa.engine.checkpoint_interval import Schedule
from elisa.model.units import format_duration
from elisa.policies.experience import Lead
from elisa.runtime.checkpoint.interval import Choice

__all__ = ["schedule_words", "seconds_words"]

_BOUNDS = {
    "optimum": "this is the Young/Daly optimum for these numbers",
    "overhead": "the Young/Daly optimum would be {optimum}: saving so often would take too much of the time",
    "remaining": "the Young/Daly optimum would be {optimum}: two saves shall fall into the walltime that is left",
}
_WHOSE = {
    "task": "its own {saves} measured saves",
    "group": "{saves} measured saves of tasks like it",
    "site": "{saves} measured saves of other tasks here",
}


def schedule_words(schedule: Schedule) -> Iterator[str]:
    """Yield one line after the other, the answer first."""
    yield _answer(schedule)
    yield _cost(schedule)
    yield _rate(schedule)
    yield f"  walltime left: {format_duration(schedule.remaining_s)}"
    if schedule.choice is not None:
        yield _why(schedule)
    if schedule.in_job is not None:
        yield _in_job(schedule.in_job)
    yield _lead(schedule.lead)


def _answer(schedule: Schedule) -> str:
    name = schedule.task.spec.name
    if schedule.interval_s is None:
        return f"{name}: how often it saves is decided when its first save shows what that costs"
    share = "" if schedule.share is None else f"; saving takes {100 * schedule.share:.2g} % of its time"
    whose = "as its author asks" if schedule.fixed_s is not None else "chosen by elisa"
    if schedule.fixed_s is None and not schedule.has_policy:
        whose = "if its program leaves that to elisa"
    return f"{name}: saves every {seconds_words(schedule.interval_s)}, {whose}{share}"


def _cost(schedule: Schedule) -> str:
    if schedule.choice is None:
        return "  a save: nothing measured yet"
    return f"  a save takes {seconds_words(schedule.choice.save_s)} (the median of those measured)"


def _rate(schedule: Schedule) -> str:
    rate = schedule.interruptions
    if rate is None:
        return "  interruptions: too few were seen here to measure; one a day is assumed"
    seen = f"{rate.events} in {format_duration(rate.run_s)} of jobs of {rate.where}"
    return f"  interruptions: every {format_duration(rate.mtbf_s)}, from {seen}"


def _why(schedule: Schedule) -> str:
    choice = schedule.choice
    assert choice is not None
    if schedule.fixed_s is not None:
        return f"  elisa would choose {seconds_words(choice.interval_s)}"
    return "  " + _BOUNDS[choice.bound].format(optimum=seconds_words(choice.optimum_s))


def _in_job(choice: Choice) -> str:
    cost = f"a save keeps it waiting for {seconds_words(choice.save_s)}"
    return f"  the program itself said, with its last checkpoint: every {seconds_words(choice.interval_s)}; {cost}"


def _lead(lead: Lead) -> str:
    told = f"  told of the end of its walltime {seconds_words(lead.lead_s)} before"
    if lead.whose == "author":
        return f"{told}, as its author asks"
    if not lead.whose:
        return f"{told}: a guess until saves were measured"
    step = f" and the way to the next step ({seconds_words(lead.step_s)} each)" if lead.step_s else ""
    saves = _WHOSE[lead.whose].format(saves=lead.saves)
    return f"{told}: twice the slow ones ({seconds_words(lead.save_s)}, p95) of {saves}{step}"


def seconds_words(seconds: float) -> str:
    """Return `0.35s`, `12s` or `12m30s`: below ten seconds, parts of a second matter."""
    return f"{seconds:.2g}s" if seconds < 10 else format_duration(seconds)
