from elisa import pipeline

@pipeline
def broken(:
    pass
