from elisa import pipeline


def deep():
    raise RuntimeError("the disk is \x1b[31mred")


@pipeline
def broken():
    deep()
