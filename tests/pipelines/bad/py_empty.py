from elisa import pipeline


@pipeline
def nothing():
    pass
