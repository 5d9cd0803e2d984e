from elisa import pipeline


@pipeline
def first():
    pass


@pipeline
def second():
    pass
