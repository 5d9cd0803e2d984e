from __future__ import annotations

import re

import pytest

from elisa.backends.protocol import Description
from elisa.backends.runner import Completed
from elisa.backends.slurm.discovery import SlurmSite, advice_of, description_of, discover
from elisa.backends.slurm.options import SlurmOptions
from elisa.model.errors import Unavailable
from elisa.model.native import PartitionView
from tests.backends.slurm.jobs import VERSIONS, ScriptedRunner, recording

WOULD_WARN = {
    "22.05.8": "SlurmctldParameters=preempt_send_user_signal",
    "24.11.5": "PreemptParameters=send_user_signal",
}
ASSOCIATIONS = "sacctmgr show user ada withassoc format=defaultaccount,account"


def slurm_that_says(
    version: str, accounts: Completed | str = "science|root\nscience|science\n", config: Completed | str = ""
) -> ScriptedRunner:
    return ScriptedRunner(
        {
            "scontrol show config": config or recording("scontrol-config", version),
            "scontrol show partition": recording("scontrol-partition", version),
            ASSOCIATIONS: accounts,
        }
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_site_is_understood(version: str) -> None:
    site = discover(slurm_that_says(version), "ada", SlurmOptions())

    assert site == SlurmSite(
        cluster=site.cluster,
        version=version,
        partitions=(
            PartitionView(name="low", is_default=True, priority=1, preemptible=True),
            PartitionView(name="high", max_walltime_s=86400, priority=10),
        ),
        has_accounting=True,
        accounts=("science", "root"),
        memory_s=300,
        message_timeout_s=10,
        kill_wait_s=5,
        max_array_size=1001,
        max_jobs=10000,
        would_warn=WOULD_WARN[version],
    )
    assert site.cluster.startswith("c")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_site_whose_jobs_are_preempted_without_a_word_is_told_how_that_would_be_better(version: str) -> None:
    config = recording("scontrol-config", version)
    name, _, value = WOULD_WARN[version].partition("=")
    told = f"{config}{name:<24}= idle_on_node_suspend,{value}\n"
    alone = config.replace("preempt/partition_prio", "preempt/none")

    (advice,) = advice_of(discover(slurm_that_says(version), "ada", SlurmOptions()), SlurmOptions(submit_timeout_s=3))

    assert ("GraceTime" in advice.what, WOULD_WARN[version] in advice.hint, advice.is_concern) == (True, True, False)
    for other in (told, alone):
        assert (
            list(advice_of(discover(slurm_that_says(version, config=other), "ada", SlurmOptions()), SlurmOptions()))
            == []
        )


def test_site_that_does_not_tell_accounts_has_none() -> None:
    refused = Completed(exit_code=1, stderr="sacctmgr: error: Problem talking to the database: Connection refused\n")

    assert discover(slurm_that_says("24.11.5", refused), "ada", SlurmOptions()).accounts == ()


def test_settings_are_read_though_the_ping_after_them_failed() -> None:
    """24.11 under `rl_enable`: the ping is one question too many, and the exit status is 1."""
    printed = recording("scontrol-config", "24.11.5").replace(" is UP", " is DOWN")
    runner = slurm_that_says("24.11.5", config=Completed(exit_code=1, stdout=printed))

    site = discover(runner, "ada", SlurmOptions())

    assert site.version == "24.11.5"


def test_controller_that_is_down_is_unavailable() -> None:
    down = Completed(
        exit_code=1, stderr="slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)\n"
    )

    with pytest.raises(Unavailable, match="connect failure"):
        discover(ScriptedRunner({"/opt/bin/scontrol show config": down}), "ada", SlurmOptions(path="/opt/bin"))


def test_short_memory_without_accounts_is_a_concern() -> None:
    site = SlurmSite(cluster="c", version="22.05.8", partitions=(PartitionView(name="p"),), memory_s=30)

    (advice,) = advice_of(site, SlurmOptions())

    assert ("30 s" in advice.what, advice.is_concern) == (True, True)


def test_enforced_accounts_that_one_does_not_have_and_closed_partitions_are_concerns() -> None:
    closed = (PartitionView(name="p", is_up=False),)
    site = SlurmSite(cluster="c", version="1", partitions=closed, has_accounting=True, enforces=("associations",))

    assert [advice.what for advice in advice_of(site, SlurmOptions())] == [
        "this Slurm wants an account for every job, and you have none",
        "no partition takes jobs now",
    ]


@pytest.mark.parametrize(
    ("options", "concerns"),
    [(SlurmOptions(), 0), (SlurmOptions(submit_timeout_s=3), 1), (SlurmOptions(query_timeout_s=29), 1)],
    ids=["as it is by default", "sbatch given up soon", "squeue given up soon"],
)
def test_programs_that_must_wait_for_their_turn_are_not_to_be_given_up_meanwhile(
    options: SlurmOptions, concerns: int
) -> None:
    config = recording("scontrol-config", "24.11.5")
    rationed = re.sub(r"(?<=SlurmctldParameters     = ).*", "enable_configless,rl_enable,rl_bucket_size=3", config)

    site = discover(slurm_that_says("24.11.5", config=rationed), "ada", options)

    advice = [one for one in advice_of(site, options) if one.is_concern]
    assert (site.rations, len(advice), all("rl_enable" in one.what for one in advice)) == (True, concerns, True)


def test_site_is_described_with_what_was_found() -> None:
    site = discover(slurm_that_says("24.11.5"), "ada", SlurmOptions())

    assert description_of(site) == Description(
        comments=(
            f"Slurm 24.11.5, cluster {site.cluster}; ended jobs are remembered for 300 s",
            "accounting: yes",
            "at most 10000 jobs of everybody; arrays up to 1000 tasks",
            "partition low: no time limit, default, jobs may be preempted",
            "partition high: up to 1440 min",
        ),
        accounts=("science", "root"),
    )


def test_site_without_accounting_and_with_small_arrays_is_described_so() -> None:
    closed = (PartitionView(name="p", is_up=False, max_nodes=4),)
    site = SlurmSite(cluster="c", version="1", partitions=closed, max_array_size=101)

    said = description_of(site)

    assert said.comments[-1] == "partition p: no time limit, up to 4 nodes, down"
    assert said.options == {"accounting": "no", "array_size": "100"}
