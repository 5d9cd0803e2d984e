"""Timelines, accounting and efficiency as data."""
