"""Save and load checkpoints that survive a kill at any moment; adapters for frameworks."""

__all__: list[str] = []
