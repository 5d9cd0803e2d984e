"""What an agent does with GPUs that are not to be used: hide them, or give the job back."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from elisa.runtime.badgpu import Look, look_at_gpus
from elisa.runtime.job import BadGpu

NOW = 1_772_366_400.0
LATER = NOW + 3600
SLURM = {"SLURMD_NODENAME": "n1", "SLURM_JOB_GPUS": "1,2,3", "CUDA_VISIBLE_DEVICES": "0,1,2"}


def look(env: Mapping[str, str], *bad: BadGpu, wanted: int = 1, host: str = "login") -> Look:
    return look_at_gpus(env, bad, wanted, NOW, is_managed=True, host=host)


def test_a_bad_gpu_is_hidden_where_enough_others_were_given() -> None:
    env = {**SLURM, "ROCR_VISIBLE_DEVICES": "0,1,2", "NVIDIA_VISIBLE_DEVICES": "all"}

    found = look(env, BadGpu("n1", "2", LATER), wanted=2)

    assert found == Look(("1", "3"), {"CUDA_VISIBLE_DEVICES": "0,2", "ROCR_VISIBLE_DEVICES": "0,2"})


def test_a_job_that_cannot_do_without_it_is_given_back() -> None:
    found = look(SLURM, BadGpu("n1", "2", LATER), BadGpu("n1", "3", LATER), wanted=2)

    assert found.refusal == (
        "given GPU 2 of node n1, which is excluded until 2026-03-01 13:00 UTC, "
        "given GPU 3 of node n1, which is excluded until 2026-03-01 13:00 UTC"
    )


def test_what_cannot_be_hidden_is_given_back() -> None:
    bare = {"SLURMD_NODENAME": "n1", "SLURM_JOB_GPUS": "1,2", "NVIDIA_VISIBLE_DEVICES": "0,1"}

    assert look(bare, BadGpu("n1", "2", LATER)).refusal
    assert look({**bare, "CUDA_VISIBLE_DEVICES": "0"}, BadGpu("n1", "2", LATER)).refusal


def test_an_exclusion_that_is_over_or_of_another_node_or_gpu_says_nothing() -> None:
    others = (BadGpu("n1", "2", NOW), BadGpu("n2", "2", LATER), BadGpu("n1", "0", LATER), BadGpu("login", "2", LATER))

    assert look(SLURM, *others) == Look(("1", "2", "3"))


def test_a_job_that_asked_for_no_gpu_may_have_any() -> None:
    assert look(SLURM, BadGpu("n1", "2", LATER), wanted=0) == Look()


def test_pbs_knows_a_node_by_the_name_of_its_host() -> None:
    env = {"PBS_JOBID": "7.server", "CUDA_VISIBLE_DEVICES": "GPU-8f,GPU-3a"}

    assert look(env, BadGpu("n1", "GPU-8f", LATER), host="n1.site") == Look(
        ("GPU-3a",), {"CUDA_VISIBLE_DEVICES": "GPU-3a"}
    )
    assert look(env, BadGpu("n1.site", "GPU-8f", LATER), host="n1.site").gpus == ("GPU-3a",)


@given(
    given_=st.sets(st.integers(0, 7), min_size=1),
    bad=st.sets(st.integers(0, 7)),
    wanted=st.integers(1, 8),
)
def test_the_program_gets_enough_good_gpus_and_no_bad_one_or_does_not_run(
    given_: set[int], bad: set[int], wanted: int
) -> None:
    names = ",".join(map(str, sorted(given_)))
    env = {"SLURMD_NODENAME": "n1", "SLURM_JOB_GPUS": names, "CUDA_VISIBLE_DEVICES": names}

    found = look(env, *(BadGpu("n1", str(one), LATER) for one in sorted(bad)), wanted=wanted)

    if not found.refusal:
        seen = found.changes.get("CUDA_VISIBLE_DEVICES", names)
        assert {int(one) for one in found.gpus} == given_ - bad
        assert seen == ",".join(found.gpus)
        assert not given_ & bad or len(found.gpus) >= wanted
    else:
        assert given_ & bad
        assert len(given_ - bad) < wanted
