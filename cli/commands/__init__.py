"""One module a command: parameters in, exit status out. No typer here, so that the quick way may skip it."""
