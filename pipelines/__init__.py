"""Pipelines as users write them, in YAML or with decorators, turned into model.Pipeline."""
