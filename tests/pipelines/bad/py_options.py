from elisa import pipeline, task


@task(cpu=4, memory="16", walltime="2h", chekpoint=True)
def train(seed):
    return seed


@task(nodes=0)
def report(models):
    return models


@pipeline(project="vision", dedline="+3d")
def digits(epochs=10):
    models = train.map(seed=[1, 2], epochs=epochs)
    report.options(when=f"{models}.accuracy > 0.9")(models)
