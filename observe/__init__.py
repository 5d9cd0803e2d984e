"""Metrics, tracking and notifications: sinks that follow the store after each commit."""
