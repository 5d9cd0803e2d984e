from elisa import pipeline, task


@task
def use(value):
    return value


@pipeline
def objects():
    use(object)
    use({1, 2})
    use({1: 2})
    use({"deep": [{"handle": use(1)}]})
