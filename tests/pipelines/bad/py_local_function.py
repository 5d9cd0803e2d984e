from elisa import pipeline, task


@pipeline
def local():
    @task
    def inside():
        return 1

    inside()
