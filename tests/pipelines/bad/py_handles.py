from elisa import pipeline, task


@task
def make():
    return [1, 2]


@task
def use(value):
    return value


@pipeline
def early():
    for item in make():
        use(item)
