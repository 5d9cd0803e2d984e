from elisa import task


@task
def alone():
    return 1
