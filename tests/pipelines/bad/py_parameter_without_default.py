from elisa import pipeline


@pipeline
def digits(epochs):
    return epochs
